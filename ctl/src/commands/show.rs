//! Commands that only look.

use std::io::{self, Write};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use comfy_table::Cell;
use jq_client::{Command, JobId, Reply, Stats, TubeName};
use serde_json::{Map, Value, json};

use super::Context;
use crate::cli::{PeekState, TubeSort, TubesArgs};
use crate::failed::{Failed, answered};
use crate::look::{Align, BAD, WARN, number, print, printable, table};

/// The number of requests in flight to list many tubes.
const IN_FLIGHT: usize = 256;

pub(super) async fn stats(context: &Context, filter: Option<&str>) -> Result<(), Failed> {
    let stats = context.queue().await?.stats().await?;
    context.look.show(&document(&stats, filter), |_, out| print_entries(&stats, filter, out))
}

pub(super) async fn tube(context: &Context, tube: &TubeName) -> Result<(), Failed> {
    let stats = context.queue().await?.stats_tube(tube).await?;
    let stats = stats.ok_or_else(|| Failed::not_found(format!("tube {tube}")))?;
    context.look.show(&document(&stats, None), |_, out| print_entries(&stats, None, out))
}

/// A row of the list of tubes.
#[derive(Debug, Clone)]
pub(super) struct Tube {
    pub(super) name: TubeName,
    pub(super) stats: Stats,
}

impl Tube {
    pub(super) fn count(&self, key: &str) -> u64 {
        self.stats.number(key).unwrap_or(0)
    }
}

/// At most so many tubes whose name contains `filter`, with their stats. A tube that goes away
/// meanwhile is left out.
pub(super) async fn all_tubes(
    queue: &mut jq_client::Connection,
    filter: Option<&str>,
    most: usize,
) -> Result<Vec<Tube>, Failed> {
    let names = queue.list_tubes().await?;
    let names: Vec<TubeName> = names
        .into_iter()
        .filter(|name| filter.is_none_or(|text| name.as_str().contains(text)))
        .take(most)
        .collect();
    let mut tubes = Vec::with_capacity(names.len());
    let mut pipeline = queue.pipeline().await?;
    let mut asked = 0;
    for (index, name) in names.iter().enumerate() {
        while asked < names.len() && asked < index + IN_FLIGHT {
            pipeline.send(&Command::StatsTube(names[asked].clone()));
            asked += 1;
        }
        match pipeline.next().await? {
            Some(Reply::Ok(body)) => {
                let stats = Stats::parse(&body).map_err(|line| {
                    Failed::other(format!(
                        "the stats of tube {name} have a malformed line: {line:?}"
                    ))
                })?;
                tubes.push(Tube { name: name.clone(), stats });
            }
            Some(Reply::NotFound) => {}
            Some(reply) => {
                return Err(answered(&Command::StatsTube(name.clone()), "OK or NOT_FOUND", &reply));
            }
            None => break,
        }
    }
    Ok(tubes)
}

/// The columns of the list of tubes: as what they are shown, their key in the stats, and the name
/// to sort by.
const COLUMNS: [(&str, &str, TubeSort); 6] = [
    ("READY", "current-jobs-ready", TubeSort::Ready),
    ("RESERVED", "current-jobs-reserved", TubeSort::Reserved),
    ("DELAYED", "current-jobs-delayed", TubeSort::Delayed),
    ("BURIED", "current-jobs-buried", TubeSort::Buried),
    ("WAITING", "current-waiting", TubeSort::Waiting),
    ("TOTAL", "total-jobs", TubeSort::Total),
];

pub(super) async fn tubes(context: &Context, args: &TubesArgs) -> Result<(), Failed> {
    let mut queue = context.queue().await?;
    let mut tubes = all_tubes(&mut queue, args.filter.as_deref(), usize::MAX).await?;
    match COLUMNS.iter().find(|(_, _, sort)| *sort == args.sort) {
        Some((_, key, _)) => tubes.sort_by_key(|tube| std::cmp::Reverse(tube.count(key))),
        None => tubes.sort_by(|one, other| one.name.as_str().cmp(other.name.as_str())),
    }
    tubes.truncate(args.limit.unwrap_or(usize::MAX));
    let documents: Vec<Value> = tubes.iter().map(|tube| document(&tube.stats, None)).collect();
    context.look.show(&documents, |_, out| print_tubes(&tubes, out))
}

