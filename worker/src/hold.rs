//! A connection that has reserved a job, alone or with others.
//!
//! A job that may run for long has its connection for itself: a `quit` there gives back this job and no
//! other. Short jobs that came together share theirs: what is to be said about several of them at the same
//! moment is said in one exchange. One that is to be given back by a `quit` then waits until all others of its
//! connection are over or given back too, and is touched meanwhile; the connection takes no more jobs.
//!
//! Owns: what is said over these connections. Must not know: what a job is for.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use jq_client::{
    Bytes, Command, Connection, Error, JobId, Outcome, Priority, ReleaseOptions, Released, Reply,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until, timeout};

use crate::source::Source;

/// How long a server may take to answer about jobs that share a connection.
const ANSWER: Duration = Duration::from_secs(30);

/// Longest time between two touches.
const TOUCH_AT_LEAST: Duration = Duration::from_secs(60);

/// The connection of a job. When it is dropped before the job's end, the job is ready for others: at once,
/// or when the others of its connection are over.
#[derive(Debug)]
pub(crate) enum Hold {
    /// It has no other job.
    Own(Connection),
    /// It may have others.
    Shared(Member),
}

/// How a job ends in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastWord {
    Delete,
    Bury(Priority),
    Release(ReleaseOptions),
}

impl Hold {
    /// Touches the job.
    pub(crate) async fn touch(&mut self, id: JobId) -> Result<Outcome, Error> {
        match self {
            Self::Own(connection) => connection.touch(id).await,
            Self::Shared(member) => {
                let command = Command::Touch(id);
                let reply = member.ask(command.clone(), false).await?;
                match is_done(&reply) {
                    Some(true) => Ok(Outcome::Done),
                    Some(false) => Ok(Outcome::NotFound),
                    None => Err(refused(&command, &reply)),
                }
            }
        }
    }

    /// Whether the queue has the job, whoever it belongs to.
    pub(crate) async fn exists(&mut self, id: JobId) -> Result<bool, Error> {
        match self {
            Self::Own(connection) => Ok(connection.stats_job(id).await?.is_some()),
            Self::Shared(member) => {
                let command = Command::StatsJob(id);
                match member.ask(command.clone(), false).await? {
                    Reply::Ok(_) => Ok(true),
                    Reply::NotFound => Ok(false),
                    reply => Err(refused(&command, &reply)),
                }
            }
        }
    }

    /// Waits until the connection is lost, and returns why.
    pub(crate) async fn closed(&mut self) -> Error {
        match self {
            Self::Own(connection) => connection.closed().await,
            Self::Shared(member) => member.closed().await,
        }
    }

    /// Ends the job. False: the queue does not know it as ours.
    pub(crate) async fn end(&mut self, id: JobId, word: LastWord) -> Result<bool, Error> {
        match (self, word) {
            (Self::Own(connection), LastWord::Delete) => {
                connection.delete(id).await.map(Outcome::is_done)
            }
            (Self::Own(connection), LastWord::Bury(priority)) => {
                connection.bury(id, priority).await.map(Outcome::is_done)
            }
            (Self::Own(connection), LastWord::Release(options)) => {
                connection.release(id, options).await.map(|it| it != Released::NotFound)
            }
            (Self::Shared(member), word) => {
                let command = match word {
                    LastWord::Delete => Command::Delete(id),
                    LastWord::Bury(priority) => Command::Bury { id, priority },
                    LastWord::Release(ReleaseOptions { priority, delay }) => {
                        Command::Release { id, priority, delay }
                    }
                };
                let reply = member.ask(command.clone(), true).await?;
                is_done(&reply).ok_or_else(|| refused(&command, &reply))
            }
        }
    }

    /// The job is over: its connection can have others.
    pub(crate) fn give(self, source: &Source) {
        if let Self::Own(connection) = self {
            source.give(connection);
        }
    }

    /// Gives the job back by the end of the connection: for the queue, this is no attempt.
    pub(crate) async fn quit(self) -> Result<(), Error> {
        match self {
            Self::Own(connection) => connection.quit().await,
            Self::Shared(member) => member.quit().await,
        }
    }
}

