//! The manifest for Kubernetes: valid by its schema, with flags and paths that the server knows.

use std::ffi::OsString;
use std::fs;
use std::process::Command;

use jq_server::config::{Config, ListenAddress};
use serde_json::Value;

use crate::page::{file, read};
use crate::support::folder::Folder;
use crate::support::{Server, executable, scratch_path, skip};

const MANIFEST: &str = "packaging/kubernetes/jq-server.yaml";

/// Where the script of the client libraries installs what reads and validates it.
const TOOLS: &str = "target/clients/kubernetes/bin";

/// The server gives clients that do not read, and large bodies that are stored, so many seconds.
const STOPPING: u64 = 5;

/// The documents in the manifest, or `None` after saying so.
fn documents() -> Option<Vec<Value>> {
    let python = file(TOOLS).join("python");
    if !python.exists() {
        skip("kubernetes", "its schemas are not installed (run tests/compat/clients/install)");
        return None;
    }
    let script = "import json, sys, yaml\n\
                  print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let output = Command::new(python).args(["-c", script]).arg(file(MANIFEST)).output();
    let output = output.expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).expect("it prints JSON"))
}

fn of_kind<'d>(documents: &'d [Value], kind: &str) -> &'d Value {
    documents.iter().find(|it| it["kind"] == kind).unwrap_or_else(|| panic!("{kind} is there"))
}

fn container(documents: &[Value]) -> &Value {
    &of_kind(documents, "StatefulSet")["spec"]["template"]["spec"]["containers"][0]
}

fn texts(list: &Value) -> Vec<String> {
    let list = list.as_array().expect("it is a list");
    list.iter().map(|it| it.as_str().expect("it is text").to_owned()).collect()
}

#[test]
fn it_is_valid() {
    if documents().is_none() {
        return;
    }
    let validate = file(TOOLS).join("kubernetes-validate");
    let output = Command::new(validate).arg("--strict").arg(file(MANIFEST)).output();
    let output = output.expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[test]
fn its_parts_fit_together() {
    let Some(documents) = documents() else { return };
    let container = container(&documents);
    let set = &of_kind(&documents, "StatefulSet")["spec"];
    let pod = &set["template"]["spec"];
    let service = &of_kind(&documents, "Service")["spec"];
    assert_eq!(set["replicas"], 1, "two servers are two queues");
    assert_eq!(service["publishNotReadyAddresses"], true);
    assert_eq!(service["selector"], set["template"]["metadata"]["labels"]);
    assert!(pod["terminationGracePeriodSeconds"].as_u64() > Some(2 * STOPPING));

    let args = texts(&container["args"]).into_iter().map(OsString::from);
    let config = Config::from_args(std::iter::once("jq-server".into()).chain(args));
    let config = config.expect("the server takes its flags");
    let port = |name: &str| {
        let ports = container["ports"].as_array().expect("it has ports");
        let found = ports.iter().find(|it| it["name"] == name).expect("it is there");
        found["containerPort"].as_u64().expect("it is a number")
    };
    let number = |address: &ListenAddress| match address {
        ListenAddress::Tcp(_, port) => u64::from(*port),
        ListenAddress::Unix(path) => panic!("{}", path.display()),
    };
    assert_eq!(number(&config.listeners[0].address), port("queue"));
    let http = config.http.expect("it serves HTTP");
    assert_eq!(number(&http.address), port("http"));
    // What it names is mounted.
    let mounts = container["volumeMounts"].as_array().expect("it has some");
    let volumes = [&pod["volumes"][0]["name"], &set["volumeClaimTemplates"][0]["metadata"]["name"]];
    for path in [config.binlog.expect("it has a log"), http.token_file.expect("it has tokens")] {
        let mount = mounts
            .iter()
            .find(|it| path.starts_with(it["mountPath"].as_str().expect("it is text")));
        let mount = mount.unwrap_or_else(|| panic!("{} is mounted", path.display()));
        assert!(volumes.contains(&&mount["name"]), "{mount}");
    }
}

/// A server with its flags answers its probes.
#[test]
fn its_probes_are_answered() {
    let Some(documents) = documents() else { return };
    let Some(curl) = executable("curl") else {
        return skip("curl", "it is not installed (Debian: apt-get install curl)");
    };
    let container = container(&documents);
    let (folder, tokens) = (Folder::new(), scratch_path("toml"));
    let hash = format!("[[token]]\nname = \"t\"\nrole = \"read\"\nhash = \"sha256:{:064}\"\n", 7);
    fs::write(&tokens, hash).expect("the temporary folder is writable");
    let args = texts(&container["args"]).into_iter().map(|arg| match &*arg {
        "/var/lib/jq-server" => folder.path().to_str().expect("it is UTF-8").to_owned(),
        "/etc/jq-server/tokens.toml" => tokens.to_str().expect("it is UTF-8").to_owned(),
        "0.0.0.0:11380" => "0.0.0.0:0".to_owned(),
        _ => arg,
    });
    let mut server = Server::jq(&args.collect::<Vec<_>>());
    let line = server.process().await_output("serving HTTP");
    let line: Value = serde_json::from_str(&line).expect("the log is JSON");
    let address = line["fields"]["address"].as_str().or_else(|| line["address"].as_str());
    let port = address.and_then(|it| it.rsplit(':').next()).expect("it says where");
    for probe in ["livenessProbe", "readinessProbe"] {
        let get = &container[probe]["httpGet"];
        assert_eq!(get["port"], "http");
        let path = get["path"].as_str().expect("it is text");
        let url = format!("http://127.0.0.1:{port}{path}");
        let args = ["-s", "-o", "/dev/null", "-w", "%{http_code}", &url];
        let output = Command::new(&curl).args(args).output().expect("it runs");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "200", "{path}");
    }
    fs::remove_file(&tokens).expect("it is there");
    // The page says so of both.
    let page = read("docs/operations.md").replace('\n', " ");
    assert!(page.contains("`/healthz` is its liveness probe") && page.contains("`/readyz` is its"));
}
