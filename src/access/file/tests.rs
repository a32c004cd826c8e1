//! Files of `--auth`, right and wrong.

use super::super::principal::Rights;
use super::*;

/// The directory of a text without mistakes.
pub(crate) fn directory(text: &str) -> Directory {
    parse(text).unwrap()
}

/// A hash that can be in a file; those of different letters differ.
fn hash(letter: char) -> String {
    format!("$argon2id$v=19$m=64,t=2,p=1$c2FsdHNhbHRzYWx0${}", letter.to_string().repeat(43))
}

#[test]
fn everything_that_can_be_said() {
    let directory = directory(&format!(
        r#"
        [[principal]]
        name = "site"
        tokens = ["{}", "{}"]
        certificates = ["CN=site", "DNS:Site.Example", "URI:spiffe://x/site", "IP:::0a", "EMAIL:a@b"]
        uids = [4294967295, "root"]
        put = ["mail", "sim.*"]
        reserve = ["mail"]
        peek = ["*"]
        kick = []
        pause = ["*.high"]
        delete = ["mail"]
        operate = false
        max-connections = 100
        commands-per-second = 4294967295
        max-bytes = 9223372036854775807

        [[principal]]
        name = "operator"
        operate = true

        [address]
        max-connections = 50
        commands-per-second = 500
        max-bytes = 1000000
        "#,
        hash('A'),
        hash('I'),
    ));
    let site = directory.by_name("site").unwrap().principal;
    assert_eq!(
        site.rights_in("mail"),
        Rights::PUT | Rights::RESERVE | Rights::PEEK | Rights::DELETE
    );
    assert_eq!(site.rights_in("sim.high"), Rights::PUT | Rights::PEEK | Rights::PAUSE);
    assert_eq!(site.rights_in("other"), Rights::PEEK);
    let limits = Limits {
        connections: Some(100),
        commands_per_second: Some(u32::MAX),
        bytes: Some(i64::MAX as u64),
    };
    assert_eq!((site.limits, site.operates), (limits, false));
    let per_address =
        Limits { connections: Some(50), commands_per_second: Some(500), bytes: Some(1_000_000) };
    assert_eq!(directory.limits_per_address(), per_address);
    let operator = directory.by_name("operator").unwrap().principal;
    assert_eq!((operator.rights_in("any"), operator.limits), (Rights::ALL, Limits::default()));
    assert_eq!(directory.principals().count(), 2);
    assert_eq!(directory.entries[0].tokens.len(), 2);
    assert_eq!(directory.with_tokens, [0]);
    assert_eq!(directory.by_uid.keys().copied().collect::<HashSet<_>>(), [0, u32::MAX].into());
    for shown in ["CN=site", "DNS:site.example", "URI:spiffe://x/site", "IP:::a", "EMAIL:a@b"] {
        assert!(directory.by_certificate.contains_key(shown), "{shown}");
    }
}

