//! Metrics, history and events of the real program, and what else speaks of them: the manual, the
//! dashboard, the alerts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::certificates::{Authority, Valid};
use crate::client::Http;
use crate::support::folder::Folder;
use crate::support::{eventually, executable, scratch_path, skip};

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(file(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A server with a log, and with some jobs in all states.
fn server(flags: &[&str]) -> (Http, Folder) {
    let folder = Folder::new();
    let all = [&["-b", folder.path().to_str().expect("it is UTF-8")], flags].concat();
    let http = Http::reading(&all);
    let mut queue = http.queue();
    queue.ask("use t");
    queue.ask("watch t");
    for _ in 0..4 {
        queue.send("put 1 0 60 1\r\nx\r\n");
        queue.reply();
    }
    queue.send("put 1 60 60 1\r\nx\r\n");
    queue.reply();
    for _ in 0..3 {
        queue.send("reserve\r\n");
        queue.reply();
    }
    queue.ask("delete 1");
    queue.ask("bury 2 1");
    queue.ask("nonsense");
    // It gives back the third job.
    queue.send("quit\r\n");
    eventually("nobody is connected", || {
        http.get("/api/v1/server").expect(200)["connections"]["open"] == 0
    });
    // What is a second old is shown again.
    eventually("a new sample", || metrics(&http).contains("tube=\"t\",state=\"ready\"} 2\n"));
    (http, folder)
}

fn metrics(http: &Http) -> String {
    let reply = http.get("/metrics");
    assert_eq!(reply.status, 200);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(reply.header("content-type"), Some(kind));
    String::from_utf8(reply.body).expect("it is UTF-8")
}

/// What there is about a metric.
#[derive(Debug, Default, PartialEq, Eq)]
struct Described {
    kind: String,
    unit: String,
    labels: BTreeSet<String>,
}

/// All metrics of ours in an exposition, by the names under which they are asked for.
fn described(text: &str) -> BTreeMap<String, Described> {
    let (mut found, mut units) = (BTreeMap::<String, Described>::new(), BTreeMap::new());
    for line in text.lines().filter(|line| line.starts_with("# UNIT jq_")) {
        let mut words = line.split(' ').skip(2);
        units.insert(words.next().unwrap_or_default(), words.next().unwrap_or_default());
    }
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE jq_")) {
        let (name, kind) = line.split_once(' ').expect("a name and a type");
        let family = format!("jq_{name}");
        let unit = units.get(&*family).map(ToString::to_string).unwrap_or_default();
        let suffix = if kind == "counter" { "_total" } else { "" };
        let described = Described { kind: kind.into(), unit, labels: BTreeSet::new() };
        found.insert(format!("{family}{suffix}"), described);
    }
    for line in text.lines().filter(|line| line.starts_with("jq_")) {
        let series = line.rsplit_once(' ').expect("a value").0;
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|it| name.strip_suffix(it));
        let name = base.filter(|base| found.contains_key(*base)).unwrap_or(name);
        let metric = found.get_mut(name).unwrap_or_else(|| panic!("no type: {line}"));
        let labels = labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty());
        let labels = labels.filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
        metric.labels.extend(labels.filter(|label| label != "le"));
    }
    found
}

/// A server that has a certificate too.
fn secure_server(flags: &[&str]) -> (Http, Folder) {
    let authority = Authority::new();
    let (cert, key) = authority.sign("server", "localhost", Valid::Now);
    let [cert, key] = [&cert, &key].map(|path| path.to_str().expect("it is UTF-8"));
    server(&[flags, &["--tls-cert", cert, "--tls-key", key]].concat())
}

/// The rows of the manual's tables about metrics.
fn manual() -> BTreeMap<String, Described> {
    let text = read("docs/metrics.md");
    let rows = text.lines().filter(|line| line.starts_with("| `jq_"));
    let cells = |row: &str| -> Vec<String> {
        row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    rows.map(|row| {
        let [name, kind, unit, labels, meaning] =
            <[String; 5]>::try_from(cells(row)).unwrap_or_else(|_| panic!("five cells: {row}"));
        assert!(!meaning.is_empty(), "{row}");
        let labels = labels.split(", ").filter(|label| !label.is_empty());
        let labels = labels.map(str::to_owned).collect();
        (name.trim_matches('`').to_owned(), Described { kind, unit, labels })
    })
    .collect()
}

/// All metrics that there can be.
fn all_described() -> BTreeMap<String, Described> {
    // With something of each kind.
    let tubes = scratch_path("toml");
    fs::write(&tubes, "[tubes.t]\ndefault-ttr = 60\n").expect("the folder is writable");
    let path = tubes.to_str().expect("it is UTF-8");
    let auth = scratch_path("toml");
    let uid = nix::unistd::geteuid();
    let principal = format!("[[principal]]\nname = \"a\"\noperate = true\nuids = [{uid}]\n");
    fs::write(&auth, principal).expect("the folder is writable");
    let auth = auth.to_str().expect("it is UTF-8");
    let (http, _folder) = secure_server(&["--tubes", path, "--max-jobs", "1000"]);
    let mut served = described(&metrics(&http));
    // With clients that it knows.
    for (name, metric) in described(&metrics(&Http::reading(&["--auth", auth]))) {
        served.entry(name).or_insert(metric);
    }
    let _ = (fs::remove_file(&tubes), fs::remove_file(auth));
    served
}

#[test]
fn the_manual_has_each_metric_as_it_is() {
    let (served, manual) = (all_described(), manual());
    assert_eq!(manual, served);
    assert!(served.len() > 40, "the tables were found");
}

/// The names of ours in a text, without the suffixes of a histogram.
fn names(text: &str, histograms: &BTreeSet<&str>) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_part(c)).filter(|word| word.starts_with("jq_"));
    let base = |word: &str| {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|it| word.strip_suffix(it));
        base.filter(|base| histograms.contains(*base)).unwrap_or(word).to_owned()
    };
    words.map(base).collect()
}

