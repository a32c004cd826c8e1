//! Handlers that run as another user. Only root can start these.

use std::os::unix::fs::MetadataExt;

use serde_json::json;

use crate::each_queue;
use crate::queue::{Kind, Queue};
use crate::rig::Rig;
use crate::site::Answer;
use crate::support::skip;

each_queue!(a_handler_of_another_user_cannot_signal_its_worker);

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
