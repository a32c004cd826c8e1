//! The connection that comes back.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use jq_client::{
    Address, Client, ClientOptions, ConnectOptions, ConnectionLimits, Error, Lease, Outcome,
    PutError, PutOptions, ReleaseOptions, Released, Reservation,
};
use tokio::net::UnixListener;

use crate::fake::{DEADLINE, Peer, Server, both, soon};
use crate::{poll_once, tube};

const PUT: &str = "put 2147483648 0 60 1\r\nx\r\n";

pub(crate) fn options() -> ClientOptions {
    ClientOptions {
        first_delay: Duration::from_millis(1),
        max_delay: Duration::from_millis(10),
        give_up_after: Some(DEADLINE),
        ..ClientOptions::default()
    }
}

pub(crate) async fn start() -> (Client, Server) {
    let server = Server::start().await;
    (Client::new(server.address(), options()), server)
}

async fn put(client: &mut Client) -> Result<u64, PutError> {
    client.put(b"x", PutOptions::default()).await
}

/// Accepts a connection, plays so much, and closes.
pub(crate) async fn visit(server: &Server, exchanges: &[(&str, &str)]) {
    server.accept().await.play(exchanges).await;
}

/// Has the client reserve job 5, over a connection that stays.
async fn lease(client: &mut Client, server: &Server) -> (Lease, Peer) {
    let accepted = async {
        let mut peer = server.accept().await;
        peer.play(&[("reserve\r\n", "RESERVED 5 4\r\nwork\r\n")]).await;
        peer
    };
    let (reserved, peer) = tokio::join!(client.reserve(), accepted);
    (reserved.unwrap().into_job().expect("a job"), peer)
}

#[tokio::test]
async fn connects_when_first_needed_and_sets_its_tubes_up() {
    let (mut client, server) = start().await;
    client.use_tube(&tube("u"));
    client.watch(&tube("b"));
    client.watch(&tube("a"));
    assert!(client.ignore(&tube("default")));
    assert_eq!((client.used(), client.watched()), (&tube("u"), &[tube("b"), tube("a")][..]));
    assert!(!client.is_connected());
    let tubes = [
        ("use u\r\n", "USING u\r\n"),
        ("watch b\r\n", "WATCHING 2\r\n"),
        ("watch a\r\n", "WATCHING 3\r\n"),
        ("ignore default\r\n", "WATCHING 2\r\n"),
    ];
    let peer = async {
        let mut peer = server.accept().await;
        peer.play(&tubes).await;
        peer.play(&[(PUT, "INSERTED 1\r\n"), (PUT, "INSERTED 2\r\n")]).await;
        // Closed while idle: the next connection gets the same tubes, and then the changes.
        drop(peer);
        let mut peer = server.accept().await;
        peer.play(&tubes).await;
        peer.play(&[(PUT, "INSERTED 3\r\n"), ("ignore b\r\n", "WATCHING 1\r\n")]).await;
        peer.play(&[("reserve-with-timeout 0\r\n", "TIMED_OUT\r\n")]).await;
    };
    let ours = async {
        assert_eq!(put(&mut client).await.unwrap(), 1);
        assert_eq!(put(&mut client).await.unwrap(), 2);
        let ended = client.closed().await;
        assert!(matches!(ended, Error::Disconnected { .. }), "{ended:?}");
        assert!(!client.is_connected());
        assert_eq!(put(&mut client).await.unwrap(), 3);
        assert!(client.ignore(&tube("b")));
        assert!(!client.ignore(&tube("a")), "the last one");
        assert_eq!(client.reserve_with_timeout(0).await.unwrap(), Reservation::TimedOut);
    };
    both(ours, peer).await;
}

#[tokio::test]
async fn what_only_looks_is_repeated() {
    let (mut client, server) = start().await;
    let peer = async {
        for _ in 0..3 {
            visit(&server, &[("stats\r\n", "OK 9\r\n---")]).await;
        }
        visit(&server, &[("stats\r\n", "OK 9\r\n---\na: 1\n\r\n")]).await;
    };
    assert_eq!(both(client.stats(), peer).await.unwrap().number("a"), Some(1));
}

