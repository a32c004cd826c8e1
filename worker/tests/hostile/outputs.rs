//! Output without end.

use crate::ending::{begin, end, failure, within_memory};

/// What the worker may take more, in bytes: a few times what it keeps of each output.
const SOME: u64 = 32 << 20;

/// Bytes that a result keeps of the end of an output.
const TAIL: usize = 8 * 1024;

/// What a handler writes to each of its outputs, in bytes: much more than the worker may take.
const MUCH: u64 = 128 << 20;

#[test]
fn an_output_that_never_ends() {
    let (rig, queue) = begin();
    rig.handler("good", "echo 1", "");
    rig.handler("floods", "yes & yes >&2", "timeout = 1\ngrace = 0");
    let worker = rig.work(&queue, &[]);
    let job = rig.job("floods");
    let result = within_memory(&worker, SOME, || {
        queue.put(job.body());
        rig.result(&job)
    });
    failure(&result, "timeout");
    for output in ["stdout", "stderr"] {
        assert_eq!(result[output]["truncated"], true, "{output}");
        let tail = result[output]["tail"].as_str().expect("it is text");
        assert!(tail.ends_with('y') || tail.ends_with('\n'), "{output} ends as it ended");
        assert_eq!(tail.len(), TAIL, "{output}");
    }
    end(&rig, &queue, worker, 1);
}

#[test]
fn much_output_is_counted_and_not_kept() {
    let (rig, queue) = begin();
    rig.handler("good", "echo 1", "");
    rig.handler(
        "writes",
        &format!("head -c {MUCH} /dev/zero & head -c {MUCH} /dev/zero >&2; wait"),
        "output_from = 'none'",
    );
    let worker = rig.work(&queue, &[]);
    let job = rig.job("writes");
    let result = within_memory(&worker, SOME, || {
        queue.put(job.body());
        rig.result(&job)
    });
    assert_eq!(result["status"], "successful");
    for output in ["stdout", "stderr"] {
        assert_eq!(result[output]["bytes"], MUCH);
        assert_eq!(result[output]["tail"].as_str().map(str::len), Some(TAIL), "{output}");
        assert_eq!(result[output]["truncated"], true);
    }
    assert!(result["output"].is_null());
    end(&rig, &queue, worker, 0);
}