fn print_tubes(tubes: &[Tube], out: &mut dyn Write) -> io::Result<()> {
    let mut columns = vec![("TUBE", Align::Left)];
    columns.extend(COLUMNS.iter().map(|(shown, ..)| (*shown, Align::Right)));
    columns.push(("", Align::Left));
    let mut rows = table(&columns);
    for tube in tubes {
        let mut row = vec![Cell::new(tube.name.as_str())];
        row.extend(COLUMNS.iter().map(|(_, key, _)| Cell::new(number(tube.count(key)))));
        row.push(Cell::new(trouble(tube)));
        rows.add_row(row);
    }
    print(&rows, out)
}

/// What an operator should know about a tube, if anything.
fn trouble(tube: &Tube) -> String {
    let left = tube.count("pause-time-left");
    let mut said = Vec::new();
    if tube.count("pause") > 0 {
        said.push(format!("{WARN}paused for {left} s{WARN:#}"));
    } else if tube.count("current-jobs-ready") > 0 && tube.count("current-watching") == 0 {
        said.push(format!("{BAD}nobody watches it{BAD:#}"));
    }
    if tube.stats.flag("has-policy") == Some(true) {
        said.push(policy(tube));
    }
    said.join(", ")
}

/// What the policy of a tube has brought about that somebody should know.
fn policy(tube: &Tube) -> String {
    let given_up = tube.count("jobs-dead-lettered") + tube.count("jobs-buried-by-policy");
    let counts = [
        (tube.count("refused-puts"), "puts refused"),
        (given_up, "jobs given up"),
        (tube.count("jobs-expired"), "jobs expired"),
    ];
    let brought: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{} {what}", number(*count)))
        .collect();
    if brought.is_empty() {
        return "has a policy".to_owned();
    }
    format!("has a policy: {WARN}{}{WARN:#}", brought.join(", "))
}

pub(super) async fn job(context: &Context, id: JobId) -> Result<(), Failed> {
    let mut queue = context.queue().await?;
    let not_found = || Failed::not_found(format!("job {id}"));
    let stats = queue.stats_job(id).await?.ok_or_else(not_found)?;
    let job = queue.peek(id).await?.ok_or_else(not_found)?;
    let mut shown = document(&stats, None);
    if let Value::Object(members) = &mut shown {
        members.extend(body_members(&job.body));
    }
    context.look.show(&shown, |_, out| {
        print_entries(&stats, None, out)?;
        writeln!(out)?;
        writeln!(out, "{}", printable(&job.body))
    })
}

/// The body of a job as a member of a document: `body` if it is text, otherwise `body_base64`.
pub(super) fn body_members(body: &[u8]) -> Map<String, Value> {
    let (name, value) = match std::str::from_utf8(body) {
        Ok(text) => ("body", text.to_owned()),
        Err(_) => ("body_base64", BASE64_STANDARD.encode(body)),
    };
    Map::from_iter([(name.to_owned(), value.into())])
}

pub(super) async fn peek(
    context: &Context,
    tube: &TubeName,
    state: PeekState,
) -> Result<(), Failed> {
    let mut queue = context.queue().await?;
    queue.use_tube(tube).await?;
    let (job, state) = match state {
        PeekState::Ready => (queue.peek_ready().await?, "ready"),
        PeekState::Delayed => (queue.peek_delayed().await?, "delayed"),
        PeekState::Buried => (queue.peek_buried().await?, "buried"),
    };
    let job = job.ok_or_else(|| Failed::not_found(format!("{state} job in tube {tube}")))?;
    print_body(context, job.id, &job.body)
}

/// Prints a job that is there for its body: the bytes as they are, for a pipe; as JSON with the
/// number.
pub(super) fn print_body(context: &Context, id: JobId, body: &[u8]) -> Result<(), Failed> {
    if context.look.json {
        let mut document = Map::from_iter([("id".to_owned(), json!(id))]);
        document.extend(body_members(body));
        return context.look.document(&document);
    }
    let mut out = io::stdout().lock();
    if io::IsTerminal::is_terminal(&out) {
        writeln!(out, "{}", printable(body))?;
    } else {
        out.write_all(body)?;
        if !body.ends_with(b"\n") {
            writeln!(out)?;
        }
    }
    Ok(out.flush()?)
}

