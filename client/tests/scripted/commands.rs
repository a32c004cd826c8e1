//! Each command: the line that is sent, and what each reply becomes.

use jq_client::{
    Bytes, Connection, Error, Ignored, Job, Outcome, PutError, PutOptions, Refusal, ReleaseOptions,
    Released, Reservation,
};

use crate::fake::{both, pair};
use crate::tube;

/// Plays one exchange and returns what the call made of it.
async fn once<T>(call: impl AsyncFnOnce(&mut Connection) -> T, line: &str, reply: &str) -> T {
    let (mut connection, mut peer) = pair();
    both(call(&mut connection), peer.play(&[(line, reply)])).await
}

fn job(id: u64, body: &'static str) -> Job {
    Job { id, body: Bytes::from_static(body.as_bytes()) }
}

#[tokio::test]
async fn put() {
    let options = PutOptions { priority: 7, delay: 8, ttr: 9 };
    let put = async |reply| once(async |c| c.put(b"ab\r\nc", options).await, SENT, reply).await;
    const SENT: &str = "put 7 8 9 5\r\nab\r\nc\r\n";
    assert_eq!(put("INSERTED 18446744073709551615\r\n").await.unwrap(), u64::MAX);
    assert!(matches!(put("BURIED 3\r\n").await, Err(PutError::Buried(3))));
    assert!(matches!(put("DRAINING\r\n").await, Err(PutError::Draining)));
    assert!(matches!(put("JOB_TOO_BIG\r\n").await, Err(PutError::JobTooBig { size: 5 })));
    assert!(matches!(put("OUT_OF_MEMORY\r\n").await, Err(PutError::OutOfMemory)));
    assert!(matches!(put("EXPECTED_CRLF\r\n").await, Err(PutError::ExpectedCrlf)));
    let refused = put("INTERNAL_ERROR\r\n").await;
    let Err(PutError::Failed(Error::Refused { command, refusal })) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((command.as_str(), refusal), ("put 7 8 9 5", Refusal::InternalError));
}

#[tokio::test]
async fn put_by_default_and_with_an_empty_body() {
    let put = async |c: &mut Connection| c.put(b"", PutOptions::default()).await;
    assert_eq!(once(put, "put 2147483648 0 60 0\r\n\r\n", "INSERTED 1\r\n").await.unwrap(), 1);
}

#[tokio::test]
async fn a_body_that_no_server_takes_is_not_sent() {
    let (mut connection, mut peer) = pair();
    let body = vec![0; jq_client::MAX_JOB_SIZE as usize + 1];
    let error = connection.put(&body, PutOptions::default()).await.unwrap_err();
    assert!(matches!(error, PutError::JobTooBig { size } if size == body.len()), "{error}");
    assert!(connection.pipeline().await.unwrap().put(&body, PutOptions::default()).is_err());
    drop(body);
    both(connection.stats(), peer.play(&[("stats\r\n", "OK 4\r\n---\n\r\n")])).await.unwrap();
}

#[tokio::test]
async fn tubes() {
    let use_tube = once(async |c| c.use_tube(&tube("a")).await, "use a\r\n", "USING a\r\n");
    use_tube.await.unwrap();
    let watch = once(async |c| c.watch(&tube("a")).await, "watch a\r\n", "WATCHING 2\r\n");
    assert_eq!(watch.await.unwrap(), 2);
    let ignore =
        async |reply| once(async |c| c.ignore(&tube("a")).await, "ignore a\r\n", reply).await;
    assert_eq!(ignore("WATCHING 1\r\n").await.unwrap(), Ignored::Watching(1));
    assert_eq!(ignore("NOT_IGNORED\r\n").await.unwrap(), Ignored::LastOne);
    let used = once(async |c| c.list_tube_used().await, "list-tube-used\r\n", "USING b\r\n");
    assert_eq!(used.await.unwrap(), tube("b"));
    let text = "OK 18\r\n---\n- default\n- a\n\r\n";
    let all = once(async |c| c.list_tubes().await, "list-tubes\r\n", text);
    assert_eq!(all.await.unwrap(), [tube("default"), tube("a")]);
    let watched = once(async |c| c.list_tubes_watched().await, "list-tubes-watched\r\n", text);
    assert_eq!(watched.await.unwrap(), [tube("default"), tube("a")]);
    let pause = async |reply| {
        once(async |c| c.pause_tube(&tube("a"), 60).await, "pause-tube a 60\r\n", reply).await
    };
    assert_eq!(pause("PAUSED\r\n").await.unwrap(), Outcome::Done);
    assert_eq!(pause("NOT_FOUND\r\n").await.unwrap(), Outcome::NotFound);
}

