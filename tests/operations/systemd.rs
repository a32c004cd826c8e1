//! The units, as systemd sees them.

use std::fs;
use std::process::Command;

use crate::page::{file, read};
use crate::support::{executable, scratch_path, skip};

#[test]
fn systemd_accepts_the_units() {
    let Some(analyze) = executable("systemd-analyze") else {
        return skip("units", "systemd-analyze is not installed (Debian: apt-get install systemd)");
    };
    let folder = scratch_path("units");
    fs::create_dir(&folder).expect("the temporary folder is writable");
    let units = ["jq-server.service", "jq-server.socket", "jq-worker.service"];
    let paths = units.map(|unit| {
        let path = folder.join(unit);
        // It insists that the programs are there.
        let text = read(&format!("packaging/{unit}"));
        let program = std::env::current_exe().expect("this one is");
        let program = program.to_str().expect("it is UTF-8");
        let text =
            text.replace("/usr/bin/jq-server", program).replace("/usr/bin/jq-worker", program);
        fs::write(&path, text).expect("the temporary folder is writable");
        path
    });
    let output = Command::new(analyze).arg("verify").arg("--man=no").args(&paths).output();
    let output = output.expect("it runs");
    fs::remove_dir_all(&folder).expect("it was just made");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // It also looks at the units of this machine.
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("jq-")).collect();
    assert!(ours.is_empty(), "{}", ours.join("\n"));
}

/// What the page says of the unit is in it.
#[test]
fn the_page_knows_the_unit() {
    let unit = read("packaging/jq-server.service");
    let page = read("docs/operations.md").replace('\n', " ");
    for (said, set) in [
        ("The unit expects the program at `/usr/bin/jq-server`", "ExecStart=/usr/bin/jq-server "),
        ("as a user of its own with `/var/lib/jq-server`", "StateDirectory=jq-server\n"),
        ("`JQ_SERVER_OPTIONS=", "EnvironmentFile=-/etc/default/jq-server\n"),
        (
            "`systemctl reload jq-server` reads the tokens and certificates again",
            "ExecReload=/bin/kill -HUP",
        ),
        ("After exit status 5, 10, 11 or 33", "RestartPreventExitStatus=5 10 11 33\n"),
        ("`LimitNOFILE` in the unit sets that", "LimitNOFILE="),
    ] {
        assert!(unit.contains(set), "{set}");
        assert!(page.contains(said.trim_start_matches('`')), "{said}");
    }
    assert!(file("packaging/jq-server.socket").exists());
}