#[test]
fn a_mistake_is_told_with_its_place() {
    let one = |rest: &str| format!("# \u{e9}\n[[principal]]\nname = \"site\"\n{rest}\n");
    let two = |rest: &str| one(rest) + "[[principal]]\nname = \"other\"\n" + rest + "\n";
    let (good, five) = (hash('A'), ['A', 'E', 'I', 'M', 'Q'].map(hash).join("\", \""));
    let names = |name: &str| format!("[[principal]]\nname = {name}\n");
    let long = "x".repeat(201);
    for (text, place, told) in [
        (String::new(), (1, 1), "expected at least one [[principal]]"),
        ("[address]\nmax-bytes = 1".to_owned(), (1, 1), "expected at least one [[principal]]"),
        ("x = 1".to_owned(), (1, 1), "unknown field `x`, expected `principal` or `address`"),
        ("[[principal]]\nput = []".to_owned(), (1, 1), "missing field `name`"),
        ("principal = 1".to_owned(), (1, 13), "expected a sequence"),
        ("[[principal]\n".to_owned(), (1, 13), ""),
        (one("pull = []"), (4, 1), "unknown field `pull`, expected one of `name`, `tokens`"),
        (one("max_bytes = 1"), (4, 1), "unknown field `max_bytes`"),
        (one("put = []\nput = []"), (5, 1), "duplicate key"),
        (names("7"), (2, 8), "expected a string"),
        (names("\"\""), (2, 8), "name: expected 1 to 64 characters from A-Z a-z 0-9 _ -"),
        (names("\"a.b\""), (2, 8), "name: expected 1 to 64"),
        (names("\"\u{e9}\""), (2, 8), "name: expected 1 to 64"),
        (one("") + &one(""), (7, 8), "name: there are two principals named \"site\""),
        (one("tokens = \"x\""), (4, 10), "expected a sequence"),
        (one("tokens = [1]"), (4, 11), "expected a string"),
        (one("tokens = [\"site.0123456789abcdef\"]"), (4, 11), "tokens: expected a hash as from"),
        (
            one(&format!("tokens = [\"{good}\", \"{good}\"]")),
            (4, 103),
            "tokens: this hash is there twice",
        ),
        (two(&format!("tokens = [\"{good}\"]")), (7, 11), "tokens: this hash is there twice"),
        (one(&format!("tokens = [\"{five}\"]")), (4, 379), "tokens: expected at most 4"),
        (one("certificates = [\"site\"]"), (4, 17), "certificates: expected CN=NAME, DNS:NAME"),
        (one("certificates = [\"CN=\"]"), (4, 17), "certificates: expected CN=NAME"),
        (one("certificates = [\"IP:10.0.0\"]"), (4, 17), "certificates: expected CN=NAME"),
        (two("certificates = [\"CN=a\"]"), (7, 17), "certificates: \"CN=a\" is there twice"),
        (one("certificates = [\"DNS:a\", \"DNS:A\"]"), (4, 26), "\"DNS:a\" is there twice"),
        (one("uids = [-1]"), (4, 9), "uids: expected the number or the name of a user"),
        (one("uids = [4294967296]"), (4, 9), "uids: expected the number or the name of a user"),
        (one("uids = [1.5]"), (4, 9), "uids: expected the number or the name of a user"),
        (one("uids = [\"no such user\"]"), (4, 9), "uids: there is no user \"no such user\""),
        (two("uids = [7]"), (7, 9), "uids: user 7 is there twice"),
        (one("uids = [0, \"root\"]"), (4, 12), "uids: user 0 is there twice"),
        (one("put = \"mail\""), (4, 7), "expected a sequence"),
        (one("put = [\"mail\", \"a b\"]"), (4, 16), "put: expected 1 to 200 characters from"),
        (one("delete = [\"\"]"), (4, 11), "delete: expected 1 to 200 characters"),
        (one(&format!("kick = [\"{long}\"]")), (4, 9), "kick: expected 1 to 200 characters"),
        (one("peek = [\"-a\"]"), (4, 9), "peek: no name of a tube begins with -"),
        (one("pause = [\"\u{e9}\"]"), (4, 10), "pause: expected 1 to 200 characters"),
        (one("operate = 1"), (4, 11), "expected a boolean"),
        (
            one("max-connections = 0"),
            (4, 19),
            "max-connections: expected a whole number from 1 to 4294967295, not 0",
        ),
        (
            one("commands-per-second = 4294967296"),
            (4, 23),
            "commands-per-second: expected a whole number from 1 to 4294967295",
        ),
        (
            one("max-bytes = -1"),
            (4, 13),
            "max-bytes: expected a whole number from 1 to 9223372036854775807, not -1",
        ),
        (one("max-bytes = \"1G\""), (4, 13), "expected i64"),
        (one("[address]\nmax-bytes = 0"), (5, 13), "max-bytes: expected a whole number"),
        (one("[address]\nput = []"), (5, 1), "unknown field `put`"),
    ] {
        let mistake = parse(&text).unwrap_err();
        assert_eq!((mistake.line, mistake.column), place, "{text}: {mistake:?}");
        assert!(mistake.message.contains(told), "{text}: {mistake:?}");
    }
}

#[test]
fn a_file_of_many_is_read_quickly_enough() {
    let text: String = (0..5000)
        .map(|number| format!("[[principal]]\nname = \"p{number}\"\nput = [\"p{number}.*\"]\n"))
        .collect();
    let directory = directory(&text);
    let rights = directory.by_name("p4999").unwrap().principal.rights_in("p4999.x");
    assert_eq!(rights, Rights::PUT);
}
