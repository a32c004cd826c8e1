//! Makes a session that shows a difference as short as it gets in the time there is.

use std::time::{Duration, Instant};

use super::session::{Session, Step};

/// How long shrinking may take.
const TIME: Duration = Duration::from_secs(60);

/// The shortest session found for which `differs` still holds.
pub(crate) fn shrink(session: &Session, differs: impl Fn(&Session) -> bool) -> Session {
    let deadline = Instant::now() + TIME;
    let mut best = session.clone();
    let holds = |candidate: &Session| {
        Instant::now() < deadline && candidate.is_certain() && differs(candidate)
    };
    loop {
        let before = size(&best);
        best.steps =
            without(&best.steps, |steps| holds(&Session { steps: steps.to_vec(), ..best.clone() }));
        for index in 0..best.steps.len() {
            shrink_step(&mut best, index, &holds);
        }
        if size(&best) == before {
            return best;
        }
    }
}

/// Drops commands and cuts from one step.
fn shrink_step(session: &mut Session, index: usize, holds: &impl Fn(&Session) -> bool) {
    let Step::Send { conn, commands, cuts } = session.steps[index].clone() else { return };
    let with = |commands: &[Vec<u8>], cuts: &[_]| {
        let mut candidate = session.clone();
        let (commands, cuts) = (commands.to_vec(), cuts.to_vec());
        candidate.steps[index] = Step::Send { conn, commands, cuts };
        candidate
    };
    let commands = without(&commands, |fewer| !fewer.is_empty() && holds(&with(fewer, &cuts)));
    let cuts = without(&cuts, |fewer| holds(&with(&commands, fewer)));
    *session = with(&commands, &cuts);
}

/// Drops chunks of a list, half of it at first, while `holds`.
fn without<T: Clone>(items: &[T], holds: impl Fn(&[T]) -> bool) -> Vec<T> {
    let mut items = items.to_vec();
    let mut chunk = items.len().div_ceil(2);
    while chunk > 0 {
        let mut start = 0;
        while start < items.len() {
            let end = (start + chunk).min(items.len());
            let fewer = [&items[..start], &items[end..]].concat();
            match holds(&fewer) {
                true => items = fewer,
                false => start = end,
            }
        }
        chunk /= 2;
    }
    items
}

fn size(session: &Session) -> usize {
    let of_step = |step: &Step| match step {
        Step::Send { commands, cuts, .. } => 1 + commands.len() + cuts.len(),
        _ => 1,
    };
    session.steps.iter().map(of_step).sum()
}
