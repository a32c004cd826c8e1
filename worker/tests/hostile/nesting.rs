//! A megabyte of brackets, where recursion would end the worker.

use crate::ending::{begin, end_of_those_that_stay, fails};
use crate::queue::{TTR, TUBE, put};
use crate::rig::Rig;
use crate::support::{Server, eventually};

#[test]
fn a_megabyte_of_nesting_in_a_job() {
    let server = Server::jq(&["-z", "2000000"]);
    let rig = Rig::new();
    let name = format!("127.0.0.1:{}", server.port());
    rig.configure(&format!("servers = ['{name}']\ntubes = ['{TUBE}']\nlisten = '127.0.0.1:0'"));
    rig.configure(&format!("allow_urls = ['{}']", rig.site.url("/")));
    rig.handler("good", "echo 1", "");
    let worker = rig.work_as_configured();
    let mut conn = server.connect();
    conn.ask(format!("use {TUBE}"));
    let head = |members: &str| {
        let body = rig.job("good").body();
        format!("{},{members}", body.strip_suffix('}').expect("it is an object"))
    };
    let arrays = format!("{}{}", "[".repeat(500_000), "]".repeat(500_000));
    let objects = format!("{}1{}", "{\"a\":".repeat(170_000), "}".repeat(170_000));
    let bodies = [
        arrays.clone(),
        objects.clone(),
        "[".repeat(1_000_000),
        "{\"a\":".repeat(200_000),
        head(&format!("\"args\":{arrays}}}")),
        head(&format!("\"custom\":{objects}}}")),
        head(&format!("\"unknown\":{arrays}}}")),
        head(&format!("\"input\":{objects}}}")),
        head(&format!("\"args\":{}", "[".repeat(1_000_000))),
        format!("[{},{arrays}]", rig.job("good").body()),
    ];
    for body in &bodies {
        let id = put(&mut conn, TTR, body);
        eventually("it is buried", || {
            conn.ask(format!("stats-job {id}")).value("state") == Some("buried")
        });
    }
    assert!(!rig.dir.join("runs").exists(), "nothing was run");
    // Brackets in a text are none.
    let job = rig.job("good").with("args", "[".repeat(1_000_000));
    put(&mut conn, TTR, job.body());
    assert_eq!(rig.result(&job)["status"], "successful");
    worker.await_metric("jq_worker_refused_total", bodies.len() as f64);
    rig.finish(worker);
}

#[test]
fn a_megabyte_of_nesting_in_an_output() {
    let (rig, queue) = begin();
    rig.configure("[defaults]\noutput = '2 MiB'");
    let brackets =
        "head -c 500000 /dev/zero | tr '\\0' '['; head -c 500000 /dev/zero | tr '\\0' ']'";
    rig.handler("good", "echo 1", "");
    rig.handler("prints", brackets, "");
    rig.handler("writes", &format!("({brackets}) > $JQ_RESULT_FILE"), "");
    rig.handler("answers", &format!("read -r line; {brackets}; echo; cat"), "mode = 'persistent'");
    let worker = rig.work(&queue, &[]);
    let message = fails(&rig, &queue, &rig.job("prints"), "executor");
    assert!(message.contains("nested 500000 deep"), "{message}");
    let message = fails(&rig, &queue, &rig.job("writes"), "executor");
    assert!(message.contains("nested 500000 deep"), "{message}");
    let message = fails(&rig, &queue, &rig.job("answers"), "executor");
    assert!(message.contains("nested 500000 deep"), "{message}");
    end_of_those_that_stay(&rig, &queue, worker, 3);
}
