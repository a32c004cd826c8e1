//! One directory, one server, whichever it is.

use std::process::Command;

use crate::peer;
use crate::support::Process;
use crate::support::folder::Folder;

const EXIT_CANNOT_LOCK: i32 = 10;

#[test]
fn while_beanstalkd_has_it() {
    let Some(beanstalkd) = peer::find() else { return };
    let folder = Folder::new();
    let server = peer::serve(&beanstalkd, &folder);
    let (status, output) = folder.refuse(&[]);
    assert_eq!(status, EXIT_CANNOT_LOCK, "{output}");
    assert!(output.contains("another server"), "{output}");
    let (status, output) = crate::back::export(&folder);
    assert_eq!(status, EXIT_CANNOT_LOCK, "{output}");
    assert_eq!(server.connect().ask("use here").line(), b"USING here");
}

#[test]
fn while_we_have_it() {
    let Some(beanstalkd) = peer::find() else { return };
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let mut command = Command::new(beanstalkd);
    command.args(["-l", "127.0.0.1", "-p", "0"]).args(folder.flags(&[]));
    assert_eq!(Process::spawn(command).exit_code(), EXIT_CANNOT_LOCK);
    assert_eq!(server.connect().ask("use here").line(), b"USING here");
}
