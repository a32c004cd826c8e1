//! Large bodies, which a log stores before their puts are carried out.
//!
//! To store a gigabyte takes seconds. If that were part of a commit, everybody would wait for it. So
//! the connection that received the body waits, and nobody else: the log stores the body at a pace that
//! does not disturb commits, and the record of the put then only refers to it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use beanstalk_protocol::JobId;
use tokio::sync::oneshot;

use crate::freeing;
use crate::log::LogDriver;

/// A body that is being stored, as its connection sees it. As long as this lives, the put may be carried
/// out; when it is dropped, the put is over.
#[derive(Debug)]
pub struct Staging {
    job: JobId,
    given_back: oneshot::Receiver<Option<Box<[u8]>>>,
    driver: Arc<dyn LogDriver>,
}

/// The same, as the log sees it. Dropped, it refuses the put.
#[derive(Debug)]
pub struct Order {
    job: JobId,
    body: Box<[u8]>,
    /// `None` while it is dropped.
    to: Option<oneshot::Sender<Option<Box<[u8]>>>>,
}

impl Staging {
    /// Has the log store the body of this job, whose put is not carried out yet.
    pub(crate) fn begin(job: JobId, body: Box<[u8]>, driver: &Arc<dyn LogDriver>) -> Self {
        let (to, given_back) = oneshot::channel();
        driver.stage(Order { job, body, to: Some(to) });
        Self { job, given_back, driver: Arc::clone(driver) }
    }

    /// Waits until the body is stored, and gives it back. `None`: it cannot be, and the put is to be
    /// refused.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Box<[u8]>>> {
        Pin::new(&mut self.given_back).poll(cx).map(|body| body.ok().flatten())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Whatever is stored from here on is not taken, and the log sees that. What was stored before, it
        // is told of.
        self.given_back.close();
        if let Ok(Some(body)) = self.given_back.try_recv() {
            freeing::free(body.into_vec());
        }
        self.driver.put_ended(self.job);
    }
}

impl Order {
    /// Which job's body it is.
    pub fn job(&self) -> JobId {
        self.job
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Whether nobody waits for it any more.
    pub fn is_forgotten(&self) -> bool {
        self.to.as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    /// Has the put carried out. `false` if nobody waits for it any more: then nothing refers to what was
    /// stored.
    pub fn give_back(mut self) -> bool {
        let Some(to) = self.to.take() else { return false };
        match to.send(Some(std::mem::take(&mut self.body))) {
            Ok(()) => true,
            Err(body) => {
                self.body = body.unwrap_or_default();
                false
            }
        }
    }
}

impl Drop for Order {
    fn drop(&mut self) {
        freeing::free(std::mem::take(&mut self.body).into_vec());
    }
}
