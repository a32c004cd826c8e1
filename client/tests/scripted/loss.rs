//! Connections that end: servers that close, fall silent or talk nonsense, and what the errors say.

use std::time::Duration;

use jq_client::{
    Address, ConnectError, ConnectOptions, Connection, ConnectionLimits, Error, PutError,
    PutOptions, ReplyError, Reservation,
};
use tokio::net::TcpSocket;
use tokio::time::Instant;

use crate::fake::{Server, both, pair, pair_with};

fn assert_lost(error: &Error, was_sent: bool) {
    assert!(matches!(error, Error::Disconnected { sent, .. } if *sent == was_sent), "{error:?}");
    assert!(error.ends_connection());
    assert_eq!(error.may_have_had_effect(), was_sent);
}

#[tokio::test]
async fn closed_instead_of_a_reply() {
    let (mut connection, mut peer) = pair();
    let server = async move { peer.expect("delete 5\r\n").await };
    let error = both(connection.delete(5), server).await.unwrap_err();
    assert_lost(&error, true);
    assert!(!connection.is_open());
    assert_lost(&connection.delete(5).await.unwrap_err(), false);
    assert_lost(&connection.reserve().await.unwrap_err(), false);
}

#[tokio::test]
async fn closed_in_the_middle_of_a_reply() {
    for part in ["RESERVED", "RESERVED 5 4\r\n", "RESERVED 5 4\r\nwo", "RESERVED 5 4\r\nwork\r"] {
        let (mut connection, mut peer) = pair();
        let server = async move { peer.play(&[("reserve\r\n", part)]).await };
        assert_lost(&both(connection.reserve(), server).await.unwrap_err(), true);
    }
}

#[tokio::test]
async fn closed_while_idle_is_noticed_before_anything_is_sent() {
    let server = Server::start().await;
    let mut connection = Connection::connect(&server.address().into()).await.unwrap();
    drop(server.accept().await);
    assert_lost(&connection.closed().await, false);
    let error = connection.put(b"x", PutOptions::default()).await.unwrap_err();
    let PutError::Failed(error) = error else { panic!("{error}") };
    assert_lost(&error, false);
}

#[tokio::test]
async fn closed_before_the_whole_command_was_taken() {
    let (mut connection, mut peer) = pair_with(ConnectionLimits::default(), 16);
    let body = [b'x'; 1000];
    let server = async move { peer.expect("put 0 0 1 1000\r\nxxx").await };
    let options = PutOptions { priority: 0, delay: 0, ttr: 1 };
    let error = both(connection.put(&body, options), server).await.unwrap_err();
    let PutError::Failed(error) = error else { panic!("{error}") };
    assert_lost(&error, false);
}

#[tokio::test]
async fn an_answer_before_the_close_counts() {
    // The server answers the first part and closes without having taken the rest.
    let (mut connection, mut peer) = pair_with(ConnectionLimits::default(), 64);
    let server = async move {
        peer.expect("put 0 0 1 1000\r\n").await;
        peer.send("DRAINING\r\n").await;
    };
    let options = PutOptions { priority: 0, delay: 0, ttr: 1 };
    let error = both(connection.put(&[b'x'; 1000], options), server).await.unwrap_err();
    assert!(matches!(error, PutError::Draining), "{error:?}");
}

#[tokio::test]
async fn nonsense_ends_the_connection() {
    let bad_reply = async |answer: &'static str| {
        let limits = ConnectionLimits { max_body: 100, ..ConnectionLimits::default() };
        let (mut connection, mut peer) = pair_with(limits, 1000);
        let server = async {
            peer.play(&[("peek 5\r\n", answer)]).await;
            peer.expect_end().await;
        };
        let client = async {
            let error = connection.peek(5).await.unwrap_err();
            assert!(error.ends_connection() && !connection.is_open());
            error
        };
        match both(client, server).await {
            Error::BadReply(reason) => reason,
            error => panic!("{error:?}"),
        }
    };
    assert_eq!(bad_reply("HTTP/1.1 400\r\n").await, ReplyError::UnknownLine("HTTP/1.1 400".into()));
    assert_eq!(bad_reply("FOUND 5 101\r\n").await, ReplyError::BodyTooBig(101));
    assert_eq!(bad_reply("FOUND 5 1\r\nabc").await, ReplyError::MissingCrlf);
}

