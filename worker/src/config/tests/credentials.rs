//! Credentials by URL, and the proxy.

use super::*;

/// All of a file's credentials and its proxy.
const CREDENTIALS: &str = "
    allow_urls = ['https://site.example/', 'http://10.0.0.5/']
    [http]
    proxy = 'http://proxy.example:3128'
    proxy_basic = { user = 'w', password = { file = 'secret' } }
    [[credentials]]
    prefix = 'https://site.example/in/'
    headers = { X-Api-Key = { file = 'secret' }, X-Home = { env = 'PATH' } }
    cert = 'cert'
    key = 'key'
    [[credentials]]
    prefix = 'http://10.0.0.5/'
    basic = { user = 'w', password = { file = 'secret' } }
    [[credentials]]
    prefix = 'https://site.example/'
    [credentials.oauth]
    token_url = 'https://login.example/token'
    client_id = 'worker'
    client_secret = { file = 'secret' }
    scope = 'in out'
    client_auth = 'body'
    [handlers.x]
    command = ['true']
";

/// A folder with a secret, a certificate and the key to it.
fn folder_with_secrets() -> Folder {
    let (folder, authority) = (Folder::new(), Authority::new());
    let (cert, key) = authority.sign("w", "worker1", Valid::Now);
    for (from, name) in [(cert, "cert"), (key, "key")] {
        fs::copy(from, folder.0.join(name)).unwrap();
    }
    folder.write("secret", "s3cret\n", 0o600);
    folder
}

#[test]
fn credentials_and_a_proxy() {
    use outbound::{Authorization, Source};

    let folder = folder_with_secrets();
    let path = folder.write("w.toml", CREDENTIALS, 0o644);
    let config = Config::load(&flags(&["--config", &path])).unwrap();
    let secret = Source::File(folder.0.join("secret"));
    let [one, two, three] = &config.outbound.credentials[..] else { panic!("{config:?}") };
    let names: Vec<_> = one.headers.iter().map(|(name, source)| (name.as_str(), source)).collect();
    let path = Source::Env("PATH".to_owned());
    assert_eq!(names, [("x-api-key", &secret), ("x-home", &path)]);
    assert_eq!(one.identity.as_ref().unwrap().key, folder.0.join("key"));
    assert_eq!(one.authorization, Authorization::None);
    let basic = Authorization::Basic { user: "w".to_owned(), password: secret.clone() };
    assert_eq!((two.prefix.as_str(), &two.authorization), ("http://10.0.0.5/", &basic));
    let Authorization::Token(request) = &three.authorization else { panic!("{three:?}") };
    assert_eq!(request.url.as_str(), "https://login.example/token");
    assert_eq!((request.scope.as_deref(), request.secret_in_body), (Some("in out"), true));
    let proxy = config.outbound.proxy.as_ref().unwrap();
    assert_eq!(proxy.url.as_str(), "http://proxy.example:3128/");
    assert_eq!(proxy.user, Some(("w".to_owned(), secret)));
    outbound::Outbound::new(&config.outbound).unwrap();
    assert!(!format!("{config:?}").contains("s3cret"), "{config:?}");
}