/// Whether a command did what it says; if not, the queue does not know the job as ours. `None`: it was
/// refused for another reason.
fn is_done(reply: &Reply<Bytes>) -> Option<bool> {
    match reply {
        Reply::Touched | Reply::Deleted | Reply::Buried | Reply::Released => Some(true),
        Reply::NotFound => Some(false),
        _ => None,
    }
}

fn refused(command: &Command, reply: &Reply<Bytes>) -> Error {
    let mut line = Vec::new();
    command.encode(&mut line);
    let line = String::from_utf8_lossy(line.trim_ascii_end());
    Error::of_reply(line, "that it is done, or NOT_FOUND", reply)
}

/// One of the jobs that share a connection.
#[derive(Debug)]
pub(crate) struct Member {
    id: JobId,
    ttr: Duration,
    orders: mpsc::UnboundedSender<Order>,
    /// Closed when the connection is lost; then it may say why.
    ended: watch::Receiver<Option<io::ErrorKind>>,
    /// Its last word is on its way.
    is_over: bool,
}

#[derive(Debug)]
struct Order {
    id: JobId,
    ttr: Duration,
    what: What,
}

#[derive(Debug)]
enum What {
    /// There is at most one of these for each job at a time, but for those that nobody waits for any more.
    Ask { command: Command, is_last: bool, answer: oneshot::Sender<Reply<Bytes>> },
    /// To be given back.
    Return(Option<oneshot::Sender<()>>),
}

impl Member {
    /// The connection carries the order out, whether the answer is awaited or not.
    async fn ask(&mut self, command: Command, is_last: bool) -> Result<Reply<Bytes>, Error> {
        let (answer, answered) = oneshot::channel();
        self.is_over |= is_last;
        self.order(What::Ask { command, is_last, answer });
        answered.await.map_err(|_| self.why())
    }

    fn order(&self, what: What) {
        // The connection may be lost, which is found out by who waits for an answer.
        let _ = self.orders.send(Order { id: self.id, ttr: self.ttr, what });
    }

    async fn closed(&mut self) -> Error {
        while self.ended.changed().await.is_ok() {}
        self.why()
    }

    async fn quit(mut self) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        self.is_over = true;
        self.order(What::Return(Some(answer)));
        answered.await.map_err(|_| self.why())
    }

    fn why(&self) -> Error {
        let source = self.ended.borrow().map(io::Error::from);
        Error::Disconnected { sent: true, source }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if !self.is_over {
            self.order(What::Return(None));
        }
    }
}

/// Has these jobs, with their times to run, share the connection that they were reserved over.
pub(crate) fn share(
    connection: Connection,
    source: Arc<Source>,
    jobs: impl ExactSizeIterator<Item = (JobId, Duration)>,
) -> Vec<Member> {
    let (orders, received) = mpsc::unbounded_channel();
    let (ended, is_ended) = watch::channel(None);
    let held = jobs.len();
    let member = |(id, ttr)| Member {
        id,
        ttr,
        orders: orders.clone(),
        ended: is_ended.clone(),
        is_over: false,
    };
    let members = jobs.map(member).collect();
    let shared = Shared { connection, source, held, returned: Vec::new(), touch_at: None };
    tokio::spawn(shared.serve(received, ended));
    members
}

/// The connection's side.
struct Shared {
    connection: Connection,
    source: Arc<Source>,
    /// How many jobs it has.
    held: usize,
    /// Those of them that are to be given back.
    returned: Vec<Returned>,
    /// When these are to be touched.
    touch_at: Option<Instant>,
}

struct Returned {
    id: JobId,
    ttr: Duration,
    answer: Option<oneshot::Sender<()>>,
}

