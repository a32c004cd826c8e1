//! Saying who one is.

use std::fs;
use std::time::Duration;

use jq_client::{
    Client, ClientOptions, ConnectError, ConnectOptions, Connection, Credentials, Error, Token,
};
use tokio::time::Instant;

use crate::certificates::Authority;
use crate::peer::{Server, credentials, play, soon, trusted, trusting};

const TOUCH: (&str, &str) = ("touch 7\r\n", "TOUCHED\r\n");

fn with_token(server: &Server) -> ConnectOptions {
    ConnectOptions::new(server.address()).token(Token::new(b"site.s3cret").unwrap())
}

#[tokio::test]
async fn the_token_comes_first_and_a_server_without_the_command_is_used_all_the_same() {
    let server = Server::plain().await;
    for answer in ["AUTHENTICATED\r\n", "UNKNOWN_COMMAND\r\n"] {
        let client = async {
            let mut connection = Connection::connect(&with_token(&server)).await.unwrap();
            assert!(connection.touch(7).await.unwrap().is_done());
        };
        let serve = async {
            let mut stream = server.accept().await;
            play(&mut stream, &[("auth site.s3cret\r\n", answer), TOUCH]).await;
        };
        soon(async { tokio::join!(client, serve) }).await;
    }
}

#[tokio::test]
async fn any_other_answer_is_an_error_that_does_not_show_the_token() {
    let server = Server::plain().await;
    for (answer, why) in [
        ("NOT_AUTHENTICATED\r\n", "does not know this program's token"),
        ("INTERNAL_ERROR\r\n", "to \"auth\" it answered \"INTERNAL_ERROR\""),
        ("BAD_FORMAT\r\n", "to \"auth\" it answered \"BAD_FORMAT\""),
        ("HTTP/1.1 400 Bad Request\r\n\r\n", "which is no reply"),
        ("", "it closed the connection"),
    ] {
        let serve = async {
            play(&mut server.accept().await, &[("auth site.s3cret\r\n", answer)]).await;
        };
        let options = with_token(&server);
        let (connected, ()) =
            soon(async { tokio::join!(Connection::connect(&options), serve) }).await;
        let error = connected.unwrap_err();
        let text = format!("{error} {error:?} {options:?}");
        assert!(text.contains(why), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
        assert_eq!(error.is_permanent(), answer == "NOT_AUTHENTICATED\r\n");
    }
}

#[tokio::test]
async fn a_silent_server_is_waited_for_no_longer_than_for_a_connection() {
    let server = Server::plain().await;
    let options = with_token(&server).timeout(Duration::from_millis(200));
    let error = soon(Connection::connect(&options)).await.unwrap_err();
    assert!(matches!(error, ConnectError::TimedOut { .. }), "{error:?}");
}

#[tokio::test]
async fn the_token_goes_over_tls() {
    let (authority, server) = trusted().await;
    let text = format!("beanstalks://site.s3cret@localhost:{}", server.port());
    let options = credentials(trusting(&authority)).connect_to(&text.parse().unwrap());
    let client = async {
        assert!(Connection::connect(&options).await.unwrap().touch(7).await.unwrap().is_done());
    };
    let serve = async {
        let mut stream = server.handshake().await.unwrap();
        play(&mut stream, &[("auth site.s3cret\r\n", "AUTHENTICATED\r\n"), TOUCH]).await;
    };
    soon(async { tokio::join!(client, serve) }).await;
}

/// A token of the URL goes before the file's, which is read at each connect.
#[tokio::test]
async fn the_file_of_the_token_is_read_at_each_connect() {
    let (folder, server) = (Authority::new(), Server::plain().await);
    let file = folder.folder().join("token");
    let credentials = Credentials { token_file: Some(file.clone()), ..Credentials::default() };
    let connect = async |text: &str, expected: &str| {
        let options = credentials.connect_to(&text.parse().unwrap());
        let serve = async {
            play(&mut server.accept().await, &[(expected, "AUTHENTICATED\r\n")]).await;
        };
        soon(async { tokio::join!(Connection::connect(&options), serve) }).await.0.unwrap();
    };
    let (plain, with) = (
        format!("localhost:{}", server.port()),
        format!("beanstalk://url.t@localhost:{}", server.port()),
    );
    fs::write(&file, "one.t\n# that was the token\n").unwrap();
    connect(&plain, "auth one.t\r\n").await;
    fs::write(&file, " two.t\r\n").unwrap();
    connect(&plain, "auth two.t\r\n").await;
    connect(&with, "auth url.t\r\n").await;

    for (contents, why) in [
        (Some(&b"\n"[..]), "expected a token on its first line: visible ASCII characters"),
        (Some(b"two words"), "expected a token on its first line: visible ASCII characters"),
        (Some(&[b't'; 218]), "expected a token of at most 217 characters"),
        (Some(&[b't'; 10_000]), "its first line is longer than 4095 bytes"),
        (None, "No such file"),
    ] {
        match contents {
            Some(contents) => fs::write(&file, contents).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        let options = credentials.connect_to(&plain.parse().unwrap());
        let error = Connection::connect(&options).await.unwrap_err();
        assert!(error.is_permanent(), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(why) && text.contains("token"), "{text}");
    }
}

/// An operation fails at once, however patient it is; the next one waits, longer each time.
#[tokio::test(start_paused = true)]
async fn a_token_that_is_refused_is_not_tried_in_a_tight_loop() {
    let server = Server::plain().await;
    let options = ClientOptions { give_up_after: None, ..ClientOptions::default() };
    let mut client = Client::new(with_token(&server), options);
    let mut waits = Vec::new();
    for _ in 0..8 {
        let serve = async {
            let exchange = ("auth site.s3cret\r\n", "NOT_AUTHENTICATED\r\n");
            play(&mut server.accept().await, &[exchange]).await;
        };
        let begun = Instant::now();
        let (failed, ()) = tokio::join!(client.stats(), serve);
        waits.push(begun.elapsed());
        let error = failed.unwrap_err();
        assert!(matches!(error, Error::Connect(ConnectError::NotAuthenticated { .. })), "{error}");
    }
    assert!(waits[0] < Duration::from_millis(50), "{waits:?}");
    assert!(waits[7] >= Duration::from_millis(100 * 64 / 2), "{waits:?}");
}