/// The line is named, and what is in it is not shown.
#[test]
fn credentials_that_cannot_be_used_are_refused_by_line() {
    let folder = folder_with_secrets();
    folder.write("empty", "\n", 0o600);
    let site = "prefix = 'https://site.example/'";
    for (settings, line, why) in [
        ("prefix = 'https://s3cret@site.example/'", 3, "must not have a user name"),
        ("prefix = 'https://other.example/'", 3, "is for no URL that allow_urls allows"),
        ("prefix = 'site'", 3, "is not the beginning of a URL"),
        ("prefix = 'http://site.example/'\ncert = 'cert'\nkey = 'key'", 3, "not of https"),
        (site, 3, "expected headers, basic, bearer, oauth, or cert and key"),
        ("headers = {}", 2, "missing field `prefix`"),
        (
            &format!("{site}\nheaders = {{ 'a b' = {{ file = 'secret' }} }}"),
            4,
            "not the name of a header",
        ),
        (&format!("{site}\nheaders = {{ Host = {{ file = 'secret' }} }}"), 4, "sets itself"),
        (
            &format!(
                "{site}\nheaders = {{ A = {{ file = 'secret' }}, a = {{ file = 'secret' }} }}"
            ),
            4,
            "is there twice",
        ),
        (&format!("{site}\n\nbearer = {{ file = 'none' }}"), 5, "bearer: the secret"),
        (&format!("{site}\nbearer = {{ file = 'empty' }}"), 4, "is empty"),
        (&format!("{site}\nbearer = {{ file = '.' }}"), 4, "not a regular file"),
        (&format!("{site}\nbearer = {{ env = 'JQ_NOBODY_SETS_THIS' }}"), 4, "is not set"),
        (&format!("{site}\nbearer = {{ env = 'A=s3cret' }}"), 4, "the name of a variable"),
        (&format!("{site}\nbearer = {{ file = 'secret', env = 'PATH' }}"), 4, "expected either"),
        (&format!("{site}\nbearer = 's3cret'"), 4, "expected { file = \"PATH\" } or { env"),
        (&format!("{site}\nbasic = 'w:s3cret'"), 4, "expected { user = \"NAME\""),
        (&format!("{site}\nbasic = {{ user = 'w', password = 's3cret' }}"), 4, "expected { file"),
        (
            &format!("{site}\nbasic = {{ user = 'w:s3cret', password = {{ file = 'secret' }} }}"),
            4,
            "no colon",
        ),
        (&format!("{site}\npassword = 's3cret'"), 4, "unknown field `password`"),
        (&format!("{site}\nheaders = {{ A = 's3cret' }}"), 4, "expected { file"),
        (&format!("{site}\nheaders = 's3cret'"), 4, "expected a map"),
        (&format!("{site}\nheaders = {{ A = s3cret }}"), 4, ""),
        (&format!("{site}\nheaders = {{ A = 's3cret"), 5, ""),
        (
            &format!(
                "{site}\nbearer = {{ file = 'secret' }}\nbasic = {{ user = 'w', password = {{ file = 'secret' }} }}"
            ),
            3,
            "expected only one of",
        ),
        (&format!("{site}\ncert = 'cert'"), 4, "expected both a cert and the key"),
        (&format!("{site}\nkey = 'key'\ncert = 'none'"), 5, "the certificate"),
        (&format!("{site}\ncert = 'cert'\nkey = 'secret'"), 5, "the private key"),
        (
            &format!(
                "{site}\noauth = {{ token_url = 'https://w:s3cret@a/', client_id = 'w', client_secret = {{ file = 'secret' }} }}"
            ),
            4,
            "token_url: expected http or https",
        ),
        (
            &format!(
                "{site}\noauth = {{ token_url = 'https://a/', client_id = '', client_secret = {{ file = 'secret' }} }}"
            ),
            4,
            "client_id: expected",
        ),
        (
            &format!(
                "{site}\n[credentials.oauth]\ntoken_url = 'https://a/'\nclient_id = 'w'\nclient_secret = 's3cret'"
            ),
            7,
            "expected { file",
        ),
    ] {
        let text = format!(
            "allow_urls = ['https://site.example/']\n[[credentials]]\n{settings}\n[handlers.x]\ncommand = ['true']"
        );
        let said = folder.refused(&text);
        let place = format!("refused.toml: line {line}: ");
        assert!(said.contains(&place) && said.contains(why), "{settings}: {said}");
        assert!(!said.contains("s3cret"), "{settings}: {said}");
    }
    for (settings, why) in [
        ("proxy = 'proxy.example'", "http.proxy: expected http://HOST:PORT"),
        ("proxy = 'http://w:s3cret@proxy.example'", "http.proxy: expected http://HOST:PORT"),
        ("proxy_basic = { user = 'w', password = { file = 'secret' } }", "there is no http.proxy"),
        ("proxy_basic = 'w:s3cret'", "line 2: expected { user"),
        (
            "proxy = 'http://p'\nproxy_basic = { user = 'w', password = { file = 'none' } }",
            "http.proxy_basic: the secret",
        ),
    ] {
        let said = folder.refused(&format!("[http]\n{settings}\n[handlers.x]\ncommand = ['true']"));
        assert!(said.contains(why) && !said.contains("s3cret"), "{settings}: {said}");
    }
}
