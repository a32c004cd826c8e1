//! Becoming another user.

use std::fs;

use nix::unistd::{User, geteuid};

use crate::run::connect;
use crate::support::{Server, procfs, skip};

#[test]
fn it_gives_up_the_rights_of_root() {
    const WHO: &str = "nobody";
    if !geteuid().is_root() {
        return skip("-u nobody", "only root can become another user");
    }
    let Some(user) = User::from_name(WHO).expect("users can be looked up") else {
        return skip("-u nobody", "there is no user \"nobody\"");
    };
    let server = Server::jq(&["-u", WHO, "--threads", "3"]);
    connect(server.endpoint());
    let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).expect("it is running");
    let mut threads = 0;
    for task in tasks {
        let name = task.expect("the folder can be read").file_name();
        let task = name.to_str().and_then(|name| name.parse().ok()).expect("it is a number");
        let ids = |kind: &str| -> Vec<u32> {
            let text = procfs::status(task, kind);
            text.split_whitespace().map(|id| id.parse().expect("ids are numbers")).collect()
        };
        assert_eq!(ids("Uid"), [user.uid.as_raw(); 4], "real, effective, saved, file system");
        assert_eq!(ids("Gid"), [user.gid.as_raw(); 4]);
        assert!(!ids("Groups").contains(&0), "root's groups are gone");
        assert!(ids("Groups").contains(&user.gid.as_raw()));
        assert_eq!(procfs::status(task, "CapEff"), "0".repeat(16), "no capability is left");
        threads += 1;
    }
    assert!(threads >= 3, "all of its threads");
}