/// Stats as a document: numbers as numbers.
pub(super) fn document(stats: &Stats, filter: Option<&str>) -> Value {
    let typed = |(name, value): (&str, &str)| (name.to_owned(), self::typed(name, value));
    Value::Object(entries(stats, filter).map(typed).collect())
}

/// The stats whose name contains this text.
fn entries<'a>(
    stats: &'a Stats,
    filter: Option<&'a str>,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    stats.iter().filter(move |(name, _)| filter.is_none_or(|text| name.contains(text)))
}

/// A value of the stats with its type. Names are texts even if they look like numbers.
fn typed(name: &str, value: &str) -> Value {
    if matches!(name, "name" | "tube" | "id" | "hostname" | "version" | "os" | "platform")
        && !(name == "id" && value.bytes().all(|byte| byte.is_ascii_digit()))
    {
        return value.into();
    }
    match value {
        "true" => true.into(),
        "false" => false.into(),
        // Only what looks the same as a number.
        _ => match serde_json::from_str::<Value>(value) {
            Ok(number @ Value::Number(_)) => number,
            _ => value.into(),
        },
    }
}

/// Whether a number of the stats is a name or a setting, not an amount. It is shown without separators, so that
/// it can be copied into a command or looked for in a log.
fn is_copied(name: &str) -> bool {
    matches!(
        name,
        "id" | "pid"
            | "pri"
            | "delay"
            | "ttr"
            | "file"
            | "pause"
            | "max-job-size"
            | "binlog-max-size"
            | "binlog-oldest-index"
            | "binlog-current-index"
            | "binlog-state-code"
    )
}

/// Prints stats in the server's order.
fn print_entries(stats: &Stats, filter: Option<&str>, out: &mut dyn Write) -> io::Result<()> {
    let mut rows = table(&[("", Align::Left), ("", Align::Left)]);
    for (name, value) in entries(stats, filter) {
        let value = match typed(name, value) {
            Value::String(text) => printable(text.as_bytes()),
            Value::Number(number) if number.is_u64() && !is_copied(name) => {
                self::number(number.as_u64().unwrap_or_default())
            }
            value => value.to_string(),
        };
        rows.add_row([name.to_owned(), value]);
    }
    print(&rows, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_types() {
        let stats = Stats::parse(
            b"---\nname: 12\nid: 3\nrusage-utime: 0.5\ndraining: false\nversion: 1.13\nos: #1\n\
              current-jobs-ready: 18446744073709551615\nodd: 007\n",
        )
        .unwrap();
        let expected = json!({
            "name": "12", "id": 3, "rusage-utime": 0.5, "draining": false, "version": "1.13",
            "os": "#1", "current-jobs-ready": u64::MAX, "odd": "007",
        });
        assert_eq!(document(&stats, None), expected);
        assert_eq!(document(&stats, Some("jobs")), json!({"current-jobs-ready": u64::MAX}));
    }

    #[test]
    fn only_amounts_have_separators() {
        let stats = Stats::parse(
            b"---\nid: 12345\npri: 4294967295\nttr: 86400\nfile: 1000\nmax-job-size: 65535\n\
              age: 12345\ncurrent-jobs-ready: 1000000\n",
        )
        .unwrap();
        let mut shown = Vec::new();
        print_entries(&stats, None, &mut shown).unwrap();
        let shown = String::from_utf8(shown).unwrap();
        let values: Vec<&str> =
            shown.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
        let expected = ["12345", "4294967295", "86400", "1000", "65535", "12,345", "1,000,000"];
        assert_eq!(values, expected);
    }

    #[test]
    fn bodies_are_text_or_base64() {
        let member = |body: &[u8]| Value::Object(body_members(body));
        assert_eq!(member("é".as_bytes()), json!({"body": "é"}));
        assert_eq!(member(b"\xff\x00"), json!({"body_base64": "/wA="}));
    }
}