#[test]
fn the_dashboard_and_the_alerts_ask_for_metrics_that_there_are() {
    let served = all_described();
    let histograms = served.iter().filter(|(_, it)| it.kind == "histogram");
    let histograms = histograms.map(|(name, _)| &**name).collect();
    for path in ["packaging/grafana/jq-server.json", "packaging/prometheus/jq-server.rules.yml"] {
        let used = names(&read(path), &histograms);
        assert!(used.len() > 8, "{path}: {used:?}");
        for name in used {
            assert!(served.contains_key(&name), "{path}: there is no {name}");
        }
    }
}

#[test]
fn each_panel_of_the_dashboard_has_a_place_and_a_question() {
    let dashboard: Value = serde_json::from_str(&read("packaging/grafana/jq-server.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut taken = BTreeSet::new();
    for panel in panels {
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|it| panel["gridPos"][it].as_u64().unwrap());
        for place in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(place.0 < 24 && taken.insert(place), "{}", panel["title"]);
        }
        let targets = panel["targets"].as_array().map(Vec::len).unwrap_or_default();
        assert_eq!(targets > 0, panel["type"] != "row", "{}", panel["title"]);
    }
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
}

/// promtool, or `None` after saying what is skipped.
fn promtool(what: &str) -> Option<Command> {
    let found = executable("promtool");
    if found.is_none() {
        skip(what, "promtool is not installed (Debian: apt-get install prometheus)");
    }
    found.map(Command::new)
}

/// Runs promtool, which must be content and say nothing but `expected`.
fn run(mut promtool: Command, arguments: &[&str], input: &str, expected: &str) {
    let piped = promtool.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = piped.stderr(Stdio::piped()).spawn().expect("it can be started");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.contains(expected), "promtool {arguments:?}: {said}");
}

#[test]
fn prometheus_accepts_the_alerts() {
    let Some(promtool) = promtool("alerts") else { return };
    let rules = file("packaging/prometheus/jq-server.rules.yml");
    run(promtool, &["check", "rules", rules.to_str().unwrap()], "", "SUCCESS");
}

#[test]
fn alerts_fire_when_they_should() {
    let Some(promtool) = promtool("alerts") else { return };
    let tests = file("tests/http/alerts.yml");
    run(promtool, &["test", "rules", tests.to_str().unwrap()], "", "SUCCESS");
}

/// Prometheus's own parser reads it, and its linter has nothing to say about our names.
#[test]
fn prometheus_reads_the_metrics() {
    let compat = ["--metrics-compat", "messagebird,davidtannock"];
    for flags in [&[][..], &compat] {
        let (http, folder) = server(flags);
        let text = metrics(&http);
        let Some(promtool) = promtool("the exposition") else { return };
        // To be stored, each number needs a time.
        let timed = |line: &str| match line.starts_with('#') {
            true => format!("{line}\n"),
            false => format!("{line} 1700000000\n"),
        };
        let file = folder.path().join("metrics.txt");
        fs::write(&file, text.lines().map(timed).collect::<String>()).expect("it is writable");
        let blocks = folder.path().join("blocks");
        let [file, blocks] = [&file, &blocks].map(|path| path.to_str().expect("it is UTF-8"));
        let arguments = ["tsdb", "create-blocks-from", "openmetrics", file, blocks];
        run(promtool, &arguments, "", "NUM SAMPLES");
    }
    let (http, _folder) = server(&[]);
    // The linter knows the older format, in which a counter has one name.
    let mut kinds = BTreeMap::new();
    let text = metrics(&http);
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        kinds.extend(line.split_once(' '));
    }
    let older = |line: &str| -> String {
        let mut words: Vec<&str> = line.splitn(4, ' ').collect();
        if words[0] != "#" || words[1] == "UNIT" || words[1] == "EOF" {
            return if words[0] == "#" { String::new() } else { format!("{line}\n") };
        }
        let total = format!("{}_total", words[2]);
        if kinds.get(words[2]) == Some(&"counter") {
            words[2] = &total;
        }
        format!("{}\n", words.join(" "))
    };
    let older: String = text.lines().map(older).collect();
    let Some(promtool) = promtool("the exposition") else { return };
    run(promtool, &["check", "metrics"], &older, "");
}

