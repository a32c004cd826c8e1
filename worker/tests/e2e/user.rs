//! Handlers that run as another user. Only root can start these.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use crate::each_queue;
use crate::queue::{Kind, Queue, TUBE};
use crate::rig::Rig;
use crate::site::Answer;
use crate::support::{eventually, skip};

each_queue!(a_handler_of_another_user_cannot_signal_its_worker, files_of_a_handler_of_another_user,);

/// The keeper is the parent of a process, and the worker is the keeper's.
const PROBE: &str = r#"
    kill -KILL $(cut -d' ' -f4 /proc/$PPID/stat) 2>/dev/null && killed=true || killed=false
    kill -STOP $PPID 2>/dev/null && stopped=true || stopped=false
    ls "$TMPDIR/../../results" >/dev/null 2>&1 && reads=true || reads=false
    touch "$TMPDIR/scratch" || exit 1
    printf '{"user":"%s","group":"%s","groups":"%s","of":"%s","input":"%s",' \
        "$(id -u)" "$(id -g)" "$(id -G)" "$USER" "$(cat "$JQ_INPUT_FILE")" > "$JQ_RESULT_FILE"
    printf '"killed":%s,"stopped":%s,"reads":%s}' $killed $stopped $reads >> "$JQ_RESULT_FILE"
"#;

fn a_handler_of_another_user_cannot_signal_its_worker(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    if std::fs::metadata(&rig.dir).unwrap().uid() != 0 {
        return skip("another user", "only root can start processes as somebody else");
    }
    rig.handler("probe", PROBE, "user = 'nobody'\ngroup = '7'");
    let each = "while read -r line; do id -u; done";
    rig.handler("stays", each, "mode = 'persistent'\nuser = '4000000'\ngroup = '4000000'");
    rig.handler("plain", "id -u", "");
    rig.site.script("/in", [Answer::Body(200, b"in".to_vec())]);
    let worker = rig.work(&queue, &[]);
    let job = rig.job("probe").with("input", rig.site.url("/in"));
    queue.put(job.body());
    let result = rig.result(&job);
    let nobody = json!({
        "user": "65534", "group": "7", "groups": "7", "of": "nobody", "input": "in",
        "killed": false, "stopped": false, "reads": false,
    });
    assert_eq!(result["output"], nobody, "{result}");
    for (kind, user) in [("stays", 4_000_000), ("plain", 0)] {
        let job = rig.job(kind);
        queue.put(job.body());
        assert_eq!(rig.result(&job)["output"], user);
    }
    queue.await_empty();
    let left = std::fs::read_dir(rig.dir.join("results/work")).unwrap();
    let left: Vec<_> = left.map(|it| it.unwrap().metadata().unwrap().uid()).collect();
    assert!(left.iter().all(|owner| *owner == 0), "only what is used again is left: {left:?}");
    let mut worker = worker;
    worker.stop();
    rig.assert_no_process(&[]);
}

fn files_of_a_handler_of_another_user(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    if std::fs::metadata(&rig.dir).unwrap().uid() != 0 {
        return skip("files of another user", "only root can start processes as somebody else");
    }
    let secret = rig.dir.join("secret");
    std::fs::write(&secret, "secret").unwrap();
    let script = r#"umask 077; cd "$JQ_OUTPUT_DIR"; cat "$JQ_INPUTS_DIR/a" > copy; mkdir d
        id -u > d/who; echo "$PWD" > "$TMPDIR/path"; while [ ! -e hard ]; do sleep 0.05; done"#;
    rig.configure(&format!(
        "[handlers.draws]\ncommand = ['/bin/sh', '-c', '''{script}''']\nuser = 'nobody'\n\
         group = '65534'"
    ));
    rig.site.script("/a", [Answer::Body(200, b"in".to_vec())]);
    let mut command = Command::new("sh");
    command.current_dir(&rig.dir).env("HOME", &rig.dir).env_remove("STATE_DIRECTORY");
    // What the worker makes is for nobody else, but for what its job is to read.
    command.args(["-c", "umask 077; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_jq-worker")]);
    command.args(["--server", &queue.name(), "--tube", TUBE, "--listen", "127.0.0.1:0", "-V"]);
    command.args(["--allow-url", &rig.site.url("/")]);
    let worker = rig.work_with(command);
    let job = rig.job("draws").with("inputs", json!({"a": rig.site.url("/a")}));
    queue.put(job.body());
    let mut output = None;
    eventually("it says where it is", || {
        let folders = std::fs::read_dir(rig.dir.join("results/work")).unwrap();
        let mut paths = folders.map(|folder| folder.unwrap().path().join("path"));
        let path = paths.find_map(|path| std::fs::read_to_string(path).ok());
        output = path.filter(|path| path.ends_with('\n'));
        output.is_some()
    });
    // A second link to a file of the worker's user, as the process could make where the kernel lets it.
    let output = PathBuf::from(output.unwrap().trim_end());
    std::fs::hard_link(&secret, output.join("hard")).unwrap();
    let result = rig.result(&job);
    let artifacts = result["artifacts"].as_array().unwrap();
    let names: Vec<_> = artifacts.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["copy", "d/who"], "{result}");
    assert!(result["notes"].to_string().contains("it belongs to somebody else"), "{result}");
    assert_eq!(worker.get(&format!("{}/copy", job.path())).body, b"in");
    assert_eq!(worker.get(&format!("{}/d/who", job.path())).body, b"65534\n");
    assert_eq!(worker.get(&format!("{}/hard", job.path())).status(), 404);
    queue.await_empty();
    rig.finish(worker);
}
