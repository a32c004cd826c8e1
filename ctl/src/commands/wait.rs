//! `wait`: until a tube is empty.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Context;
use crate::cli::{State, WaitArgs};
use crate::failed::{EXIT_TIMED_OUT, Failed};
use crate::look::number;

/// Time between two looks.
const EVERY: Duration = Duration::from_millis(200);

/// A job in one of these states may still be worked on.
const STATES: [State; 4] = [State::Ready, State::Reserved, State::Delayed, State::Buried];

pub(super) async fn wait(context: &Context, args: &WaitArgs) -> Result<(), Failed> {
    let until = args.within.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let states: Vec<State> =
        STATES.into_iter().filter(|state| !args.except.contains(state)).collect();
    let mut queue = context.queue().await?;
    let bar = context.look.bar(None);
    loop {
        // A tube that is not there is empty.
        let stats = queue.stats_tube(&args.tube).await?;
        let left: Vec<(State, u64)> = states
            .iter()
            .map(|state| {
                let key = format!("current-jobs-{}", state.as_str());
                (*state, stats.as_ref().and_then(|stats| stats.number(&key)).unwrap_or(0))
            })
            .filter(|(_, jobs)| *jobs > 0)
            .collect();
        if left.is_empty() {
            bar.finish_and_clear();
            return Ok(());
        }
        bar.set_position(left.iter().map(|(_, jobs)| jobs).sum());
        if until.is_some_and(|until| Instant::now() >= until) {
            bar.finish_and_clear();
            let left: Vec<String> = left
                .iter()
                .map(|(state, jobs)| format!("{} {}", number(*jobs), state.as_str()))
                .collect();
            let message = format!("{} still has jobs: {}", args.tube, left.join(", "));
            return Err(Failed::new(EXIT_TIMED_OUT, message));
        }
        sleep(EVERY).await;
    }
}
