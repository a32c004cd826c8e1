//! Many commands in flight.

use jq_client::{Bytes, Command, ConnectionLimits, Error, Outcome, PutOptions, Reply, Reservation};

use crate::fake::{both, pair, pair_with};

#[tokio::test]
async fn replies_come_in_the_order_of_the_commands() {
    let (mut connection, mut peer) = pair();
    let client = async {
        let mut pipeline = connection.pipeline().await.unwrap();
        pipeline.put(b"a", PutOptions { priority: 1, delay: 2, ttr: 3 }).unwrap();
        pipeline.send(&Command::Reserve);
        pipeline.send(&Command::Delete(1));
        assert_eq!(pipeline.in_flight(), 3);
        pipeline.collect().await.unwrap()
    };
    let server = async {
        // Nothing waits for an answer to what came before it.
        peer.expect("put 1 2 3 1\r\na\r\nreserve\r\ndelete 1\r\n").await;
        peer.send_slowly("INSERTED 1\r\nRESERVED 1 1\r\na\r\nNOT_FOUND\r\n").await;
    };
    assert_eq!(
        both(client, server).await,
        [Reply::Inserted(1), Reply::Reserved(1, Bytes::from_static(b"a")), Reply::NotFound]
    );
}

#[tokio::test]
async fn a_window_of_commands() {
    const COUNT: u64 = 1000;
    let (mut connection, mut peer) = pair();
    let client = async {
        let mut pipeline = connection.pipeline().await.unwrap();
        let mut kicked = Vec::new();
        for id in 0..COUNT {
            if pipeline.in_flight() == 64 {
                kicked.push(pipeline.next().await.unwrap().unwrap());
            }
            pipeline.send(&Command::KickJob(id));
        }
        while let Some(reply) = pipeline.next().await.unwrap() {
            kicked.push(reply);
        }
        assert_eq!(pipeline.in_flight(), 0);
        kicked
    };
    let server = async {
        for id in 0..COUNT {
            peer.expect(format!("kick-job {id}\r\n")).await;
            peer.send(format!("KICKED {id}\r\n")).await;
        }
    };
    let expected: Vec<_> = (0..COUNT).map(Reply::Kicked).collect();
    assert_eq!(both(client, server).await, expected);
}

#[tokio::test]
async fn neither_end_waits_for_the_other_to_read() {
    // Far more than fits into the stream, both ways: a client that wrote everything before it
    // read anything would wait for ever.
    const COUNT: u64 = 500;
    let (mut connection, mut peer) = pair_with(ConnectionLimits::default(), 64);
    let client = async {
        let mut pipeline = connection.pipeline().await.unwrap();
        for id in 0..COUNT {
            pipeline.send(&Command::Peek(id));
        }
        pipeline.flush().await.unwrap();
        assert_eq!(pipeline.in_flight(), 500);
        pipeline.collect().await.unwrap().len()
    };
    let server = async {
        for id in 0..COUNT {
            peer.expect(format!("peek {id}\r\n")).await;
            peer.send(format!("FOUND {id} 20\r\n{}\r\n", "x".repeat(20))).await;
        }
    };
    assert_eq!(both(client, server).await, 500);
}

#[tokio::test]
async fn flush_sends_without_waiting_for_replies() {
    let (mut connection, mut peer) = pair();
    let mut pipeline = connection.pipeline().await.unwrap();
    pipeline.send(&Command::Touch(5));
    pipeline.flush().await.unwrap();
    peer.play(&[("touch 5\r\n", "TOUCHED\r\n")]).await;
    assert_eq!(pipeline.next().await.unwrap(), Some(Reply::Touched));
    assert_eq!(pipeline.next().await.unwrap(), None);
}