#[tokio::test]
async fn a_reply_to_something_else_ends_the_connection() {
    let (mut connection, mut peer) = pair();
    let server = async {
        peer.play(&[("touch 5\r\n", "FOUND 6 1\r\nx\r\n")]).await;
        peer.expect_end().await;
    };
    let client = async { connection.touch(5).await.unwrap_err() };
    let error = both(client, server).await;
    assert_eq!(
        error.to_string(),
        "to \"touch 5\" the server answered \"FOUND 6 1\" instead of TOUCHED or NOT_FOUND"
    );
    assert!(error.ends_connection());
    assert_lost(&connection.touch(5).await.unwrap_err(), false);
}

#[tokio::test]
async fn a_refused_put_line_ends_the_connection() {
    // Its body is read as commands, whose replies would pass for those of what comes next.
    for reply in ["BAD_FORMAT\r\n", "UNKNOWN_COMMAND\r\n"] {
        let (mut connection, mut peer) = pair();
        let server = async {
            peer.expect("put 2147483648 0 60 1\r\nx\r\n").await;
            peer.send(reply).await;
            peer.expect_end().await;
        };
        let client = async { connection.put(b"x", PutOptions::default()).await.unwrap_err() };
        let error = both(client, server).await;
        assert!(matches!(error, PutError::Failed(Error::Refused { .. })), "{error:?}");
        assert!(!connection.is_open());
    }
}

#[tokio::test]
async fn what_nobody_asked_for_ends_the_connection() {
    let (mut connection, mut peer) = pair();
    peer.send("DELETED\r\n").await;
    let error = connection.delete(5).await.unwrap_err();
    assert!(matches!(error, Error::Unsolicited), "{error:?}");
    assert!(!error.may_have_had_effect() && !connection.is_open());
    peer.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn silence_runs_into_the_reply_timeout() {
    let limit = Duration::from_secs(5);
    let limits = ConnectionLimits { reply_timeout: Some(limit), ..ConnectionLimits::default() };
    let (mut connection, mut peer) = pair_with(limits, 1000);
    let start = Instant::now();
    let error = connection.touch(5).await.unwrap_err();
    assert_eq!(start.elapsed().as_secs(), 5);
    assert_eq!(error.to_string(), "the server did not answer \"touch 5\" within 5s");
    assert!(error.ends_connection() && error.may_have_had_effect());
    peer.expect("touch 5\r\n").await;
    peer.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn a_reserve_has_its_own_time_on_top() {
    let limit = Duration::from_secs(5);
    let limits = ConnectionLimits { reply_timeout: Some(limit), ..ConnectionLimits::default() };
    let (mut connection, _peer) = pair_with(limits, 1000);
    let start = Instant::now();
    let error = connection.reserve_with_timeout(60).await.unwrap_err();
    assert_eq!(start.elapsed().as_secs(), 65);
    assert!(matches!(error, Error::NoReply { .. }), "{error:?}");

    let (mut connection, mut peer) = pair_with(limits, 1000);
    let server = async {
        peer.expect("reserve\r\n").await;
        tokio::time::sleep(Duration::from_secs(100_000)).await;
        peer.send("DEADLINE_SOON\r\n").await;
    };
    let (reserved, ()) = tokio::join!(connection.reserve(), server);
    assert_eq!(reserved.unwrap(), Reservation::DeadlineSoon);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_close_after_quit() {
    let (connection, mut peer) = pair();
    let (result, ()) = tokio::join!(connection.quit(), peer.expect("quit\r\n"));
    assert!(matches!(result, Err(Error::NoReply { command, .. }) if command == "quit"));
}

#[tokio::test]
async fn nobody_listens() {
    // Bound, so that nobody else gets the port, but not listening.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = Address::from(socket.local_addr().unwrap());
    let error = Connection::connect(&address.clone().into()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Io { .. }), "{error:?}");
    assert!(error.to_string().starts_with(&format!("cannot connect to {address}: ")), "{error}");
}

#[tokio::test]
async fn a_connect_that_is_not_answered() {
    // A full accept queue makes the kernel ignore further attempts.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = Address::from(listener.local_addr().unwrap());
    let after = Duration::from_millis(100);
    let options = ConnectOptions::new(address).timeout(after);
    let mut accepted = Vec::new();
    for _ in 0..16 {
        match Connection::connect(&options).await {
            Ok(connection) => accepted.push(connection),
            Err(ConnectError::TimedOut { after: found, .. }) => {
                return assert_eq!(found, after);
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("{} connections fit into an accept queue of none", accepted.len());
}
