//! Reserving many jobs at once.
//!
//! For a job that takes microseconds, a reserve of its own costs more than the job. So where all jobs are
//! short, and while there is a backlog, as many are reserved in one exchange as there is room for. They share
//! the connection from then on (see [`hold`](crate::hold)).
//!
//! Owns: that exchange. Must not know: what a job is for.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use jq_client::{Command, Connection, Error, Job, Reply};
use tokio::sync::{Mutex as Turn, oneshot};
use tokio::time::timeout;

use crate::room::{Permit, Room};
use crate::source::{Source, TURN};

/// Most jobs that are reserved at once.
pub(crate) const MANY: usize = 32;

/// How long room for some is waited for, when there is room for one.
const GATHER: Duration = Duration::from_millis(1);

/// How long a server may take to say which jobs these are.
const ANSWER: Duration = Duration::from_secs(30);

/// What was reserved at once.
pub(crate) struct Many {
    pub(crate) connection: Connection,
    /// No more than there are permits.
    pub(crate) jobs: Vec<Job>,
    pub(crate) permits: Vec<Permit>,
}

/// Reserves as many jobs that are ready as there is room for, and at most so many. `None`: the server is silent, and it is
/// somebody else's turn.
pub(crate) async fn reserve_many(
    source: &Arc<Source>,
    connection: Connection,
    room: &Arc<Room>,
    turn: Option<&Turn<()>>,
    most: usize,
) -> Option<Result<Many, Error>> {
    let _turn = match turn {
        Some(turn) => Some(turn.lock().await),
        None => None,
    };
    room.wait_open().await;
    // Jobs that came together are often over together.
    let _ = timeout(GATHER, room.wait_for_some(most)).await;
    let permits: Vec<_> = (0..most).map_while(|_| room.take()).collect();
    let (answer, answered) = oneshot::channel();
    // It goes on if the loop is stopped: dropped in between, the connection would have vanished with all
    // the jobs that it has, which the queue may count against them.
    tokio::spawn(reserve_ready(Arc::clone(source), connection, permits.len(), answer));
    let reserved = match turn {
        Some(_) => timeout(TURN, answered).await.ok()?,
        None => answered.await,
    };
    // It ends without an answer only if it panics.
    let reserved = reserved.unwrap_or(Err(Error::Disconnected { sent: true, source: None }));
    Some(reserved.map(|(connection, jobs)| Many { connection, jobs, permits }))
}

type Reserved = Result<(Connection, Vec<Job>), Error>;

async fn reserve_ready(
    source: Arc<Source>,
    mut connection: Connection,
    count: usize,
    answer: oneshot::Sender<Reserved>,
) {
    let jobs = reserve_pipelined(&mut connection, count).await;
    let unwanted = answer.send(jobs.map(|jobs| (connection, jobs)));
    if let Err(Ok((connection, jobs))) = unwanted {
        jobs.iter().for_each(|job| source.note_returned(job.id));
        let _ = connection.quit().await;
    }
}

async fn reserve_pipelined(connection: &mut Connection, count: usize) -> Result<Vec<Job>, Error> {
    let replies = async {
        let mut pipeline = connection.pipeline().await?;
        for _ in 0..count {
            pipeline.send(&Command::ReserveWithTimeout(Some(0)));
        }
        pipeline.collect().await
    };
    let silent = || Error::Disconnected { sent: true, source: Some(ErrorKind::TimedOut.into()) };
    let replies = timeout(ANSWER, replies).await.unwrap_or_else(|_| Err(silent()))?;
    let job = |reply| match reply {
        Reply::Reserved(id, body) => Some(Job { id, body }),
        // There is none, or one of those before is about to time out; what else it may be, the next reserve
        // will tell.
        _ => None,
    };
    Ok(replies.into_iter().filter_map(job).collect())
}
