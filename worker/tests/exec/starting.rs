//! What a process is started with, and why it could not be.

use crate::support::{TempDir, command, run, sh};
use jq_worker::exec::{Exit, RunError, StartProblem};
use std::fs;

#[tokio::test]
async fn it_has_its_arguments_environment_and_directory() {
    let directory = TempDir::new();
    let script =
        "pwd; for arg; do echo \"<$arg>\"; done; env | grep -v '^\\(PWD\\|_\\|OLDPWD\\|SHLVL\\)='";
    let mut marked = command("sh", &["-c", script, "zero", "a b", "", "*"]);
    marked.spec.directory = directory.path().into();
    let (_, mark) = marked.spec.env[0].clone();
    let finished = run(marked).await.unwrap();
    let text = String::from_utf8(finished.stdout.head).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines[4..].sort_unstable();
    let expected_mark = format!("JQ_TEST_MARK={}", mark.to_str().unwrap());
    let expected =
        ["<a b>", "<>", "<*>", &expected_mark, "PATH=/usr/local/bin:/usr/bin:/bin"].to_vec();
    assert_eq!(lines[0], fs::canonicalize(directory.path()).unwrap().to_str().unwrap());
    assert_eq!(lines[1..], expected);
}

#[tokio::test]
async fn it_has_no_signal_blocked_and_none_that_it_could_be_sent_ignored() {
    let finished = run(command("/bin/cat", &["/proc/self/status"])).await.unwrap();
    let status = String::from_utf8(finished.stdout.head).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap()
    };
    assert_eq!(field("SigBlk:"), 0);
    // The two that belong to the C library are ignored in whatever is started by `posix_spawn`,
    // as the keeper was; every C library sets them up for itself.
    let belonging_to_libc = 0b11 << 31;
    assert_eq!(field("SigIgn:") & !belonging_to_libc, 0);
}

#[tokio::test]
async fn it_has_no_files_but_its_three() {
    // The fourth is the directory that is being read.
    let finished = run(command("/bin/ls", &["/proc/self/fd"])).await.unwrap();
    assert_eq!(finished.stdout.head, b"0\n1\n2\n3\n");
}

#[tokio::test]
async fn it_leads_a_group_but_no_session_with_a_terminal() {
    // Number, group, terminal, of the shell itself.
    let finished = run(sh("read -r pid _ _ _ group _ terminal _ < /proc/$$/stat
        [ $pid = $group ] && [ $terminal = 0 ]"))
    .await
    .unwrap();
    assert_eq!(finished.exit, Exit::Code(0));
}

async fn problem_of(program: &std::path::Path, directory: &std::path::Path) -> StartProblem {
    let mut marked = command(program, &[]);
    marked.spec.directory = directory.into();
    match run(marked).await {
        Err(error @ RunError::Start { problem, .. }) => {
            let text = error.to_string();
            let named = if problem == StartProblem::Directory { directory } else { program };
            assert!(text.contains(named.to_str().unwrap()), "does not say what: {text}");
            problem
        }
        other => panic!("started, or not for a reason: {other:?}"),
    }
}

#[tokio::test]
async fn why_it_could_not_be_started_is_told() {
    let directory = TempDir::new();
    let here = directory.path();
    let file = |name: &str, text: &str| {
        fs::write(here.join(name), text).unwrap();
        here.join(name)
    };
    assert_eq!(problem_of(&here.join("none"), here).await, StartProblem::NoProgram);
    assert_eq!(problem_of("no-such-program".as_ref(), here).await, StartProblem::NoProgram);
    assert_eq!(problem_of(&file("plain", "text"), here).await, StartProblem::NotExecutable);
    assert_eq!(problem_of(here, here).await, StartProblem::NotExecutable);
    let script = directory.script("script", "#!/no/such/interpreter\n");
    assert_eq!(problem_of(&script, here).await, StartProblem::NoInterpreter);
    let gone = here.join("gone");
    assert_eq!(problem_of("/bin/true".as_ref(), &gone).await, StartProblem::Directory);
    let plain = here.join("plain");
    assert_eq!(problem_of("/bin/true".as_ref(), &plain).await, StartProblem::Directory);
}

#[tokio::test]
async fn a_bare_name_is_the_first_of_its_path_that_may_be_run() {
    let directory = TempDir::new();
    let here = directory.path();
    for name in ["empty", "plain", "first", "second"] {
        fs::create_dir(here.join(name)).unwrap();
    }
    fs::write(here.join("plain/tool"), "#!/bin/sh\necho plain\n").unwrap();
    directory.script("first/tool", "#!/bin/sh\necho first\n");
    directory.script("second/tool", "#!/bin/sh\necho second\n");
    let within = |names: &[&str]| {
        let mut marked = command("tool", &[]);
        let path: Vec<_> = names.iter().map(|name| here.join(name).display().to_string()).collect();
        marked.spec.env[1].1 = path.join(":").into();
        run(marked)
    };
    let finished = within(&["none", "empty", "plain", "first", "second"]).await.unwrap();
    assert_eq!(finished.stdout.head, b"first\n");
    let refused = within(&["plain", "empty"]).await.unwrap_err();
    let is_named = matches!(refused, RunError::Start { problem: StartProblem::NotExecutable, .. });
    assert!(is_named, "{refused:?}");
}

#[tokio::test]
async fn a_script_that_names_no_interpreter_is_run_by_the_shell() {
    let directory = TempDir::new();
    let script = directory.script("script", "echo \"$0 <$1> <$2>\"\n");
    let finished = run(command(&script, &["a b", ""])).await.unwrap();
    let expected = format!("{} <a b> <>\n", script.display());
    assert_eq!(String::from_utf8(finished.stdout.head).unwrap(), expected);
}

#[tokio::test]
async fn what_cannot_be_said_to_a_process_is_an_error() {
    let marked = command("/bin/true", &["nul\0byte"]);
    let other = run(marked).await.unwrap_err();
    assert!(matches!(other, RunError::Start { problem: StartProblem::Other, .. }), "{other:?}");
    let marked = command("/bin/true", &["x".repeat(200_000).as_str()]);
    let too_long = run(marked).await.unwrap_err();
    assert!(matches!(too_long, RunError::TooLong { bytes } if bytes > 200_000), "{too_long:?}");
    // And what is just short enough is said.
    let marked = command("/bin/true", &["x".repeat(120_000).as_str()]);
    assert_eq!(run(marked).await.unwrap().exit, Exit::Code(0));
}
