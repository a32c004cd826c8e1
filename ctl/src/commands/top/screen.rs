//! What `top` looks like.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line as Text, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table, TableState, Wrap};

use super::PAUSE;
use super::state::{Ask, KEPT, Line, Trouble, View};
use crate::look::number;

/// From nothing to the most.
const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View) {
    let areas =
        Layout::vertical([Constraint::Length(1), Constraint::Min(1), Constraint::Length(1)]);
    let [above, middle, below] = areas.areas(frame.area());
    frame.render_widget(header(view), above);
    match &view.inside {
        Some(inside) => {
            let mut text: Vec<Text<'_>> = vec![Text::styled(
                format!("tube {}", inside.tube),
                Style::new().add_modifier(Modifier::BOLD),
            )];
            text.extend(inside.lines.iter().map(|line| Text::raw(line.as_str())));
            frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: false }), middle);
        }
        None => tubes(frame, view, middle),
    }
    frame.render_widget(footer(view), below);
}

fn header(view: &View) -> Text<'static> {
    let mut said = vec![view.address.clone(), format!("{} tubes", number(view.tubes))];
    said.extend(view.server.iter().cloned());
    // Last: on a narrow screen it is what can be done without.
    if (view.lines.len() as u64) < view.tubes {
        said.push(format!("{} tubes here: {}", number(view.lines.len() as u64), view.part));
    }
    Text::styled(said.join("  "), Style::new().add_modifier(Modifier::BOLD))
}

fn footer(view: &View) -> Text<'_> {
    if let Some(asked) = &view.ask {
        let tube = &asked.tube;
        let question = match asked.what {
            Ask::Kick => format!("Kick all buried (or delayed) jobs of {tube}? y/n"),
            Ask::Pause => format!("Pause {tube} for {PAUSE} s? y/n"),
            Ask::Resume => format!("End the pause of {tube}? y/n"),
        };
        return Text::styled(question, Style::new().add_modifier(Modifier::REVERSED));
    }
    if !view.said.is_empty() {
        return Text::styled(view.said.as_str(), Style::new().fg(Color::Yellow));
    }
    if view.inside.is_some() {
        return Text::raw("q back");
    }
    Text::raw(format!(
        "q quit  ↑↓ select  enter look into  k kick  p pause  r resume  s sort (by {})",
        view.sort.as_str()
    ))
}

fn tubes(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let numbers = ["READY", "RESERVED", "DELAYED", "BURIED", "WATCH", "PUT/S", "DEL/S"];
    let left = |name| Cell::new(Text::raw(name));
    let header = [left("TUBE")]
        .into_iter()
        .chain(numbers.map(|name| Cell::new(Text::raw(name).right_aligned())))
        .chain([left("DELETES"), left("")]);
    let rows = view.lines.iter().map(|line| row(view, line));
    let widths = [
        Constraint::Fill(2),
        Constraint::Length(11),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Length(6),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(KEPT as u16),
        Constraint::Fill(3),
    ];
    let table = Table::new(rows, widths)
        .header(Row::new(header).style(Style::new().add_modifier(Modifier::DIM)))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::default().with_selected(Some(view.selected));
    frame.render_stateful_widget(table, area, &mut state);
}

fn row<'a>(view: &View, line: &'a Line) -> Row<'a> {
    let right = |value: u64| Cell::new(Text::raw(number(value)).right_aligned());
    let rate = |value: f64| Cell::new(Text::raw(number(value.round() as u64)).right_aligned());
    let it = &line.row;
    Row::new([
        Cell::new(it.name.as_str()),
        right(it.ready),
        right(it.reserved),
        right(it.delayed),
        right(it.buried),
        right(it.watching),
        rate(line.puts),
        rate(line.deletes),
        Cell::new(sparkline(&view.rates(&it.name))),
        Cell::new(trouble(line)),
    ])
}

