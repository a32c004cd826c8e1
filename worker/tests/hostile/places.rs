//! URLs that lead to where a job has no business.

use serde_json::json;

use crate::ending::{begin, end, failure};
use crate::queue::TUBE;
use crate::site::{Answer, Site};

/// Spellings of this machine, its network, and the address where clouds tell secrets.
fn forbidden(port: &str) -> Vec<String> {
    let hosts = [
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "0x7f000001",
        "017700000001",
        "2130706433",
        "127.0.0.1.",
        "127.255.255.254",
        "0.0.0.0",
        "0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "\u{ff11}27.0.0.1",
        "localhost",
        "LOCALHOST.",
        "user@127.0.0.1",
        "site.example@127.0.0.1",
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
    ];
    hosts.iter().map(|host| format!("http://{host}:{port}/latest/meta-data")).collect()
}

#[test]
fn this_machine_and_its_network_without_a_rule() {
    let (rig, queue) = begin();
    let inside = Site::start();
    let address = inside.url("");
    let port = address.rsplit(':').next().expect("it has a port");
    rig.configure(&format!("servers = ['{}']\ntubes = ['{TUBE}']", queue.name()));
    rig.configure("listen = '127.0.0.1:0'\n[http]\ntimeout = 2");
    rig.handler("good", "echo 1", "");
    let worker = rig.work_as_configured();
    let urls = forbidden(port);
    let inputs = urls.iter().map(|url| ("input", url, "input"));
    // What is only known when a name was looked up is found after the run.
    let results = urls.iter().filter(|url| !url.to_lowercase().contains("localhost"));
    let results = results.map(|url| ("result", url, "publish"));
    let jobs = inputs.chain(results).map(|(member, url, kind)| {
        let job = rig.job("good").without("result").with(member, url.as_str());
        let id = queue.put(job.body());
        (job, id, url, kind)
    });
    let jobs: Vec<_> = jobs.collect();
    for (job, id, url, kind) in &jobs {
        queue.await_state(*id, "buried");
        let result = worker.result(job);
        assert_eq!(result["status"], "failed", "{url}: {result}");
        failure(&result, kind);
        assert!(rig.runs(job).is_empty(), "{url}: it is not run");
    }
    assert_eq!(inside.count(), 0, "nobody came");
    // By its name it is found out when the result is sent; the job stays, to be sent when allowed.
    let job = rig.job("good").with("result", format!("http://localhost:{port}/"));
    let id = queue.put(job.body());
    queue.await_state(id, "buried");
    assert_eq!(worker.result(&job)["status"], "successful");
    assert_eq!(inside.count(), 0, "nobody came");
    let good = rig.job("good").without("result");
    queue.put(good.body());
    assert_eq!(worker.result(&good)["output"], 1);
    queue.await_empty();
    rig.finish(worker);
}

#[test]
fn a_redirect_is_not_followed() {
    let (rig, queue) = begin();
    let inside = Site::start();
    rig.handler("good", "echo 1", "");
    let worker = rig.work(&queue, &[]);
    rig.site.script("/in", [Answer::Redirect(inside.url("/secret"))]);
    let job = rig.job("good").with("input", rig.site.url("/in"));
    let id = queue.put(job.body());
    failure(&rig.result(&job), "input");
    queue.await_state(id, "buried");
    // Not even to where it may go.
    rig.site.script("/here", [Answer::Redirect(rig.site.url("/there"))]);
    let job = rig.job("good").with("input", rig.site.url("/here"));
    let id = queue.put(job.body());
    failure(&rig.result(&job), "input");
    queue.await_state(id, "buried");
    assert!(rig.site.requests("/there").is_empty());
    // A result is sent again to where it was to go.
    let job = rig.job("good");
    rig.site.script(&job.path(), [Answer::Redirect(inside.url("/secret"))]);
    let id = queue.put(job.body());
    queue.await_deleted(id);
    assert_eq!(rig.sent(&job), 2);
    assert_eq!(inside.count(), 0, "nobody came");
    end(&rig, &queue, worker, 2);
}

#[test]
fn a_rule_is_for_one_place() {
    let (rig, queue) = begin();
    let inside = Site::start();
    rig.handler("good", "echo 1", "");
    let worker = rig.work(&queue, &[]);
    let allowed = rig.site.url("");
    let address = allowed.strip_prefix("http://").expect("it is a URL");
    let elsewhere = inside.url("");
    let other = elsewhere.strip_prefix("http://").expect("it is a URL");
    let urls = [
        format!("http://{address}@{other}/"),
        format!("http://{other}/{address}/"),
        format!("http://{other}/?{address}"),
        format!("http://{other}/#{address}"),
        format!("{allowed}0/"),
        format!("https://{address}/"),
        "http://127.0.0.1/".to_owned(),
    ];
    for url in &urls {
        let job = rig.job("good").with("input", json!(url));
        let id = queue.put(job.body());
        failure(&rig.result(&job), "input");
        queue.await_state(id, "buried");
    }
    assert_eq!(inside.count(), 0, "nobody came");
    end(&rig, &queue, worker, urls.len() as u64);
}
