//! What processes leave in their working directories, and what they give for a result.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::ending::{begin, end, fails};
use crate::rig::Rig;

#[test]
fn a_working_directory_full_of_everything() {
    let (rig, queue) = begin();
    let outside = rig.dir.join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("kept"), "kept").unwrap();
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o750)).unwrap();
    rig.handler("good", "echo 1", "");
    let fill = "i=0; while [ $i -lt 2000 ]; do : > file$i; i=$((i + 1)); done
        mkdir -p locked/inner unreadable; : > locked/inner/file; : > unreadable/file
        ln -s $HOME/outside link; ln -s $HOME/outside locked/link; ln -s $HOME/outside/kept kept
        ln -s . itself; ln $HOME/outside/kept hard; mkfifo pipe; : > -rf
        chmod 0 locked/inner unreadable/file; chmod 0 locked unreadable; chmod 0 .";
    rig.handler("fills", fill, "");
    // The directory is another one, or a link, when its job is over.
    rig.handler("moves", "cd ..; mv $OLDPWD moved; ln -s $HOME/outside $OLDPWD; rm -r moved", "");
    rig.handler("removes", "rmdir $PWD", "");
    let worker = rig.work(&queue, &[]);
    for kind in ["fills", "moves", "removes"] {
        let job = rig.job(kind);
        queue.put(job.body());
        assert_eq!(rig.result(&job)["status"], "successful", "{kind}");
        rig.await_no_process(&[&worker]);
    }
    end(&rig, &queue, worker, 0);
    assert_eq!(fs::read(outside.join("kept")).unwrap(), b"kept");
    assert_eq!(fs::metadata(&outside).unwrap().permissions().mode() & 0o7777, 0o750);
}

/// Removes what the worker may have left, however deep: what removes a rig would end with its stack.
struct Sweep<'a>(&'a Rig);

impl Drop for Sweep<'_> {
    fn drop(&mut self) {
        let _ = Command::new("rm").args(["-rf", "--"]).arg(self.0.dir.join("results")).status();
    }
}

#[test]
fn a_working_directory_deeper_than_a_path_can_be() {
    let (rig, queue) = begin();
    let _sweep = Sweep(&rig);
    rig.handler("good", "echo 1", "");
    rig.handler("digs", "exec perl -e 'for (1..5000) { mkdir \"d\"; chdir \"d\" or die }'", "");
    let mut worker = rig.work(&queue, &[]);
    let job = rig.job("digs");
    queue.put(job.body());
    assert_eq!(rig.result(&job)["status"], "successful");
    queue.await_empty();
    // What could not be removed would be in the way now.
    worker.stop();
    let worker = rig.work(&queue, &[]);
    end(&rig, &queue, worker, 0);
}

#[test]
fn result_files_that_are_none() {
    let (rig, queue) = begin();
    let secret = rig.dir.join("secret.json");
    fs::write(&secret, "\"secret\"").unwrap();
    rig.handler("good", "echo 1", "");
    let kinds = [
        ("link", "ln -s $HOME/secret.json $JQ_RESULT_FILE"),
        ("nowhere", "ln -s /nowhere $JQ_RESULT_FILE"),
        ("itself", "ln -s $JQ_RESULT_FILE $JQ_RESULT_FILE"),
        ("fifo", "mkfifo $JQ_RESULT_FILE"),
        ("folder", "mkdir $JQ_RESULT_FILE"),
        ("device", "ln -s /dev/zero $JQ_RESULT_FILE"),
        ("sparse", "truncate -s 1T $JQ_RESULT_FILE || head -c 2000000 /dev/zero > $JQ_RESULT_FILE"),
        ("empty", ": > $JQ_RESULT_FILE"),
    ];
    for (kind, script) in kinds {
        rig.handler(kind, &format!("{script}; echo 7"), "");
    }
    let worker = rig.work(&queue, &[]);
    for (kind, _) in kinds {
        let message = fails(&rig, &queue, &rig.job(kind), "executor");
        assert!(message.starts_with("the result file: "), "{kind}: {message}");
        assert!(!message.contains("secret\""), "{kind}: {message}");
    }
    end(&rig, &queue, worker, kinds.len() as u64);
    assert_eq!(fs::read(secret).unwrap(), b"\"secret\"");
}
