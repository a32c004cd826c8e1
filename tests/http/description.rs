//! The API against its own description: schemathesis plays requests that the description allows, and
//! some that it does not, and compares the answers.

use std::path::Path;
use std::process::Command;

use crate::client::{Http, token};
use crate::support::folder::Folder;
use crate::support::skip;

/// Where `tests/compat/clients/install` puts it.
const PROGRAM: &str = "target/clients/schemathesis/bin/schemathesis";

#[test]
fn answers_are_as_described() {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(PROGRAM);
    if !program.exists() {
        return skip("schemathesis", "it is not installed (run tests/compat/clients/install)");
    }
    let http = Http::operating(&[]);
    let url = format!("http://{}", http.address);
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http/schemathesis.toml");
    // It leaves files behind.
    let folder = Folder::new();
    let mut command = Command::new(program);
    command
        .current_dir(folder.path())
        .arg("--config-file")
        .arg(config)
        .args(["run", &format!("{url}/api/v1/openapi.json"), "--url", &url])
        .args(["--header", &format!("Authorization: Bearer {}", token("operate"))])
        // About the same requests each time: some depend on earlier answers.
        .args(["--seed", "1", "--max-examples", "20"]);
    let output = command.output().expect("it can be started");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("Tested: 32"), "all but two, which the configuration leaves out: {text}");
}
