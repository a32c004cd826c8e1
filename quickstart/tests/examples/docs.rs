//! `docs/worker.md` names every setting and every metric that there is, and no other metric.

use std::collections::BTreeSet;
use std::fs;

use jq_client::{Address, Client, ClientOptions, PutOptions};
use jq_quickstart::http;
use jq_quickstart::programs::project;

use crate::website::{Site, TUBE};

fn read(path: &str) -> String {
    fs::read_to_string(project().join(path)).unwrap()
}

/// Names between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_setting() {
    let docs = read("docs/worker.md");
    let reference = docs.split("\n## Configuration\n").nth(1).unwrap();
    // `http.timeout` is the member `timeout` of `http`.
    let named: BTreeSet<&str> = quoted(reference).flat_map(|name| name.split('.')).collect();
    let source = read("worker/src/config/file.rs");
    let lines = source.lines().zip(source.lines().skip(1));
    let members =
        lines.filter(|(before, _)| before.trim() != "#[serde(skip)]").filter_map(|(_, line)| {
            let line = line.strip_prefix("    ")?;
            let (name, kind) = line.strip_prefix("pub(super) ").unwrap_or(line).split_once(": ")?;
            let is_member = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            (is_member && kind.ends_with(',')).then_some(name)
        });
    let members: Vec<&str> = members.collect();
    assert!(members.contains(&"max_unpublished") && members.contains(&"max_input"), "{members:?}");
    for member in members {
        // The tables themselves are known by what is in them.
        let is_table = ["defaults", "handlers"].contains(&member);
        assert!(is_table || named.contains(member), "{member} is not in docs/worker.md");
    }
}

#[tokio::test]
async fn every_metric_and_no_other() {
    let site = Site::start().await;
    // What is counted by type shows when there is a first one. This one has no input, and fails.
    let id = "13775310-8f59-412e-aa2c-549a20077664";
    let job = format!("{{\"id\":\"{id}\",\"type\":\"checksum\"}}");
    let mut client = Client::new(Address::from(site.queue.address), ClientOptions::default());
    client.use_tube(&TUBE.parse().unwrap());
    client.put(job.as_bytes(), PutOptions::default()).await.unwrap();
    let result = site.result(id).await;
    assert!(result.contains("\"exit_code\":65"), "{result}");
    let (_, text) = http::get(site.worker.address, "/metrics").await.unwrap();
    site.stop().await;
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let there = types.filter_map(|line| {
        let (name, kind) = line.split_once(' ')?;
        Some(if kind == "counter" { format!("{name}_total") } else { name.to_owned() })
    });
    let there: BTreeSet<String> = there.collect();
    let docs = read("docs/worker.md");
    let named = quoted(&docs).filter(|name| name.starts_with("jq_worker_")).map(str::to_owned);
    assert_eq!(named.collect::<BTreeSet<String>>(), there);
}
