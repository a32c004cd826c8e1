//! Completions for shells.

use clap::Command;
use clap_complete::{Shell, generate};

/// The script that completes a program in a shell.
pub fn completions(shell: Shell, command: &mut Command) -> String {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    generate(shell, command, &name, &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    if shell != Shell::Bash {
        return script;
    }
    // clap_complete 4.6 names the states of its machine in two ways if the program has a hyphen: it
    // enters `jq__ctl__subcmd__kick`, and completes in `jq__subcmd__ctl__subcmd__kick`. So nothing
    // behind a subcommand would be completed.
    const SEPARATOR: &str = "__subcmd__";
    let entered = name.replace('-', "__") + SEPARATOR;
    let completed = name.replace('-', SEPARATOR) + SEPARATOR;
    script.replace(&completed, &entered)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn bash_completes_in_the_states_that_it_enters() {
        let script = completions(Shell::Bash, &mut Cli::command());
        let entered = script.lines().filter_map(|line| line.trim().strip_prefix("cmd=\""));
        let entered: Vec<&str> = entered.map(|it| it.trim_end_matches('"')).collect();
        assert!(entered.len() > 20, "{entered:?}");
        for state in entered.into_iter().filter(|it| !it.is_empty()) {
            let label = format!("\n        {state})\n");
            assert!(script.contains(&label), "{state} completes something");
        }
    }
}