#[test]
fn jobs_and_the_process_are_in_the_metrics() {
    let (http, _folder) = server(&[]);
    let text = metrics(&http);
    for line in [
        "jq_jobs{tube=\"t\",state=\"ready\"} 2",
        "jq_jobs{tube=\"t\",state=\"reserved\"} 0",
        "jq_jobs{tube=\"t\",state=\"delayed\"} 1",
        "jq_jobs{tube=\"t\",state=\"buried\"} 1",
        "jq_job_events_total{tube=\"t\",event=\"put\"} 5",
        "jq_job_events_total{tube=\"t\",event=\"reserve\"} 3",
        "jq_wait_seconds_count{tube=\"t\"} 3",
        "jq_service_seconds_count{tube=\"t\"} 1",
        "jq_refusals_total{cause=\"unknown_command\"} 1",
        "jq_log_failures_total 0",
        "jq_ready 1",
    ] {
        assert!(text.lines().any(|other| other == line), "no {line} in\n{text}");
    }
    let value = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name}"))
    };
    assert!(value("jq_process_resident_memory_bytes") > 1e6);
    assert!(value("jq_process_open_fds") > 5.0);
    assert!(value("jq_log_committed_bytes_total") > 100.0);
}

#[test]
fn few_series_for_many_tubes() {
    let (http, _folder) = server(&["--metrics-max-tubes", "3"]);
    let mut queue = http.queue();
    for tube in 0..200 {
        queue.ask(format!("use tube-{tube}"));
        queue.send("put 1 0 60 1\r\nx\r\n");
        queue.reply();
    }
    eventually("a new sample", || metrics(&http).contains("event=\"put\"} 198\n"));
    let text = metrics(&http);
    let tubes = text.lines().filter(|line| line.starts_with("jq_urgent_jobs{")).count();
    assert_eq!(tubes, 4, "three, and the others");
    assert!(text.contains("jq_jobs{tube=\"\",state=\"ready\"} 198\n"));
}

#[test]
fn history_grows() {
    let (http, _folder) = server(&[]);
    eventually("a point", || {
        let history = http.get("/api/v1/history").expect(200);
        history["points"]
            .as_array()
            .is_some_and(|points| points.last().is_some_and(|point| point["jobs"]["delayed"] == 1))
    });
    let tube = http.get("/api/v1/history?tube=t&step=5").expect(200);
    assert_eq!((&tube["tube"], &tube["step"]), (&json!("t"), &json!(5)));
    assert_eq!(tube["points"].as_array().unwrap().last().unwrap()["jobs"]["buried"], 1);
    assert_eq!(http.get("/api/v1/history?step=60").expect(200)["step"], 60);
    http.get("/api/v1/history?tube=nothing").is_problem(404, "not-found");
    http.get("/api/v1/history?step=7").is_problem(422, "bad-field");
}

/// Reads events until one satisfies this.
fn await_event(reader: &mut impl BufRead, wanted: impl Fn(&str, &Value) -> bool) {
    let (mut name, mut line) = (String::new(), String::new());
    loop {
        line.clear();
        assert!(reader.read_line(&mut line).expect("it comes in time") > 0, "the stream ended");
        if let Some(event) = line.trim_end().strip_prefix("event: ") {
            name = event.to_owned();
        } else if let Some(data) = line.trim_end().strip_prefix("data: ")
            && wanted(&name, &serde_json::from_str(data).expect("JSON"))
        {
            return;
        }
    }
}

#[test]
fn events_tell_what_happens() {
    let http = Http::operating(&[]);
    let mut stream = http.connect();
    let token = http.token.clone().unwrap();
    let request = format!(
        "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    await_event(&mut reader, |name, data| name == "server" && data["state"] == "running");
    let mut queue = http.queue();
    queue.send("put 1 0 60 1\r\nx\r\n");
    queue.reply();
    await_event(&mut reader, |name, data| {
        name == "counts" && data["all"]["put"] == 1 && data["tubes"][0]["tube"] == "default"
    });
    http.post("/api/v1/server/drain", "").expect(200);
    await_event(&mut reader, |name, data| {
        name == "server" && data["reasons"][0]["name"] == "draining"
    });
}

/// Each stream takes a connection for as long as it lasts.
#[test]
fn streams_of_events_are_limited() {
    let http = Http::reading(&[]);
    let open = || {
        let mut stream = http.connect();
        stream.write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut reader = BufReader::new(stream);
        let mut status = String::new();
        reader.read_line(&mut status).expect("it answers");
        (status, reader)
    };
    let open: Vec<_> = (0..32).map(|_| open()).collect();
    assert!(open.iter().all(|(status, _)| status.contains(" 200 ")));
    http.get("/api/v1/events").is_problem(503, "busy");
    drop(open);
    eventually("room", || {
        let mut stream = http.connect();
        stream.write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut status = String::new();
        BufReader::new(stream).read_line(&mut status).expect("it answers");
        status.contains(" 200 ")
    });
}
