//! Flags and exit statuses. How each flag is read is tested where that is done; here is what comes
//! of it in a process.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use crate::run::{connect, endpoint, run, start};
use crate::support::{Process, Server, by_shell, jq_server, scratch_path};

const EXIT_USAGE: i32 = 5;
const EXIT_NO_SUCH_USER: i32 = 33;
const EXIT_CANNOT_LISTEN: i32 = 111;

#[test]
fn mistakes_exit_with_5() {
    for flags in [&["-q"][..], &["stray"], &["-z"], &["--threads", "0"], &["--compat", "1"]] {
        let (status, output) = run(flags);
        assert_eq!(status, EXIT_USAGE, "{flags:?}: {output}");
        assert!(output.contains(flags[0]), "{flags:?}: {output}");
    }
}

#[test]
fn help_and_version_exit_with_0() {
    let (status, help) = run(&["-h"]);
    assert_eq!(status, 0);
    assert!(help.contains("--threads"), "{help}");
    let (status, version) = run(&["-v"]);
    assert_eq!(status, 0);
    assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
}

#[test]
fn the_status_is_right_even_if_nobody_listens() {
    for (flag, status) in [("-h", 0), ("-q", EXIT_USAGE)] {
        let mut command = by_shell(r#"exec "$@" >/dev/full 2>&1"#);
        command.arg(flag);
        assert_eq!(Process::spawn(command).exit_code(), status, "{flag}");
    }
}

#[test]
fn an_unknown_user_exits_with_33() {
    let (status, output) = run(&["-l", "127.0.0.1", "-p", "0", "-u", "no-such-user"]);
    assert_eq!(status, EXIT_NO_SUCH_USER, "{output}");
    assert!(output.contains("no-such-user"), "{output}");
}

#[test]
fn an_address_in_use_exits_with_111() {
    let first = Server::jq(&["-V"]);
    let port = first.port().to_string();
    let (status, output) = run(&["-l", "127.0.0.1", "-p", &port]);
    assert_eq!(status, EXIT_CANNOT_LISTEN, "{output}");
    assert!(output.contains(&format!("127.0.0.1:{port}")), "{output}");
    connect(first.endpoint());
}

/// An address that is set aside for documentation and no machine has.
#[test]
fn a_foreign_address_exits_with_111() {
    let (status, output) = run(&["-l", "192.0.2.1", "-p", "0"]);
    assert_eq!(status, EXIT_CANNOT_LISTEN, "{output}");
    assert!(output.contains("192.0.2.1"), "{output}");
}

#[test]
fn obsolete_flags_warn_and_serve() {
    let server = start(&["-c", "-n", "-l", "127.0.0.1", "-p", "0"]);
    connect(&endpoint(&server));
    let output = server.output();
    for flag in ["-c is obsolete", "-n is obsolete"] {
        assert!(output.contains("WARN") && output.contains(flag), "{flag}: {output}");
    }
}

#[test]
fn it_also_answers_to_the_name_of_beanstalkd() {
    let folder = scratch_path("folder");
    fs::create_dir(&folder).expect("the temporary folder is writable");
    let name = folder.join("beanstalkd");
    symlink(jq_server(), &name).expect("a link can be made");
    let mut command = Command::new(&name);
    command.args(["-l", "127.0.0.1", "-p", "0"]);
    let server = Process::spawn(command);
    connect(&endpoint(&server));
    fs::remove_dir_all(&folder).expect("the folder is ours");
}
