//! What a process left besides its output goes to the state directory.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::error;

use crate::collect::{Collected, Limits, Outputs};
use crate::config::Mode;
use crate::executor::Attempt;
use crate::fault::Part;
use crate::lease::Lost;
use crate::retry::jitter;
use crate::store::{Staging, Store};

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
        let mut taking = Some(Taking {
            store: Arc::clone(&self.store),
            directory: directory.to_owned(),
            limits: held.setup.config.artifacts.of_job,
            is_over: held.handler.mode == Mode::Process,
            url: held.setup.config.result_url(held.job.id),
            outputs: None,
            staging: None,
        });
        let mut failures = 0;
        while let Some(mut task) = taking.take() {
            let step = spawn_blocking(move || (task.go_on(), task));
            let Ok((taken, task)) = held.lease.keep_while(step).await? else {
                // It has panicked, and said so.
                return Ok(());
            };
            let error = match taken {
                Ok(collected) => {
                    attempt.collected = collected;
                    return Ok(());
                }
                Err(error) => error,
            };
            taking = Some(task);
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
        Ok(())
    }
}

/// How far the taking in is: what was taken is not in the directory any more.
struct Taking {
    store: Arc<Store>,
    directory: PathBuf,
    limits: Limits,
    /// Whether everything that could write there has ended.
    is_over: bool,
    url: Option<String>,
    outputs: Option<Outputs>,
    staging: Option<Staging>,
}

impl Taking {
    /// Goes on where it ended when it failed.
    fn go_on(&mut self) -> io::Result<Collected> {
        let outputs = match &mut self.outputs {
            Some(outputs) => outputs,
            none => {
                let outputs = Outputs::look(&self.directory, self.limits)?;
                none.insert(if self.is_over { outputs.of_the_dead() } else { outputs })
            }
        };
        if outputs.is_empty() {
            return outputs.take(None, None);
        }
        if self.staging.is_none() {
            self.staging = self.store.stage_artifacts(outputs.size())?;
        }
        let Some(staging) = &mut self.staging else {
            let why = "there is no room: those that remain to be sent fill artifacts.max_total";
            return Ok(outputs.leave_out(why));
        };
        let mut collected = outputs.take(Some(&mut *staging), self.url.as_deref())?;
        if !collected.artifacts.is_empty() {
            self.store.sync_artifacts(staging)?;
            collected.staging = self.staging.take();
        }
        Ok(collected)
    }
}
