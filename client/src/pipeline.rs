//! Many commands in flight on one connection.

use beanstalk_protocol::{Command, Reply};
use bytes::Bytes;

use crate::call::{self, Request};
use crate::connection::Connection;
use crate::error::{Error, PutError};
use crate::job::PutOptions;

/// Commands on one connection that do not wait for each other's replies. Created by
/// [`Connection::pipeline`].
///
/// Commands are queued in memory, and written together when a reply is awaited and none has arrived
/// yet, or by [`flush`](Self::flush). The server answers them in order. So one network round
/// trip serves many commands, either as a batch:
///
/// ```no_run
/// use jq_client::{Command, Reply};
///
/// # async fn example(mut connection: jq_client::Connection) -> Result<(), jq_client::Error> {
/// let done = [7, 8, 9];
/// let mut pipeline = connection.pipeline().await?;
/// for id in done {
///     pipeline.send(&Command::Delete(id));
/// }
/// let replies = pipeline.collect().await?;
/// let deleted = replies.iter().filter(|reply| **reply == Reply::Deleted).count();
/// println!("{deleted} of {} deleted", replies.len());
/// # Ok(())
/// # }
/// ```
///
/// or as a stream, with a constant number in flight:
///
/// ```no_run
/// use jq_client::PutOptions;
///
/// # async fn example(mut connection: jq_client::Connection) -> Result<(), jq_client::PutError> {
/// let mut pipeline = connection.pipeline().await?;
/// for line in ["one", "two", "three"] {
///     if pipeline.in_flight() == 64 {
///         println!("{:?}", pipeline.next().await?);
///     }
///     pipeline.put(line.as_bytes(), PutOptions::default())?;
/// }
/// while let Some(reply) = pipeline.next().await? {
///     println!("{reply:?}");
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Limits
///
/// There is no limit on how much is queued. It occupies memory of this process, and the caller must
/// bound it with [`in_flight`](Self::in_flight). There is no reply timeout either.
///
/// # Dropped futures
///
/// Dropping the future of any method loses nothing: call it again. Dropping the pipeline itself has
/// the same effect on its commands as dropping futures of the [`Connection`]: they are sent with
/// the next command, their replies are skipped, and jobs that they reserve are kept for the next
/// reserve.
#[derive(Debug)]
pub struct Pipeline<'c> {
    connection: &'c mut Connection,
}

impl<'c> Pipeline<'c> {
    pub(crate) fn new(connection: &'c mut Connection) -> Self {
        Self { connection }
    }

    /// Queues a put.
    ///
    /// # Errors
    ///
    /// [`PutError::JobTooBig`] if no server accepts such a body. Nothing is queued then.
    pub fn put(&mut self, body: &[u8], options: PutOptions) -> Result<(), PutError> {
        let call = call::put(body, options)?;
        self.connection.queue(&call.request);
        Ok(())
    }

    /// Queues a command. Each has one reply, except [`Command::Quit`], which has none, and
    /// [`Command::BatchReserve`]: after [`Reply::Batch`], each of its jobs is a reply of its own. Everything
    /// after a waiting reserve waits too.
    pub fn send(&mut self, command: &Command) {
        self.connection.queue(&Request::Command(command.clone()));
    }

    /// The number of replies that are still to come.
    pub fn in_flight(&self) -> usize {
        self.connection.owed()
    }

    /// Hands everything queued to the operating system, without waiting for replies. Those that
    /// arrive meanwhile are kept in memory.
    ///
    /// # Errors
    ///
    /// [`Error::Disconnected`], with which the replies that have not been taken are lost.
    pub async fn flush(&mut self) -> Result<(), Error> {
        self.connection.flush().await
    }

    /// The reply to the oldest command that has not received one, or `None` if all have.
    ///
    /// # Errors
    ///
    /// An error applies to this command and all after it: the connection has ended. A refusal by
    /// the server is not an error but a reply.
    pub async fn next(&mut self) -> Result<Option<Reply<Bytes>>, Error> {
        self.connection.next_reply().await
    }

    /// All replies that are still to come, in the order of their commands.
    ///
    /// # Errors
    ///
    /// Those of [`next`](Self::next). The replies before the error are lost; if you need them, use
    /// `next`.
    pub async fn collect(mut self) -> Result<Vec<Reply<Bytes>>, Error> {
        let mut replies = Vec::with_capacity(self.in_flight());
        while let Some(reply) = self.next().await? {
            replies.push(reply);
        }
        Ok(replies)
    }
}
