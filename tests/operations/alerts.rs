//! The table of alerts has them all and no other.

use std::collections::BTreeSet;

use crate::page::read;

#[test]
fn every_alert_has_its_place_in_the_page() {
    let rules = read("packaging/prometheus/jq-server.rules.yml");
    let alerts = rules.lines().filter_map(|line| line.trim_start().strip_prefix("- alert: "));
    let alerts: BTreeSet<&str> = alerts.collect();
    let page = read("docs/operations.md");
    let rows = page.lines().filter(|line| line.starts_with("| `Jq"));
    let named: BTreeSet<&str> = rows
        .flat_map(|row| row.split('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2))
        .collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    assert_eq!(named, alerts);
    // Those of the runbook are among them.
    let lines = page.lines().filter_map(|line| line.strip_prefix("Alert"));
    let in_runbook = lines.flat_map(|line| line.split('`').skip(1).step_by(2));
    for alert in in_runbook.filter(|name| name.starts_with("Jq")) {
        assert!(alerts.contains(alert), "{alert}");
    }
}
