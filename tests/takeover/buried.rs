//! Buried jobs keep their order, there and back.

use crate::back::export;
use crate::load::{id_in, put_one};
use crate::peer;
use crate::support::Conn;
use crate::support::folder::{Folder, kill};

/// Jobs that are buried.
const JOBS: usize = 9;

/// Buries jobs in another order than that of their numbers. Returns it.
fn bury(conn: &mut Conn) -> Vec<u64> {
    let ids: Vec<u64> = (0..JOBS).map(|_| put_one(conn)).collect();
    // 4 and 9 have no divisor in common, so each job has its turn.
    let order: Vec<u64> = (0..JOBS).map(|at| ids[at * 4 % JOBS]).collect();
    for id in &order {
        assert_eq!(id_in(&conn.ask(format!("reserve-job {id}")), "RESERVED "), Some(*id));
        assert_eq!(conn.ask(format!("bury {id} 0")).line(), b"BURIED");
    }
    order
}

/// Asserts that jobs are buried in this order.
fn assert_order(conn: &mut Conn, order: &[u64]) {
    for id in order {
        assert_eq!(id_in(&conn.ask("peek-buried"), "FOUND "), Some(*id));
        assert_eq!(conn.ask("kick 1").line(), b"KICKED 1");
    }
}

#[test]
fn from_beanstalkd() {
    let Some(beanstalkd) = peer::find() else { return };
    let folder = Folder::new();
    let server = peer::serve(&beanstalkd, &folder);
    let order = bury(&mut server.connect());
    kill(server);
    assert_order(&mut folder.serve(&[]).connect(), &order);
}

#[test]
fn to_beanstalkd() {
    let Some(beanstalkd) = peer::find() else { return };
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let order = bury(&mut server.connect());
    kill(server);
    let (status, output) = export(&folder);
    assert_eq!(status, 0, "{output}");
    assert_order(&mut peer::serve(&beanstalkd, &folder).connect(), &order);
}
