//! Who has not said who it is, and saying it.

use crate::scene::{HASH, Scene, TOKEN};
use crate::support::procfs;
use crate::support::{Conn, Endpoint, eventually};

const REFUSED: &str = "INTERNAL_ERROR\r\n";

fn known(rights: &str) -> String {
    format!("[[principal]]\nname = \"known\"\ntokens = [\"{HASH}\"]\n{rights}\n")
}

#[test]
fn nothing_is_answered_but_auth_and_quit() {
    let scene = Scene::start(&known(""), &[], &["-z", "100"]);
    let mut conn = scene.stranger();
    let lines = [
        "use default",
        "watch default",
        "reserve",
        "stats",
        "list-tubes",
        "list-tube-used",
        "list-tubes-watched",
        "nonsense",
        "peek x",
        "put 0 0 60 x",
        "pause-tube - 0",
        "auth",
        &"x".repeat(300),
    ];
    for line in lines {
        conn.send(format!("{line}\r\n"));
        conn.expect(REFUSED);
    }
    // The body is read and thrown away, whatever is in it and however large it is.
    for body in [String::new(), "quit\r\n".to_owned(), "quit\r\n".repeat(40)] {
        conn.send(format!("put 0 0 60 {}\r\n{body}\r\n", body.len()));
        conn.expect(REFUSED);
    }
    // Nor is it told that a body has no end.
    conn.send("put 0 0 60 2\r\nabcd");
    conn.expect(REFUSED);
    assert_eq!(scene.stat("total-jobs"), 0);
    assert_eq!(scene.stat("cmd-put"), 0);
    conn.send("quit\r\n");
    conn.expect_closed();
}

#[test]
fn a_token_shows_who_it_is() {
    let scene = Scene::start(&known("put = [\"mail\"]"), &[], &[]);
    let mut conn = scene.stranger();
    // All at once: what comes behind waits until it is known whose the token is.
    conn.send(format!("use mail\r\nauth {TOKEN}\r\nuse mail\r\nput 0 0 60 1\r\nx\r\nuse a\r\n"));
    conn.expect(format!("{REFUSED}AUTHENTICATED\r\nUSING mail\r\nINSERTED 1\r\n{REFUSED}"));
    // A wrong one changes nothing.
    conn.send(format!("auth {TOKEN}x\r\nput 0 0 60 1\r\nx\r\n"));
    conn.expect("NOT_AUTHENTICATED\r\nINSERTED 2\r\n");
    conn.send(format!("auth {TOKEN}\r\nauth a b\r\n"));
    conn.expect("AUTHENTICATED\r\nBAD_FORMAT\r\n");
    eventually("it is counted", || scene.stat("failed-auths") == 1);
}

#[test]
fn the_third_wrong_token_closes() {
    let wrong = "auth known.0000000000000000\r\n";
    for is_known in [false, true] {
        let scene = Scene::start(&known(""), &["known"], &[]);
        let mut conn = if is_known { scene.act_as("known") } else { scene.stranger() };
        conn.send(format!("{wrong}auth nobody.0000000000000000\r\n{wrong}list-tube-used\r\n"));
        conn.expect("NOT_AUTHENTICATED\r\n".repeat(3));
        conn.expect_closed();
        eventually("they are counted", || scene.stat("failed-auths") == 3);
    }
}

#[test]
fn a_right_token_between_wrong_ones_counts_anew() {
    let scene = Scene::start(&known(""), &[], &[]);
    let mut conn = scene.stranger();
    for token in ["x", "y", TOKEN, "x", "y", TOKEN] {
        conn.send(format!("auth {token}\r\n"));
        let is_right = token == TOKEN;
        conn.expect(if is_right { "AUTHENTICATED\r\n" } else { "NOT_AUTHENTICATED\r\n" });
    }
}

#[test]
fn a_second_token_replaces_the_first() {
    let text = known("put = [\"mail\"]");
    let scene = Scene::start(&text, &["operator"], &[]);
    let mut conn = scene.act_as("operator");
    conn.send(format!("use any\r\nauth {TOKEN}\r\nput 0 0 60 1\r\nx\r\nuse mail\r\nuse any\r\n"));
    conn.expect(format!("USING any\r\nAUTHENTICATED\r\n{REFUSED}USING mail\r\n{REFUSED}"));
}

#[test]
fn without_auth_there_is_no_such_command() {
    let server = crate::support::Server::jq(&[""; 0]);
    let mut conn = server.connect();
    conn.send(format!("auth {TOKEN}\r\n"));
    conn.expect("UNKNOWN_COMMAND\r\n");
    assert_eq!(conn.ask("stats").value("denied-commands"), None);
}