impl Shared {
    async fn serve(
        mut self,
        mut orders: mpsc::UnboundedReceiver<Order>,
        ended: watch::Sender<Option<io::ErrorKind>>,
    ) {
        let mut batch = Vec::new();
        while self.held > self.returned.len() {
            let touch_at = self.touch_at;
            tokio::select! {
                order = orders.recv() => batch.extend(order),
                error = self.connection.closed() => return tell(&ended, &error),
                () = sleep_until(touch_at.unwrap_or_else(Instant::now)), if touch_at.is_some() => {}
            }
            // Jobs that are over at the same moment have their say together.
            yield_now().await;
            while let Ok(order) = orders.try_recv() {
                batch.push(order);
            }
            if let Err(error) = self.carry_out(&mut batch).await {
                return tell(&ended, &error);
            }
        }
        if self.returned.is_empty() {
            return self.source.give(self.connection);
        }
        if timeout(ANSWER, self.connection.quit()).await.is_ok_and(|quit| quit.is_ok()) {
            for answer in self.returned.into_iter().filter_map(|it| it.answer) {
                let _ = answer.send(());
            }
        }
    }

    async fn carry_out(&mut self, batch: &mut Vec<Order>) -> Result<(), Error> {
        let mut asked = Vec::with_capacity(batch.len());
        let mut pipeline = self.connection.pipeline().await?;
        for Order { id, ttr, what } in batch.drain(..) {
            match what {
                What::Ask { command, is_last, answer } => {
                    pipeline.send(&command);
                    asked.push((id, ttr, is_last, answer));
                }
                What::Return(answer) => self.returned.push(Returned { id, ttr, answer }),
            }
        }
        let now = Instant::now();
        if self.touch_at.is_some_and(|at| at <= now) {
            for Returned { id, .. } in &self.returned {
                pipeline.send(&Command::Touch(*id));
            }
            self.touch_at = None;
        }
        if self.touch_at.is_none() {
            let every = self.returned.iter().map(|it| (it.ttr / 3).min(TOUCH_AT_LEAST)).min();
            self.touch_at = every.map(|every| now + every);
        }
        // If the server is silent, the jobs find that out by themselves, sooner.
        let replies = match timeout(ANSWER, pipeline.collect()).await {
            Ok(replies) => replies?,
            Err(_) => {
                let source = Some(io::ErrorKind::TimedOut.into());
                return Err(Error::Disconnected { sent: true, source });
            }
        };
        for ((id, ttr, is_last, answer), reply) in asked.into_iter().zip(replies) {
            match is_last.then(|| is_done(&reply)) {
                Some(Some(_)) => self.held -= 1,
                // The job is still here, and nobody asks for it any more.
                Some(None) => self.returned.push(Returned { id, ttr, answer: None }),
                None => {}
            }
            let _ = answer.send(reply);
        }
        Ok(())
    }
}

/// Why there are no answers any more: the sender goes then.
fn tell(ended: &watch::Sender<Option<io::ErrorKind>>, error: &Error) {
    if let Error::Disconnected { source: Some(source), .. } = error {
        ended.send_replace(Some(source.kind()));
    }
}

#[cfg(test)]
mod tests {
    use jq_client::ConnectionLimits;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const TTR: Duration = Duration::from_secs(30);

    /// A server that cannot be connected to: what it has is what was given.
    fn source() -> Arc<Source> {
        let address: jq_client::Address = "unix:/nowhere/at/all".parse().unwrap();
        Arc::new(Source::new(address.into(), Vec::new()))
    }

    /// Jobs that share a connection, and its other end.
    fn shared<const N: usize>(source: &Arc<Source>) -> ([Hold; N], DuplexStream) {
        let (ours, theirs) = duplex(4096);
        let connection = Connection::from_stream(ours, ConnectionLimits::default());
        let jobs = (1..).take(N).map(|id| (id, TTR)).collect::<Vec<_>>();
        let members = share(connection, Arc::clone(source), jobs.into_iter());
        let holds: Vec<_> = members.into_iter().map(Hold::Shared).collect();
        (holds.try_into().unwrap(), theirs)
    }

