//! Commands that not every server has, over a connection that comes back.

use jq_client::{Error, JobState, Lease, Outcome, PutOptions, Refusal, Reservation};

use crate::cancel::start_and_drop;
use crate::client::{start, visit};
use crate::fake::{both, soon};
use crate::tube;

const BATCH: &str = "batch-reserve 5 0\r\n";
const ONE: &str = "reserve-with-timeout 0\r\n";
const UNKNOWN: &str = "UNKNOWN_COMMAND\r\n";

fn ids(reserved: &Reservation<Vec<Lease>>) -> Vec<u64> {
    match reserved {
        Reservation::Reserved(leases) => leases.iter().map(Lease::id).collect(),
        _ => Vec::new(),
    }
}

#[track_caller]
fn assert_lost(error: &Error, sent: bool) {
    assert!(matches!(error, Error::Disconnected { sent: it, .. } if *it == sent), "{error:?}");
}

/// A batch that came in part is not used: the rest of it went with the connection.
#[tokio::test]
async fn a_batch_is_repeated_and_its_jobs_are_good_for_the_new_connection() {
    let (mut client, server) = start().await;
    let peer = async {
        visit(&server, &[(BATCH, "")]).await;
        visit(&server, &[(BATCH, "BATCH 2\r\nRESERVED 1 1\r\na\r\n")]).await;
        let reply = "BATCH 2\r\nRESERVED 3 1\r\nc\r\nRESERVED 4 1\r\nd\r\n";
        visit(&server, &[(BATCH, reply), ("delete 4\r\n", "DELETED\r\n")]).await;
    };
    let ours = async {
        let reserved = client.reserve_batch(5, 0).await.unwrap();
        assert_eq!(ids(&reserved), [3, 4]);
        let leases = reserved.into_job().unwrap();
        assert_eq!(client.delete(&leases[1]).await.unwrap(), Outcome::Done);
        // They are bound to that connection, all of them.
        client.closed().await;
        assert_eq!(client.delete(&leases[0]).await.unwrap(), Outcome::NotFound);
    };
    both(ours, peer).await;
}

/// The server goes between the question whether it has batches and their use. Behind the next
/// connection there is another: what is known of the first one does not count.
#[tokio::test]
async fn each_connection_is_asked_for_batches() {
    let (mut client, server) = start().await;
    let one = "RESERVED 1 1\r\na\r\n";
    let peer = async {
        visit(&server, &[(BATCH, UNKNOWN), (ONE, "")]).await;
        visit(&server, &[(BATCH, UNKNOWN), (ONE, one), (ONE, "TIMED_OUT\r\n")]).await;
        visit(&server, &[(BATCH, "BATCH 1\r\nRESERVED 1 1\r\na\r\n")]).await;
        visit(&server, &[(BATCH, UNKNOWN), (ONE, one)]).await;
    };
    let ours = async {
        assert_eq!(ids(&client.reserve_batch(5, 0).await.unwrap()), [1]);
        assert_eq!(client.reserve_batch(5, 0).await.unwrap(), Reservation::TimedOut);
        for _ in 0..2 {
            assert_eq!(ids(&client.reserve_batch(5, 0).await.unwrap()), [1]);
        }
    };
    both(ours, peer).await;
}

/// As every reserve: the wait goes on, and whichever reserve comes next gets the jobs.
#[tokio::test]
async fn a_batch_whose_future_was_dropped() {
    let (mut client, server) = start().await;
    let peer = async {
        let mut peer = server.accept().await;
        peer.play(&[("stats\r\n", "OK 4\r\n---\n\r\n")]).await;
        peer
    };
    let (stats, mut peer) = tokio::join!(client.stats(), peer);
    stats.unwrap();
    start_and_drop(client.reserve_batch(2, 100));
    peer.expect("batch-reserve 2 100\r\n").await;
    assert!(matches!(client.clear_tube(&tube("t")).await, Err(Error::ReservePending)));
    peer.send("BATCH 2\r\nRESERVED 1 1\r\na\r\nRESERVED 2 1\r\nb\r\n").await;
    let first = soon(client.reserve()).await.unwrap().into_job().unwrap();
    assert_eq!(first.id(), 1);
    assert_eq!(ids(&soon(client.reserve_batch(5, 0)).await.unwrap()), [2]);
    let played = [("delete 1\r\n", "DELETED\r\n")];
    assert_eq!(both(client.delete(&first), peer.play(&played)).await.unwrap(), Outcome::Done);
}

#[tokio::test]
async fn pages_are_repeated() {
    let (mut client, server) = start().await;
    let text = "---\nnext: 0\njobs:\n";
    let reply = format!("OK {}\r\n{text}\r\n", text.len());
    const SENT: &str = "list-jobs t buried 7 9\r\n";
    let peer = async {
        visit(&server, &[(SENT, "OK 99\r\n---\n")]).await;
        visit(&server, &[(SENT, &*reply), (SENT, UNKNOWN)]).await;
    };
    let ours = async {
        let list = async |client: &mut jq_client::Client| {
            client.list_jobs(&tube("t"), Some(JobState::Buried), 7, 9).await
        };
        assert_eq!(list(&mut client).await.unwrap().unwrap().next, 0);
        list(&mut client).await.unwrap_err()
    };
    let error = both(ours, peer).await;
    assert!(matches!(error, Error::Refused { refusal: Refusal::UnknownCommand, .. }), "{error}");
}