fn trouble(line: &Line) -> Span<'static> {
    let (text, color) = match line.trouble {
        Trouble::Unwatched => ("nobody watches it".to_owned(), Color::Red),
        Trouble::Paused => {
            (format!("paused for {} s", line.row.paused.unwrap_or(0)), Color::Yellow)
        }
        Trouble::Refuses => ("its policy refuses jobs".to_owned(), Color::Red),
        Trouble::Grows => ("grows".to_owned(), Color::Yellow),
        Trouble::Buried => ("buried jobs".to_owned(), Color::Yellow),
        Trouble::None => (String::new(), Color::Reset),
    };
    let text = match line.row.oldest {
        Some(oldest) if oldest >= 1.0 && line.row.ready > 0 => {
            format!("{text}{}oldest {oldest:.0} s", if text.is_empty() { "" } else { ", " })
        }
        _ => text,
    };
    Span::styled(text, Style::new().fg(color))
}

/// The values as bars, the largest as high as there is room.
fn sparkline(values: &[u64]) -> String {
    let most = values.iter().copied().max().unwrap_or(0).max(1);
    let steps = BARS.len() as u64 - 1;
    let bar = |value: &u64| {
        // Something is never shown as nothing.
        let height = (u128::from(*value) * u128::from(steps)).div_ceil(u128::from(most));
        BARS[height as usize]
    };
    values.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::sample::{Inside, Row as Sampled, Sample};
    use super::*;

    fn shown(view: &View) -> String {
        let mut terminal = Terminal::new(TestBackend::new(140, 6)).unwrap();
        terminal.draw(|frame| draw(frame, view)).unwrap();
        let buffer = terminal.backend().buffer();
        let lines = (0..6).map(|y| {
            let line: String = (0..140).map(|x| buffer[(x, y)].symbol()).collect();
            line.trim_end().to_owned()
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    fn view() -> View {
        let begin = Instant::now();
        let row = |ready, deletes| Sampled {
            name: "mail".parse().unwrap(),
            ready,
            reserved: 2,
            delayed: 3,
            buried: 4,
            watching: 0,
            waiting: 0,
            paused: None,
            puts: 0,
            deletes,
            refused: 0,
            oldest: Some(12.3),
        };
        let mut view = View::new("queue:11300".into());
        for second in 0..4 {
            view.take(Sample {
                at: begin + Duration::from_secs(second),
                rows: vec![row(1_234_567, second * second * 10)],
                tubes: 2,
                part: "some",
                server: vec!["7 connections".into()],
            });
        }
        view
    }

    #[test]
    fn the_tubes_are_on_the_screen() {
        let shown = shown(&view());
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[0], "queue:11300  2 tubes  7 connections  1 tubes here: some");
        for part in ["mail", "1,234,567", "nobody watches it, oldest 12 s", "▂▅█"] {
            assert!(lines[2].contains(part), "{part} in {:?}", lines[2]);
        }
        // A number ends where its name ends.
        let end = |line: &str, text: &str| line.find(text).map(|at| line[..at].len() + text.len());
        assert_eq!(end(lines[1], "READY"), end(lines[2], "1,234,567"));
        assert!(lines[5].starts_with("q quit"));
    }

    #[test]
    fn questions_messages_and_a_tube_from_inside() {
        let mut view = view();
        view.ask(Ask::Kick);
        assert!(shown(&view).ends_with("Kick all buried (or delayed) jobs of mail? y/n"));
        view.ask = None;
        view.say("nothing was done".into());
        assert!(shown(&view).ends_with("nothing was done"));
        view.inside =
            Some(Inside { tube: "mail".parse().unwrap(), lines: vec!["name: mail".into()] });
        let shown = shown(&view);
        assert!(shown.contains("tube mail\nname: mail\n"), "{shown}");
    }

    #[test]
    fn bars_of_any_height() {
        assert_eq!(sparkline(&[]), "");
        assert_eq!(sparkline(&[0, 1, 1000, 500]), " ▁█▄");
        assert_eq!(sparkline(&[u64::MAX, 0]), "█ ");
    }
}
