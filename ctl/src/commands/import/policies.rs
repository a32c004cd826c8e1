//! The policies in a file that is imported.
//!
//! They are set when all jobs are in: a limit must not refuse one of them, and `unique` must not make one
//! job of two that were there side by side.

use jq_api::server::Policy;
use jq_client::TubeName;

use crate::commands::record::PolicyLine;
use crate::commands::{Context, policy};
use crate::failed::Failed;
use crate::http::Api;

/// Number of tubes that may have a policy in a file.
const MOST: usize = 1000;

/// The policies that were read.
pub(super) struct Policies {
    /// Where they are set; `None` if that was not asked for.
    api: Option<Api>,
    /// Each with its line.
    found: Vec<(u64, TubeName, Policy)>,
    /// How many were read and are not to be set.
    left_out: u64,
}

impl Policies {
    /// # Errors
    ///
    /// [`crate::failed::EXIT_USAGE`] if they are to be set and it is not known where.
    pub(super) fn new(context: &Context, with_policy: bool) -> Result<Self, Failed> {
        let api = with_policy.then(|| Api::new(&context.target, "--with-policy"));
        Ok(Self { api: api.transpose()?, found: Vec::new(), left_out: 0 })
    }

    /// Whether they are to be set.
    pub(super) fn are_wanted(&self) -> bool {
        self.api.is_some()
    }

    /// Takes the policy of a line, for this tube or else for the one that it says.
    pub(super) fn take(
        &mut self,
        line: u64,
        read: PolicyLine,
        into: Option<&TubeName>,
    ) -> Result<(), String> {
        let tube = read.tube()?;
        let tube = into.cloned().unwrap_or(tube);
        if !self.are_wanted() {
            self.left_out += 1;
            return Ok(());
        }
        match self.found.iter().find(|(_, known, _)| *known == tube) {
            Some((_, _, policy)) if *policy == read.policy => return Ok(()),
            Some((other, ..)) => {
                return Err(format!("tube {tube} has another policy in line {other}"));
            }
            None if self.found.len() == MOST => {
                return Err(format!("policies of more than {MOST} tubes"));
            }
            None => self.found.push((line, tube, read.policy)),
        }
        Ok(())
    }

    /// Sets them, in the order of the file. Returns their number.
    pub(super) async fn set(&self) -> Result<u64, Failed> {
        let Some(api) = &self.api else { return Ok(0) };
        for (line, tube, policy) in &self.found {
            if let Err(failed) = policy::set(api, tube, policy).await {
                let why = failed.message;
                let message = format!("the policy of tube {tube}, line {line}, was not set: {why}");
                return Err(Failed { message, ..failed });
            }
        }
        Ok(self.found.len() as u64)
    }

    /// Says it if some are not set.
    pub(super) fn note(&self, context: &Context) {
        match self.left_out {
            0 => {}
            1 => context.look.note("the policy in the file was not set: --with-policy does that"),
            many => context.look.note(format!(
                "the {many} policies in the file were not set: --with-policy does that"
            )),
        }
    }
}
