//! `top`: the tubes, live.
//!
//! One loop: look at the server when it is time, draw, wait for a key. A server that does not answer
//! is said so on the screen, and asked again; the last numbers stay.

mod sample;
mod screen;
mod state;

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use jq_client::Outcome;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{Context, change};
use crate::failed::Failed;
use sample::Source;
use state::{Ask, View};

/// Longest wait for a key before the screen is drawn anew.
const FRAME: Duration = Duration::from_millis(100);

/// For how long `p` pauses a tube, in seconds.
const PAUSE: u32 = 60;

pub(super) async fn top(context: &Context, interval: u64) -> Result<(), Failed> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(Failed::usage("top needs a terminal; for a program there is: tubes --json"));
    }
    let mut source = Source::new(context)?;
    // Before the screen changes, so that a wrong address is an ordinary error.
    let first = source.look(context).await?;
    let mut view = View::new(context.target.server.to_string());
    view.take(first);
    let mut terminal = ratatui::init();
    let ended = run(context, &mut source, &mut view, &mut terminal, interval).await;
    ratatui::restore();
    ended
}

async fn run(
    context: &Context,
    source: &mut Source,
    view: &mut View,
    terminal: &mut ratatui::DefaultTerminal,
    interval: u64,
) -> Result<(), Failed> {
    let interval = Duration::from_secs(interval);
    let mut next = Instant::now() + interval;
    loop {
        if Instant::now() >= next {
            match source.look(context).await {
                Ok(sample) => view.take(sample),
                Err(failed) => view.say(failed.message),
            }
            next = Instant::now() + interval;
        }
        terminal.draw(|frame| screen::draw(frame, view))?;
        if !event::poll(FRAME.min(next.saturating_duration_since(Instant::now())))? {
            continue;
        }
        let Event::Key(key) = event::read()? else { continue };
        if key.kind != KeyEventKind::Release && !press(context, source, view, key).await {
            return Ok(());
        }
    }
}

/// Does what the key says. Returns whether to go on.
async fn press(context: &Context, source: &mut Source, view: &mut View, key: KeyEvent) -> bool {
    if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
        return false;
    }
    if let Some(ask) = view.ask.take() {
        if matches!(key.code, KeyCode::Char('y' | 'Y')) {
            let said = carry_out(context, source, &ask).await;
            view.say(said.unwrap_or_else(|failed| failed.message));
        } else {
            view.say("nothing was done".to_owned());
        }
        return true;
    }
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc if view.inside.is_some() => view.inside = None,
        KeyCode::Char('q') | KeyCode::Esc => return false,
        KeyCode::Down | KeyCode::Char('j') => view.step(1),
        KeyCode::Up => view.step(-1),
        KeyCode::PageDown => view.step(20),
        KeyCode::PageUp => view.step(-20),
        KeyCode::Home => view.step(isize::MIN),
        KeyCode::End => view.step(isize::MAX),
        KeyCode::Char('s') => view.next_sort(),
        KeyCode::Char('k') => view.ask(Ask::Kick),
        KeyCode::Char('p') => view.ask(Ask::Pause),
        KeyCode::Char('r') => view.ask(Ask::Resume),
        KeyCode::Enter => {
            if let Some(tube) = view.selected() {
                match source.inside(context, &tube).await {
                    Ok(inside) => view.inside = Some(inside),
                    Err(failed) => view.say(failed.message),
                }
            }
        }
        _ => {}
    }
    true
}

/// Does what was asked about and confirmed.
async fn carry_out(
    context: &Context,
    source: &mut Source,
    ask: &state::Asked,
) -> Result<String, Failed> {
    let queue = source.queue(context).await?;
    let tube = &ask.tube;
    let paused = |outcome: Outcome, said: String| match outcome {
        Outcome::Done => said,
        Outcome::NotFound => format!("there is no tube {tube}"),
    };
    match ask.what {
        Ask::Kick => {
            queue.use_tube(tube).await?;
            let kicked = change::kick_tube(queue, tube, None).await?;
            Ok(format!("{kicked} kicked in {tube}"))
        }
        Ask::Pause => {
            let outcome = queue.pause_tube(tube, PAUSE).await?;
            Ok(paused(outcome, format!("{tube} is paused for {PAUSE} s")))
        }
        Ask::Resume => {
            let outcome = queue.pause_tube(tube, 0).await?;
            Ok(paused(outcome, format!("{tube} is not paused")))
        }
    }
}