#[tokio::test]
async fn a_dropped_pipeline_is_skipped_and_its_jobs_are_kept() {
    let (mut connection, mut peer) = pair();
    {
        let mut pipeline = connection.pipeline().await.unwrap();
        pipeline.send(&Command::Touch(1));
        pipeline.send(&Command::ReserveWithTimeout(Some(0)));
        pipeline.send(&Command::ReserveJob(8));
        pipeline.flush().await.unwrap();
    }
    let client = async {
        assert_eq!(connection.delete(2).await.unwrap(), Outcome::NotFound);
        for expected in [7, 8] {
            let reserved = connection.reserve().await.unwrap();
            assert_eq!(reserved.into_job().map(|job| job.id), Some(expected));
        }
    };
    let server = async {
        peer.expect("touch 1\r\nreserve-with-timeout 0\r\nreserve-job 8\r\n").await;
        peer.send("TOUCHED\r\nRESERVED 7 0\r\n\r\nRESERVED 8 0\r\n\r\n").await;
        peer.play(&[("delete 2\r\n", "NOT_FOUND\r\n")]).await;
    };
    both(client, server).await;
}

#[tokio::test]
async fn a_dropped_pipeline_with_a_waiting_reserve() {
    let (mut connection, mut peer) = pair();
    {
        let mut pipeline = connection.pipeline().await.unwrap();
        pipeline.send(&Command::Reserve);
        pipeline.send(&Command::Delete(3));
    }
    assert!(matches!(connection.touch(1).await, Err(Error::ReservePending)));
    let client = async {
        assert_eq!(connection.reserve().await.unwrap(), Reservation::DeadlineSoon);
        assert_eq!(connection.touch(1).await.unwrap(), Outcome::Done);
    };
    let server = async {
        peer.expect("reserve\r\ndelete 3\r\n").await;
        peer.send("DEADLINE_SOON\r\nNOT_FOUND\r\n").await;
        peer.play(&[("touch 1\r\n", "TOUCHED\r\n")]).await;
    };
    both(client, server).await;
}

#[tokio::test]
async fn what_was_answered_before_the_close_is_delivered() {
    let (mut connection, mut peer) = pair();
    let client = async {
        let mut pipeline = connection.pipeline().await.unwrap();
        for id in 1..=3 {
            pipeline.send(&Command::Delete(id));
        }
        assert_eq!(pipeline.next().await.unwrap(), Some(Reply::Deleted));
        assert_eq!(pipeline.next().await.unwrap(), Some(Reply::NotFound));
        let error = pipeline.next().await.unwrap_err();
        assert!(error.ends_connection() && error.may_have_had_effect(), "{error:?}");
        assert_eq!(pipeline.in_flight(), 0);
    };
    let server = async move {
        peer.expect("delete 1\r\ndelete 2\r\ndelete 3\r\n").await;
        peer.send("DELETED\r\nNOT_FOUND\r\n").await;
    };
    both(client, server).await;
}

#[tokio::test]
async fn an_unsent_command_had_no_effect() {
    // The first command is written, the second only in part.
    let (mut connection, mut peer) = pair_with(ConnectionLimits::default(), 16);
    let client = async {
        let mut pipeline = connection.pipeline().await.unwrap();
        pipeline.send(&Command::Touch(1));
        pipeline.put(&[b'x'; 100], PutOptions::default()).unwrap();
        assert_eq!(pipeline.next().await.unwrap(), Some(Reply::Touched));
        pipeline.next().await.unwrap_err()
    };
    let server = async move { peer.play(&[("touch 1\r\n", "TOUCHED\r\n")]).await };
    assert!(!both(client, server).await.may_have_had_effect());
}

#[tokio::test]
async fn quit_has_no_reply() {
    let (mut connection, mut peer) = pair();
    let mut pipeline = connection.pipeline().await.unwrap();
    pipeline.send(&Command::Touch(1));
    pipeline.send(&Command::Quit);
    assert_eq!(pipeline.in_flight(), 1);
    let server = async move { peer.play(&[("touch 1\r\nquit\r\n", "TOUCHED\r\n")]).await };
    assert_eq!(both(pipeline.collect(), server).await.unwrap(), [Reply::Touched]);
}
