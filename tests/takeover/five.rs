//! Files of version 5, of older releases of beanstalkd. Today's reads them, and tells what they mean.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::peer;
use crate::support::folder::{Folder, kill};
use crate::told::{BURIES, Told, count};

const READY: u8 = 1;
const BURIED: u8 = 3;
const DELAYED: u8 = 4;

/// Room that is set aside in a file, in bytes.
const ROOM: usize = 4096;

/// Adds a record as a C program on a 64-bit machine writes it; without a tube, only how a job is.
fn add(
    file: &mut Vec<u8>,
    (tube, id, body): (&str, u64, &str),
    created: Duration,
    (state, deadline): (u8, Duration),
) {
    let micros = |time: Duration| (time.as_micros() as u64).to_le_bytes();
    file.extend((tube.len() as u64).to_le_bytes());
    file.extend(tube.as_bytes());
    file.extend(id.to_le_bytes());
    file.extend((id as u32 + 1000).to_le_bytes());
    file.extend([0; 4]);
    file.extend(micros(Duration::from_secs(7000)));
    file.extend(micros(Duration::from_secs(60 + id)));
    file.extend((body.len() as u32 + 2).to_le_bytes());
    file.extend([0; 4]);
    file.extend(micros(created));
    file.extend(micros(deadline));
    file.extend([1_u32, 2, 3, 4, 5].map(u32::to_le_bytes).concat());
    file.push(state);
    if !tube.is_empty() {
        file.extend(body.as_bytes());
        file.extend(b"\r\n");
    }
}

#[test]
fn is_read_as_beanstalkd_reads_it() {
    let Some(beanstalkd) = peer::find() else { return };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set");
    let created = now - Duration::from_secs(500);
    let (ready, buried) = ((READY, Duration::ZERO), (BURIED, Duration::ZERO));
    let delayed = |seconds| (DELAYED, now + Duration::from_secs(seconds));
    let mut file = 5_u32.to_le_bytes().to_vec();
    add(&mut file, ("first", 3, "one"), created, ready);
    add(&mut file, ("default", 4, ""), created, delayed(5000));
    add(&mut file, (&"n".repeat(200), 5, "a longer one"), created, ready);
    add(&mut file, ("first", 6, "buried"), created, buried);
    add(&mut file, ("", 5, "a longer one"), created, delayed(900));
    file.resize(ROOM, 0);
    let folders = [Folder::new(), Folder::new()];
    for folder in &folders {
        fs::write(folder.path().join("binlog.7"), &file).expect("it is new");
    }
    let [theirs, ours] = folders;
    let server = peer::serve(&beanstalkd, &theirs);
    let ids = 3..=6;
    let told: Vec<Told> =
        ids.map(|id| Told::of(&mut server.connect(), id).expect("it is there")).collect();
    kill(server);
    let server = ours.serve(&[]);
    let mut conn = server.connect();
    for mut told in told {
        if told.state == "buried" {
            // It has buried it once more.
            told.counters[BURIES] -= 1;
        }
        let now = Told::of(&mut conn, told.id).expect("it is there");
        assert!(now.continues(&told), "{now:?} was {told:?}");
    }
    assert_eq!(count(&mut conn), 4);
}