#[tokio::test]
async fn a_reserve_is_repeated_and_its_job_is_good_for_the_new_connection() {
    let (mut client, server) = start().await;
    let peer = async {
        visit(&server, &[("reserve\r\n", "")]).await;
        visit(&server, &[("reserve\r\n", "RESERVED 5 4\r\nwo")]).await;
        let job = ("reserve\r\n", "RESERVED 5 4\r\nwork\r\n");
        visit(&server, &[job, ("delete 5\r\n", "DELETED\r\n")]).await;
    };
    let ours = async {
        let lease = client.reserve().await.unwrap().into_job().unwrap();
        assert_eq!((lease.id(), &lease.body()[..]), (5, &b"work"[..]));
        client.delete(&lease).await.unwrap()
    };
    assert_eq!(both(ours, peer).await, Outcome::Done);
}

#[tokio::test]
async fn a_reserve_with_a_timeout_is_repeated_with_the_time_that_is_left() {
    let (mut client, server) = start().await;
    let seconds = async |peer: &mut Peer| -> u32 {
        let line = peer.line().await;
        line.strip_prefix("reserve-with-timeout ").expect(&line).parse().expect(&line)
    };
    let peer = async {
        let mut peer = server.accept().await;
        let first = seconds(&mut peer).await;
        tokio::time::sleep(Duration::from_millis(1100)).await;
        drop(peer);
        let mut peer = server.accept().await;
        let second = seconds(&mut peer).await;
        peer.send("TIMED_OUT\r\n").await;
        assert!(0 < second && second < first && first <= 100, "{first}, {second}");
    };
    let reserved = both(client.reserve_with_timeout(100), peer).await.unwrap();
    assert_eq!(reserved, Reservation::TimedOut);
}

#[tokio::test]
async fn a_put_that_may_have_been_done_is_not_repeated() {
    let (mut client, server) = start().await;
    let error = both(put(&mut client), visit(&server, &[(PUT, "")])).await.unwrap_err();
    let PutError::Failed(error) = error else { panic!("{error:?}") };
    assert!(error.may_have_had_effect(), "{error:?}");
    // The client itself goes on.
    let peer = visit(&server, &[(PUT, "INSERTED 1\r\n")]);
    assert_eq!(both(put(&mut client), peer).await.unwrap(), 1);
}

#[tokio::test]
async fn a_put_is_repeated_if_that_is_allowed() {
    let server = Server::start().await;
    let allowed = ClientOptions { resend_puts: true, ..options() };
    let mut client = Client::new(server.address(), allowed);
    let peer = async {
        visit(&server, &[(PUT, "")]).await;
        visit(&server, &[(PUT, "INSERTED 1\r\n")]).await;
    };
    assert_eq!(both(put(&mut client), peer).await.unwrap(), 1);
}

#[tokio::test]
async fn other_commands_with_an_effect_are_not_repeated() {
    let (mut client, server) = start().await;
    let lost = |result: Result<(), Error>| {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Disconnected { sent: true, .. }), "{error:?}");
    };
    let peer = visit(&server, &[("kick 1\r\n", "")]);
    lost(both(client.kick(1), peer).await.map(drop));
    let peer = visit(&server, &[("kick-job 1\r\n", "")]);
    lost(both(client.kick_job(1), peer).await.map(drop));
    let peer = visit(&server, &[("delete 1\r\n", "")]);
    lost(both(client.delete_job(1), peer).await.map(drop));
    let peer = visit(&server, &[("pause-tube a 1\r\n", "")]);
    lost(both(client.pause_tube(&tube("a"), 1), peer).await.map(drop));
}

