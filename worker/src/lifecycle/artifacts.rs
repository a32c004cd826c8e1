//! What a process left besides its output goes to the state directory.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::error;

use crate::collect::{Collected, Limits, Outputs};
use crate::executor::Attempt;
use crate::fault::Part;
use crate::lease::Lost;
use crate::retry::jitter;
use crate::store::Store;

use super::attempts::Attempts;
use super::held::Held;
use super::settle::KEEP;

impl Attempts {
    /// Takes in the artifacts of an attempt, if it is the last one. It is tried as often as it takes: a process is
    /// not run again because a disk is full.
    ///
    /// # Errors
    ///
    /// The lease was lost meanwhile.
    pub(super) async fn collect(
        &self,
        held: &mut Held,
        attempt: &mut Attempt,
        directory: &Path,
    ) -> Result<(), Lost> {
        if attempt.fault.is_some() || held.will_be_retried(attempt) {
            return Ok(());
        }
        let limits = held.setup.config.artifacts.of_job;
        let url = held.setup.config.result_url(held.job.id);
        let mut failures = 0;
        loop {
            let take = take(Arc::clone(&self.store), directory.to_owned(), limits, url.clone());
            let error = match held.lease.keep_while(take).await? {
                Ok(collected) => {
                    attempt.collected = collected;
                    return Ok(());
                }
                Err(error) => error,
            };
            failures += 1;
            let delay = KEEP.delay(failures, jitter());
            error!(%error, retry_in = ?delay, "cannot take in the artifacts");
            let message = format!("cannot take in artifacts: {error}");
            self.health.report(Part::StateDirectory, message);
            let again = async {
                tokio::select! {
                    () = sleep(delay) => {}
                    () = self.health.until_works(&Part::StateDirectory) => {}
                }
            };
            held.lease.keep_while(again).await?;
        }
    }
}

async fn take(
    store: Arc<Store>,
    directory: PathBuf,
    limits: Limits,
    url: Option<String>,
) -> io::Result<Collected> {
    let taken = spawn_blocking(move || {
        let mut outputs = Outputs::look(&directory, limits)?;
        if outputs.is_empty() {
            return outputs.take(None, None);
        }
        let Some(mut staging) = store.stage_artifacts(outputs.size())? else {
            let why = "there is no room: those that remain to be sent fill artifacts.max_total";
            return Ok(outputs.leave_out(why));
        };
        let mut collected = outputs.take(Some(&mut staging), url.as_deref())?;
        if !collected.artifacts.is_empty() {
            store.sync_artifacts(&staging)?;
            collected.staging = Some(staging);
        }
        Ok(collected)
    });
    taken.await.unwrap_or_else(|error| Err(error.into()))
}