#[tokio::test]
async fn reserve() {
    let reserve = async |reply| once(async |c| c.reserve().await, "reserve\r\n", reply).await;
    let reserved = reserve("RESERVED 5 4\r\nwork\r\n").await.unwrap();
    assert_eq!(reserved, Reservation::Reserved(job(5, "work")));
    assert_eq!(reserved.into_job(), Some(job(5, "work")));
    assert_eq!(reserve("DEADLINE_SOON\r\n").await.unwrap(), Reservation::DeadlineSoon);
    for (seconds, line) in [(0, "reserve-with-timeout 0\r\n"), (9, "reserve-with-timeout 9\r\n")] {
        let call = async |c: &mut Connection| c.reserve_with_timeout(seconds).await;
        assert_eq!(once(call, line, "TIMED_OUT\r\n").await.unwrap(), Reservation::TimedOut);
    }
    let by_id = async |reply| {
        once(async |c| c.reserve_job(5).await, "reserve-job 5\r\n", reply).await.unwrap()
    };
    assert_eq!(by_id("RESERVED 5 0\r\n\r\n").await, Some(job(5, "")));
    assert_eq!(by_id("NOT_FOUND\r\n").await, None);
}

#[tokio::test]
async fn what_becomes_of_a_job() {
    let delete = async |reply| once(async |c| c.delete(5).await, "delete 5\r\n", reply).await;
    assert_eq!(delete("DELETED\r\n").await.unwrap(), Outcome::Done);
    assert_eq!(delete("NOT_FOUND\r\n").await.unwrap(), Outcome::NotFound);
    let touch = async |reply| once(async |c| c.touch(5).await, "touch 5\r\n", reply).await;
    assert_eq!(touch("TOUCHED\r\n").await.unwrap(), Outcome::Done);
    assert_eq!(touch("NOT_FOUND\r\n").await.unwrap(), Outcome::NotFound);
    let bury = async |reply| once(async |c| c.bury(5, 6).await, "bury 5 6\r\n", reply).await;
    assert_eq!(bury("BURIED\r\n").await.unwrap(), Outcome::Done);
    assert_eq!(bury("NOT_FOUND\r\n").await.unwrap(), Outcome::NotFound);
    let options = ReleaseOptions { priority: 6, delay: 7 };
    let release = async |reply| {
        once(async |c| c.release(5, options).await, "release 5 6 7\r\n", reply).await.unwrap()
    };
    assert_eq!(release("RELEASED\r\n").await, Released::Released);
    assert_eq!(release("BURIED\r\n").await, Released::Buried);
    assert_eq!(release("NOT_FOUND\r\n").await, Released::NotFound);
}

#[tokio::test]
async fn looking_and_kicking() {
    let found = "FOUND 5 1\r\nx\r\n";
    let peek = once(async |c| c.peek(5).await, "peek 5\r\n", found).await;
    assert_eq!(peek.unwrap(), Some(job(5, "x")));
    let ready = once(async |c| c.peek_ready().await, "peek-ready\r\n", found).await;
    assert_eq!(ready.unwrap(), Some(job(5, "x")));
    let delayed = once(async |c| c.peek_delayed().await, "peek-delayed\r\n", found).await;
    assert_eq!(delayed.unwrap(), Some(job(5, "x")));
    let buried = once(async |c| c.peek_buried().await, "peek-buried\r\n", "NOT_FOUND\r\n").await;
    assert_eq!(buried.unwrap(), None);
    let kick = once(async |c| c.kick(9).await, "kick 9\r\n", "KICKED 3\r\n").await;
    assert_eq!(kick.unwrap(), 3);
    let kick_job = async |reply| once(async |c| c.kick_job(5).await, "kick-job 5\r\n", reply).await;
    assert_eq!(kick_job("KICKED\r\n").await.unwrap(), Outcome::Done);
    assert_eq!(kick_job("NOT_FOUND\r\n").await.unwrap(), Outcome::NotFound);
}