#[tokio::test]
async fn a_lease_is_void_with_its_connection() {
    let (mut client, server) = start().await;
    let (lease, mut peer) = lease(&mut client, &server).await;
    let touched = both(client.touch(&lease), peer.play(&[("touch 5\r\n", "TOUCHED\r\n")])).await;
    assert_eq!(touched.unwrap(), Outcome::Done);
    drop(peer);
    soon(client.closed()).await;
    // No connection is made to try.
    assert_void(&mut client, &lease).await;
    assert!(!client.is_connected());
    // Over another one nothing is sent either: there, the number means nothing.
    let (lease_again, mut peer) = self::lease(&mut client, &server).await;
    assert_eq!(lease_again.id(), lease.id());
    assert_void(&mut client, &lease).await;
    let answer = peer.play(&[("touch 5\r\n", "TOUCHED\r\n")]);
    assert_eq!(both(client.touch(&lease_again), answer).await.unwrap(), Outcome::Done);
}

async fn assert_void(client: &mut Client, lease: &Lease) {
    assert_eq!(client.touch(lease).await.unwrap(), Outcome::NotFound);
    assert_eq!(client.delete(lease).await.unwrap(), Outcome::NotFound);
    assert_eq!(client.bury(lease, 0).await.unwrap(), Outcome::NotFound);
    let released = client.release(lease, ReleaseOptions::default()).await;
    assert_eq!(released.unwrap(), Released::NotFound);
}

#[tokio::test]
async fn a_lease_of_another_client_is_not_honoured() {
    let server = Server::start().await;
    // Not even if both connect in the same way.
    let connect = Arc::new(ConnectOptions::new(server.address()));
    let mut one = Client::new(Arc::clone(&connect), options());
    let mut other = Client::new(connect, options());
    let (of_one, mut peer) = lease(&mut one, &server).await;
    let (of_other, _other_peer) = lease(&mut other, &server).await;
    assert_eq!(one.delete(&of_other).await.unwrap(), Outcome::NotFound);
    let answer = peer.play(&[("delete 5\r\n", "DELETED\r\n")]);
    assert_eq!(both(one.delete(&of_one), answer).await.unwrap(), Outcome::Done);
}

#[tokio::test]
async fn what_happened_to_a_leased_job_when_the_connection_is_lost_is_not_known() {
    let (mut client, server) = start().await;
    let (lease, mut peer) = lease(&mut client, &server).await;
    let peer = async move { peer.expect("delete 5\r\n").await };
    let error = both(client.delete(&lease), peer).await.unwrap_err();
    assert!(error.may_have_had_effect(), "{error:?}");
    assert_eq!(client.delete(&lease).await.unwrap(), Outcome::NotFound);
}

/// A path for a socket, that is removed in the end.
struct SocketPath(PathBuf);

impl SocketPath {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("jq-client-{name}-{}.sock", std::process::id())))
    }

    fn address(&self) -> Address {
        Address::Unix(self.0.clone())
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test]
async fn a_loss_that_is_noticed_before_anything_was_sent_only_voids_the_lease() {
    let (mut client, server) = start().await;
    let (lease, peer) = lease(&mut client, &server).await;
    drop(peer);
    // Behind the client's back, which still takes the connection for good.
    soon(client.connection().await.unwrap().closed()).await;
    assert_eq!(client.delete(&lease).await.unwrap(), Outcome::NotFound);
}

#[tokio::test]
async fn waits_for_a_server_that_comes_later() {
    let path = SocketPath::new("later");
    let mut client = Client::new(path.address(), options());
    let mut put = pin!(put(&mut client));
    assert!(poll_once(put.as_mut()).is_pending(), "nobody listens");
    let listener = UnixListener::bind(&path.0).unwrap();
    let peer = async {
        let (stream, _) = listener.accept().await.unwrap();
        Peer::new(stream).play(&[(PUT, "INSERTED 1\r\n")]).await;
    };
    assert_eq!(both(put, peer).await.unwrap(), 1);
}