    async fn hear(server: &mut DuplexStream, lines: &str) {
        let mut heard = vec![0; lines.len()];
        server.read_exact(&mut heard).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&heard), lines);
    }

    async fn say(server: &mut DuplexStream, lines: &str) {
        server.write_all(lines.as_bytes()).await.unwrap();
    }

    #[tokio::test]
    async fn jobs_that_are_over_together_end_in_one_exchange() {
        let source = source();
        let ([mut one, mut two, mut three], mut server) = shared(&source);
        let release = LastWord::Release(ReleaseOptions { priority: 5, delay: 6 });
        let ends = async {
            tokio::join!(
                one.end(1, LastWord::Delete),
                two.end(2, LastWord::Bury(4)),
                three.touch(3)
            )
        };
        let served = async {
            // Nothing was answered so far.
            hear(&mut server, "delete 1\r\nbury 2 4\r\ntouch 3\r\n").await;
            say(&mut server, "DELETED\r\nNOT_FOUND\r\nTOUCHED\r\n").await;
        };
        let ((one, two, touched), ()) = tokio::join!(ends, served);
        assert!(one.unwrap() && !two.unwrap() && touched.unwrap().is_done());
        assert!(source.connection().await.is_err(), "it has a job still");
        let served = async {
            hear(&mut server, "release 3 5 6\r\n").await;
            say(&mut server, "RELEASED\r\n").await;
        };
        assert!(tokio::join!(three.end(3, release), served).0.unwrap());
        three.give(&source);
        tokio::task::yield_now().await;
        assert!(source.connection().await.is_ok(), "it can have others");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_back_waits_for_the_others_and_is_touched() {
        let source = source();
        let ([one, mut two, three], mut server) = shared(&source);
        let returned = tokio::spawn(one.quit());
        tokio::task::yield_now().await;
        // As when its task panics.
        drop(three);
        hear(&mut server, "touch 1\r\ntouch 3\r\n").await;
        say(&mut server, "TOUCHED\r\nTOUCHED\r\n").await;
        hear(&mut server, "touch 1\r\ntouch 3\r\n").await;
        assert!(!returned.is_finished());
        say(&mut server, "TOUCHED\r\nNOT_FOUND\r\n").await;
        let served = async {
            hear(&mut server, "delete 2\r\n").await;
            say(&mut server, "DELETED\r\n").await;
            hear(&mut server, "quit\r\n").await;
            assert!(!returned.is_finished(), "it is back when the server has closed");
            drop(server);
        };
        assert!(tokio::join!(two.end(2, LastWord::Delete), served).0.unwrap());
        returned.await.unwrap().unwrap();
        assert!(source.connection().await.is_err(), "it is of no use any more");
    }

    #[tokio::test]
    async fn all_learn_that_the_connection_is_lost() {
        let ([mut one, mut two], mut server) = shared(&source());
        let served = async {
            hear(&mut server, "touch 1\r\n").await;
            drop(server);
        };
        let (touched, closed, ()) = tokio::join!(one.touch(1), two.closed(), served);
        assert!(matches!(touched, Err(Error::Disconnected { .. })), "{touched:?}");
        assert!(matches!(closed, Error::Disconnected { .. }), "{closed:?}");
        assert!(two.end(2, LastWord::Delete).await.is_err());
        assert!(one.quit().await.is_err());
    }

    #[tokio::test]
    async fn a_job_whose_end_is_refused_goes_back() {
        let source = source();
        let ([mut one, mut two], mut server) = shared(&source);
        let ends =
            async { tokio::join!(one.end(1, LastWord::Delete), two.end(2, LastWord::Delete)) };
        let served = async {
            hear(&mut server, "delete 1\r\ndelete 2\r\n").await;
            say(&mut server, "INTERNAL_ERROR\r\nDELETED\r\n").await;
            hear(&mut server, "quit\r\n").await;
        };
        let ((one, two), ()) = tokio::join!(ends, served);
        let refused = one.unwrap_err().to_string();
        let expected = "to \"delete 1\" the server answered INTERNAL_ERROR: it failed, or does not allow this: \
                        it takes the token or certificate of a principal with the right \"delete\"";
        assert!(refused.starts_with(expected), "{refused}");
        assert!(two.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_silent_is_given_up() {
        let ([mut one, mut two], _server) = shared(&source());
        let (touched, closed) = tokio::join!(one.touch(1), two.closed());
        assert!(touched.is_err());
        assert!(closed.to_string().contains("timed out"), "{closed}");
    }
}