#[tokio::test]
async fn stats() {
    let text = "OK 20\r\n---\nid: 5\ntube: \"a\"\n\r\n";
    let all = once(async |c| c.stats().await, "stats\r\n", text).await.unwrap();
    assert_eq!((all.number("id"), all.get("tube")), (Some(5), Some("a")));
    let job = once(async |c| c.stats_job(5).await, "stats-job 5\r\n", text).await.unwrap();
    assert_eq!(job.unwrap().number("id"), Some(5));
    let tube = async |reply| once(async |c| c.stats_tube(&tube("a")).await, SENT, reply).await;
    const SENT: &str = "stats-tube a\r\n";
    assert!(tube(text).await.unwrap().is_some());
    assert_eq!(tube("NOT_FOUND\r\n").await.unwrap(), None);
    let unreadable = tube("OK 3\r\nwhy\r\n").await.unwrap_err();
    assert!(matches!(&unreadable, Error::BadText { command, line }
        if command == "stats-tube a" && line == "why"));
    assert!(!unreadable.ends_connection());
}

#[tokio::test]
async fn quit() {
    let (connection, mut peer) = pair();
    let server = async move { peer.expect("quit\r\n").await };
    both(connection.quit(), server).await.unwrap();
}

#[tokio::test]
async fn every_reply_may_come_in_pieces() {
    let (mut connection, mut peer) = pair();
    let client = async {
        let reserved = connection.reserve().await.unwrap();
        assert_eq!(reserved, Reservation::Reserved(job(5, "a\r\nb")));
        assert_eq!(connection.kick(1).await.unwrap(), 1);
        assert_eq!(connection.stats().await.unwrap().number("a"), Some(1));
    };
    let server = async {
        peer.expect("reserve\r\n").await;
        peer.send_slowly("RESERVED 5 4\r\na\r\nb\r\n").await;
        peer.expect("kick 1\r\n").await;
        peer.send_slowly("KICKED 1\r\n").await;
        peer.expect("stats\r\n").await;
        peer.send_slowly("OK 9\r\n---\na: 1\n\r\n").await;
    };
    both(client, server).await;
}

#[tokio::test]
async fn refusals_name_the_command_and_leave_the_connection_as_it_is() {
    let (mut connection, mut peer) = pair();
    for (reply, expected) in [
        ("BAD_FORMAT\r\n", Refusal::BadFormat),
        ("UNKNOWN_COMMAND\r\n", Refusal::UnknownCommand),
        ("OUT_OF_MEMORY\r\n", Refusal::OutOfMemory),
        ("INTERNAL_ERROR\r\n", Refusal::InternalError),
        ("DRAINING\r\n", Refusal::Draining),
    ] {
        let exchange = [("reserve-job 5\r\n", reply)];
        let error = both(connection.reserve_job(5), peer.play(&exchange)).await.unwrap_err();
        // The word that may be for want of a right, with the right.
        let why = match expected {
            Refusal::InternalError => {
                ": it failed, or does not allow this: it takes the token or certificate of a principal with the right \"reserve\" in the job's tube"
            }
            _ => "",
        };
        assert_eq!(
            error.to_string(),
            format!("to \"reserve-job 5\" the server answered {expected}{why}")
        );
        assert!(matches!(error, Error::Refused { refusal, .. } if refusal == expected));
        assert!(connection.is_open());
    }
}

/// Compiles only if the futures can be spawned.
#[test]
fn futures_are_send() {
    fn is_send<T: Send>(_: &T) {}
    let (mut connection, _peer) = pair();
    is_send(&connection);
    is_send(&connection.put(b"", PutOptions::default()));
    is_send(&connection.reserve());
    is_send(&connection.closed());
    is_send(&async { connection.pipeline().await?.collect().await });
    is_send(&connection.quit());
    let server = jq_client::ConnectOptions::new("localhost:1".parse().unwrap());
    is_send(&jq_client::Connection::connect(&server));
    let mut client = jq_client::Client::new(server, jq_client::ClientOptions::default());
    is_send(&client);
    is_send(&client.put(b"", PutOptions::default()));
    is_send(&client.reserve());
    is_send(&client.stats());
    is_send(&client.closed());
    is_send(&client.quit());
}