#[tokio::test]
async fn gives_up_in_the_end() {
    let path = SocketPath::new("never");
    let options = ClientOptions { give_up_after: Some(Duration::from_millis(30)), ..options() };
    let mut client = Client::new(path.address(), options.clone());
    let error = soon(client.stats()).await.unwrap_err();
    assert!(matches!(error, Error::Connect(_)), "{error:?}");
    assert!(error.to_string().contains(&path.address().to_string()), "{error}");

    // Also on a server that accepts and closes, again and again.
    let server = Server::start().await;
    let mut client = Client::new(server.address(), options);
    let result = tokio::select! {
        result = soon(client.stats()) => result,
        () = accept_and_close(&server) => unreachable!("it never ends"),
    };
    assert!(matches!(result, Err(Error::Disconnected { .. })), "{result:?}");
}

async fn accept_and_close(server: &Server) {
    loop {
        drop(server.accept().await);
    }
}

#[tokio::test]
async fn what_the_server_says_is_no_reason_to_try_again() {
    let (mut client, server) = start().await;
    let peer = visit(&server, &[("stats\r\n", "INTERNAL_ERROR\r\n")]);
    assert!(matches!(both(client.stats(), peer).await, Err(Error::Refused { .. })));
    let peer = visit(&server, &[("stats\r\n", "SSH-2.0\r\n")]);
    assert!(matches!(both(client.stats(), peer).await, Err(Error::BadReply(_))));
    assert!(!client.is_connected());
}

#[tokio::test]
async fn a_silent_server_is_left() {
    let server = Server::start().await;
    let reply_timeout = Some(Duration::from_millis(100));
    let limits = ConnectionLimits { reply_timeout, ..ConnectionLimits::default() };
    let connect = ConnectOptions::new(server.address()).limits(limits);
    let mut client = Client::new(connect, options());
    let peer = async {
        let mut silent = server.accept().await;
        silent.expect("stats\r\n").await;
        silent.expect_end().await;
        // On a loaded machine the answer may be late too; then there is one more attempt.
        loop {
            visit(&server, &[("stats\r\n", "OK 4\r\n---\n\r\n")]).await;
        }
    };
    tokio::select! {
        stats = soon(client.stats()) => assert!(stats.unwrap().is_empty()),
        () = peer => unreachable!("it never ends"),
    }
}

#[tokio::test]
async fn a_pending_reserve_is_taken_up_before_the_tubes_change() {
    let (mut client, server) = start().await;
    let peer = async {
        let mut peer = server.accept().await;
        peer.expect("reserve\r\n").await;
        peer
    };
    let mut peer = tokio::select! {
        _ = client.reserve() => panic!("nothing was answered"),
        peer = peer => peer,
    };
    client.watch(&tube("a"));
    assert!(matches!(client.stats().await, Err(Error::ReservePending)));
    let answers = async {
        peer.send("DEADLINE_SOON\r\n").await;
        peer.play(&[("watch a\r\n", "WATCHING 2\r\n"), ("reserve\r\n", "DEADLINE_SOON\r\n")]).await;
    };
    let ours = async {
        assert_eq!(client.reserve().await.unwrap(), Reservation::DeadlineSoon);
        assert_eq!(client.reserve().await.unwrap(), Reservation::DeadlineSoon);
    };
    both(ours, answers).await;
}

#[tokio::test]
async fn its_connection_can_be_borrowed_and_ended() {
    let (mut client, server) = start().await;
    client.use_tube(&tube("u"));
    let peer = async {
        let mut peer = server.accept().await;
        peer.play(&[("use u\r\n", "USING u\r\n"), ("touch 1\r\ntouch 2\r\n", "TOUCHED\r\n")]).await;
        peer.send("NOT_FOUND\r\n").await;
        peer.expect("quit\r\n").await;
    };
    let ours = async {
        let mut pipeline = client.connection().await.unwrap().pipeline().await.unwrap();
        pipeline.send(&jq_client::Command::Touch(1));
        pipeline.send(&jq_client::Command::Touch(2));
        assert_eq!(pipeline.collect().await.unwrap().len(), 2);
        client.quit().await.unwrap();
    };
    both(ours, peer).await;
    let never_connected = Client::new(server.address(), options());
    never_connected.quit().await.unwrap();
}
