//! Every sample handler, run as people do who develop one: `jq-worker run`.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use jq_quickstart::input::{Document, InputServer};
use jq_quickstart::programs::project;
use serde_json::{Value, json};

use crate::support::{is_there, programs};

/// The worker with our handlers.
fn worker() -> Command {
    let mut command = Command::new(&programs().worker);
    command.arg("run").arg("--config").arg(project().join("examples/handlers/jq-worker.toml"));
    command
}

fn result(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {:?}, {}", output.status, String::from_utf8_lossy(&output.stderr))
    })
}

/// The result of one of the sample jobs.
fn run_file(name: &str) -> Value {
    let job = project().join("examples/jobs").join(format!("{name}.json"));
    let output = worker().arg(job).output().unwrap();
    result(&output)
}

/// The result of a job that is given on standard input.
fn run(job: &Value, allow_url: &str) -> Value {
    let mut child = worker()
        .args(["--allow-url", allow_url, "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(job.to_string().as_bytes()).unwrap();
    result(&child.wait_with_output().unwrap())
}

fn job(kind: &str, members: &[(&str, Value)]) -> Value {
    let mut job = json!({"id": "13775310-8f59-412e-aa2c-549a20077664", "type": kind});
    for (name, value) in members {
        job[name] = value.clone();
    }
    job
}

/// Any that is refused.
const NOWHERE: &str = "http://site.example/";

#[test]
fn python_started_for_each_job() {
    if !is_there("a handler in Python", "python3", &["--version"]) {
        return;
    }
    let result = run_file("drunken_sailor");
    assert_eq!(result["status"], "successful", "{result}");
    assert_eq!(result["output"]["end"], json!([57.5, 30.4]));
    assert_eq!(result["output"]["series"].as_array().unwrap().len(), 5);
    assert!(result["stdout"]["tail"].as_str().unwrap().contains("step 400 of 400: 57.5 east"));
    let result = run(&job("drunken_sailor", &[("args", json!({"steps": "many"}))]), NOWHERE);
    assert_eq!((&result["status"], &result["exit_code"]), (&json!("failed"), &json!(65)));
    assert!(result["stderr"]["tail"].as_str().unwrap().contains("the input is no walk"));
}

#[test]
fn python_that_stays_up() {
    if !is_there("a handler in Python", "python3", &["--version"]) {
        return;
    }
    let result = run_file("word_count");
    assert_eq!(result["status"], "successful", "{result}");
    assert_eq!(result["output"]["words"], 12);
    assert_eq!(result["output"]["most_common"][0], json!(["what", 2]));
    let result = run(&job("word_count", &[("args", json!({}))]), NOWHERE);
    assert_eq!(result["error"]["message"], "not a text to count: KeyError('text')");
}

#[test]
fn node_started_for_each_job() {
    if !is_there("a handler in Node", "node", &["--version"]) {
        return;
    }
    let result = run_file("statistics");
    assert_eq!(result["status"], "successful", "{result}");
    assert_eq!(result["output"]["count"], 6);
    assert_eq!(result["output"]["median"], 3.5);
    assert_eq!(result["stdout"]["tail"], "attempt 1: 6 numbers\n");
    let result = run(&job("statistics", &[("args", json!({"numbers": []}))]), NOWHERE);
    assert_eq!((&result["status"], &result["exit_code"]), (&json!("failed"), &json!(65)));
}

#[test]
fn node_that_stays_up() {
    if !is_there("a handler in Node", "node", &["--version"]) {
        return;
    }
    let result = run_file("primes");
    assert_eq!(result["status"], "successful", "{result}");
    assert_eq!(result["output"], json!({"primes": 78498}));
    let result = run(&job("primes", &[("args", json!({"below": -1}))]), NOWHERE);
    assert_eq!(result["error"]["kind"], "executor");
    assert!(result["error"]["message"].as_str().unwrap().contains("whole number"), "{result}");
}

/// What the jobs with an input are given.
const ABC: &[Document] = &[("/abc", "abc")];

#[tokio::test]
async fn shell_with_an_input_from_a_url() {
    let input = InputServer::start(ABC).await.unwrap();
    let (url, all) = (input.url("/abc"), input.url("/"));
    let result = run_aside(job("checksum", &[("input", json!(url))]), &all).await;
    assert_eq!(result["status"], "successful", "{result}");
    let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(result["output"], json!({"sha256": sum, "bytes": 3}));
    assert_eq!(result["input"]["url"], url);
    let result = run_aside(job("checksum", &[("input", json!(input.url("/gone")))]), &all).await;
    assert_eq!(result["error"]["kind"], "input", "{result}");
    // A loopback address that nobody has allowed.
    let result = run_aside(job("checksum", &[("input", json!(url))]), NOWHERE).await;
    assert_eq!(result["error"]["kind"], "input", "{result}");
    let result = run_aside(job("checksum", &[]), NOWHERE).await;
    assert_eq!(result["exit_code"], 65, "{result}");
}

/// As [`run`], on another thread: the input is served meanwhile.
async fn run_aside(job: Value, allow_url: &str) -> Value {
    let allow_url = allow_url.to_owned();
    tokio::task::spawn_blocking(move || run(&job, &allow_url)).await.unwrap()
}
