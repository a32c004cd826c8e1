//! What a SIGHUP has read again: each file has a task, which reads beside the thread that serves, since a
//! file system may take its time.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// The tasks. When this is dropped, they end.
#[derive(Debug, Default)]
pub(crate) struct Reloads(Vec<(Arc<Notify>, JoinHandle<()>)>);

impl Reloads {
    /// Starts the task that `begin` makes. It reads its file again whenever what it gets is notified.
    pub(crate) fn add<F>(&mut self, begin: impl FnOnce(Arc<Notify>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let asked = Arc::new(Notify::new());
        let task = tokio::spawn(begin(Arc::clone(&asked)));
        self.0.push((asked, task));
    }

    /// Has all files read again. Returns false if there is none.
    pub(crate) fn ask(&self) -> bool {
        self.0.iter().for_each(|(asked, _)| asked.notify_one());
        !self.0.is_empty()
    }
}

impl Drop for Reloads {
    fn drop(&mut self) {
        self.0.iter().for_each(|(_, task)| task.abort());
    }
}
