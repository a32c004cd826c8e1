//! Tasks that deal with jobs: counted, so that their end can be awaited.
//!
//! Owns: how many there are, and the word that nobody is to wait any longer. Must not know: what the
//! tasks do.

use tokio::sync::watch;

/// A handle to all tasks of a worker. Clones share them.
#[derive(Debug, Clone)]
pub struct Tasks {
    busy: watch::Sender<usize>,
    stopping: watch::Sender<bool>,
}

impl Default for Tasks {
    fn default() -> Self {
        Self { busy: watch::Sender::new(0), stopping: watch::Sender::new(false) }
    }
}

impl Tasks {
    /// Runs something that [`finished`](Self::finished) waits for.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let busy = Busy::new(self.busy.clone());
        tokio::spawn(async move {
            work.await;
            drop(busy);
        });
    }

    /// Waits until no task is left.
    pub async fn finished(&self) {
        let _ = self.busy.subscribe().wait_for(|busy| *busy == 0).await;
    }

    /// Tells all tasks to wait no longer, for anything.
    pub fn abandon(&self) {
        self.stopping.send_replace(true);
    }

    /// Becomes true when nobody is to wait any longer.
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }
}

/// Counts a task, until dropped.
struct Busy(watch::Sender<usize>);

impl Busy {
    fn new(busy: watch::Sender<usize>) -> Self {
        busy.send_modify(|busy| *busy += 1);
        Self(busy)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.send_modify(|busy| *busy -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn the_end_of_all_tasks_is_awaited_also_of_those_that_panic() {
        let tasks = Tasks::default();
        tasks.finished().await;
        let (go, gone) = oneshot::channel::<()>();
        tasks.spawn(async move {
            let _ = gone.await;
        });
        tasks.clone().spawn(async { panic!("as expected") });
        let mut finished = std::pin::pin!(tasks.finished());
        let is_pending = std::future::poll_fn(|cx| {
            std::task::Poll::Ready(finished.as_mut().poll(cx).is_pending())
        });
        assert!(is_pending.await);
        drop(go);
        finished.await;
    }

    #[tokio::test]
    async fn everybody_learns_that_the_waiting_is_over() {
        let tasks = Tasks::default();
        let mut stopping = tasks.stopping();
        assert!(!*stopping.borrow());
        tasks.clone().abandon();
        stopping.wait_for(|stopping| *stopping).await.unwrap();
        assert!(*tasks.stopping().borrow());
    }
}