#[tokio::test]
async fn moving_is_not_repeated() {
    let (mut client, server) = start().await;
    let t = tube("t");
    let error = both(client.move_job(7, &t), visit(&server, &[("move 7 t\r\n", "")])).await;
    assert_lost(&error.unwrap_err(), true);
    let peer = async {
        let job = (ONE, "RESERVED 5 1\r\na\r\n");
        visit(&server, &[job, ("move 5 t\r\n", UNKNOWN), ("move 5 t\r\n", "MOVED\r\n")]).await;
    };
    let ours = async {
        let lease = client.reserve_with_timeout(0).await.unwrap().into_job().unwrap();
        let error = client.move_reserved(&lease, &t).await.unwrap_err();
        let refused = matches!(error, Error::Refused { refusal: Refusal::UnknownCommand, .. });
        assert!(refused, "{error}");
        assert_eq!(client.move_reserved(&lease, &t).await.unwrap(), Outcome::Done);
        client.closed().await;
        client.move_reserved(&lease, &t).await.unwrap()
    };
    assert_eq!(both(ours, peer).await, Outcome::NotFound);
}

/// With so many jobs in it.
fn stats_of_tube(ready: u64) -> String {
    let text = format!("---\ncurrent-jobs-ready: {ready}\n");
    format!("OK {}\r\n{text}\r\n", text.len())
}

#[tokio::test]
async fn clearing_is_repeated_only_while_nothing_is_removed() {
    const CLEAR: (&str, &str) = ("clear-tube t\r\n", UNKNOWN);
    const USED: (&str, &str) = ("list-tube-used\r\n", "USING default\r\n");
    const USE: (&str, &str) = ("use t\r\n", "USING t\r\n");
    const PEEK: (&str, &str) = ("peek-ready\r\n", "FOUND 1 1\r\na\r\n");
    const DELETE: &str = "delete 1\r\n";
    let (mut client, server) = start().await;
    let t = tube("t");
    // By the server itself: nobody knows whether it did.
    let error = both(client.clear_tube(&t), visit(&server, &[("clear-tube t\r\n", "")])).await;
    assert_lost(&error.unwrap_err(), true);
    let stats = stats_of_tube(2);
    let stats = ("stats-tube t\r\n", &*stats);
    // One by one: until the first delete, nothing has happened. The server that comes then has the
    // command.
    let peer = async {
        visit(&server, &[CLEAR]).await;
        visit(&server, &[CLEAR, stats]).await;
        visit(&server, &[CLEAR, stats, USED, USE]).await;
        visit(&server, &[CLEAR, stats, USED, USE, ("peek-ready\r\n", "FOUND 1")]).await;
        visit(&server, &[("clear-tube t\r\n", "CLEARED 2\r\n")]).await;
    };
    assert_eq!(both(client.clear_tube(&t), peer).await.unwrap(), Some(2));
    soon(client.closed()).await;
    // From then on, something has, or may have.
    for lost in [
        &[(DELETE, "")][..],
        &[(DELETE, "DELETED\r\n"), ("peek-ready\r\n", "")],
        &[(DELETE, "DELETED\r\n"), PEEK, (DELETE, "NOT_FOUND\r\n"), ("use default\r\n", "")],
    ] {
        let played = [&[CLEAR, stats, USED, USE, PEEK], lost].concat();
        let error = both(client.clear_tube(&t), visit(&server, &played)).await.unwrap_err();
        assert_lost(&error, true);
    }
}

/// Whatever clearing does with the used tube, a put goes where it should.
#[tokio::test]
async fn clearing_leaves_the_used_tube_as_it_was() {
    const PUT: (&str, &str) = ("put 2147483648 0 60 1\r\nx\r\n", "INSERTED 1\r\n");
    let (mut client, server) = start().await;
    let (t, u) = (tube("t"), tube("u"));
    client.use_tube(&u);
    let stats = stats_of_tube(1);
    let stats = ("stats-tube t\r\n", &*stats);
    let peer = async {
        let mut peer = server.accept().await;
        peer.play(&[("use u\r\n", "USING u\r\n"), ("clear-tube t\r\n", "CLEARED 2\r\n")]).await;
        // It has not changed, so nothing is said about it.
        peer.play(&[PUT, ("clear-tube t\r\n", UNKNOWN), stats]).await;
        peer.play(&[("list-tube-used\r\n", "USING u\r\n"), ("use t\r\n", "USING t\r\n")]).await;
        peer.play(&[("peek-ready\r\n", "OUT_OF_MEMORY\r\n"), ("use u\r\n", "USING u\r\n")]).await;
        // After a failure it is said once more.
        peer.play(&[("use u\r\n", "USING u\r\n"), PUT, PUT]).await;
    };
    let ours = async {
        assert_eq!(client.clear_tube(&t).await.unwrap(), Some(2));
        client.put(b"x", PutOptions::default()).await.unwrap();
        let error = client.clear_tube(&t).await.unwrap_err();
        assert!(matches!(error, Error::Refused { refusal: Refusal::OutOfMemory, .. }), "{error}");
        for _ in 0..2 {
            client.put(b"x", PutOptions::default()).await.unwrap();
        }
    };
    both(ours, peer).await;
}