#[test]
fn a_gigabyte_of_a_stranger_takes_no_memory() {
    let scene = Scene::start(&known(""), &[], &["-z", "1073741824"]);
    let before = procfs::resident(scene.server.pid());
    let mut conn = scene.stranger();
    conn.send("put 0 0 60 1073741824\r\n");
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..64 {
        conn.send(&piece);
    }
    let after = procfs::resident(scene.server.pid());
    assert!(after < before + (16 << 20), "{before} bytes, then {after}");
    for _ in 64..1024 {
        conn.send(&piece);
    }
    conn.send("\r\nlist-tube-used\r\n");
    conn.expect(REFUSED.repeat(2));
}

#[test]
fn the_user_at_the_other_end_of_a_unix_socket() {
    // The operator of all scenes is known by that. Another user is nobody.
    let scene = Scene::start("", &[], &[]);
    assert_eq!(scene.operator().ask("list-tube-used").line(), b"USING default");
    let text = "[[principal]]\nname = \"root-only\"\nuids = [4294967294]\n";
    scene.reload(text);
    assert_eq!(scene.operator().ask("list-tube-used").line(), b"USING default");
}

#[test]
fn an_unknown_principal_of_a_listener_is_a_mistake() {
    let file = crate::support::scratch_path("toml");
    std::fs::write(&file, "[[principal]]\nname = \"a\"\n").expect("it is writable");
    let file = file.to_str().expect("it is UTF-8");
    let server = crate::support::jq_server();
    let flags = ["--auth", file, "--listen", "tcp://127.0.0.1:0?as=b"];
    let status = crate::support::exit_status(&server, &flags);
    assert_eq!(status.and_then(|status| status.code()), Some(5));
    let _ = std::fs::remove_file(file);
}

#[test]
fn a_client_that_is_gone_before_its_token_is_verified() {
    let scene = Scene::start(&known("put = [\"*\"]"), &[], &[]);
    let connections = || scene.stat("current-connections");
    let before = connections();
    for resets in [true, false] {
        let mut conn = scene.stranger();
        // From this address, the second is verified only after a delay.
        conn.send("auth a\r\nauth b\r\n");
        conn.expect("NOT_AUTHENTICATED\r\n");
        if resets {
            conn.reset();
        } else {
            drop(conn);
        }
    }
    // Whoever has shut down only its side gets its reply, and what it has put is put.
    let mut conn = scene.stranger();
    conn.send(format!("auth {TOKEN}\r\nput 0 0 60 1\r\nx\r\n"));
    conn.finish();
    conn.expect("AUTHENTICATED\r\nINSERTED 1\r\n");
    conn.expect_closed();
    eventually("they are gone", || connections() == before);
}

#[test]
fn http_is_refused_as_ever() {
    let scene = Scene::start(&known(""), &[], &[]);
    let mut conn = scene.stranger();
    conn.send("POST / HTTP/1.1\r\nHost: x\r\n\r\nauth x\r\n");
    conn.expect_closed();
    let Endpoint::Unix(path) = scene.server.endpoint() else { panic!("it is on a Unix socket") };
    assert!(Conn::open(&Endpoint::Unix(path.clone())).is_ok());
}

#[test]
fn who_guesses_and_hangs_up_holds_no_place() {
    let scene = Scene::start(&known(""), &[], &[]);
    // So that there is a delay, which those that follow have to wait for.
    for _ in 0..8 {
        let mut conn = scene.stranger();
        conn.send("auth known.wrong-wrong-wrong-wrong\r\n");
        conn.finish();
    }
    let mut guesses = Vec::new();
    for _ in 0..50 {
        let mut conn = scene.stranger();
        conn.send("auth known.wrong-wrong-wrong-wrong\r\n");
        conn.finish();
        guesses.push(conn);
    }
    // Of the first eight some are answered; all others are closed, although their delays would be minutes.
    eventually("they are closed", || scene.stat("current-connections") == 1);
    assert!(scene.stat("failed-auths") < 20);
}

#[test]
fn a_token_that_is_known_stays_known_when_the_file_is_read_again() {
    let scene = Scene::start(&known("put = [\"mail\"]"), &[], &[]);
    let mut conn = scene.stranger();
    conn.send(format!("auth {TOKEN}\r\n"));
    conn.expect("AUTHENTICATED\r\n");
    // Wrong ones from the same address, whose delays come to a minute, wait.
    let guesses: Vec<Conn> = (0..10)
        .map(|_| {
            let mut conn = scene.stranger();
            conn.send("auth known.wrong-wrong-wrong-wrong\r\n");
            conn
        })
        .collect();
    scene.reload(&known("put = [\"mail\"]"));
    let mut again = scene.stranger();
    again.send(format!("auth {TOKEN}\r\nuse mail\r\n"));
    again.expect("AUTHENTICATED\r\nUSING mail\r\n");
    drop(guesses);
}
