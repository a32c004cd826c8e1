//! What a principal of jq-server must have a right to for a command: for messages only, since the server decides.

/// What `INTERNAL_ERROR` in reply to a command means, unless the server has failed: a clause about the server.
pub(crate) fn why_not_allowed(command: &str) -> String {
    let word = command.split(' ').next().unwrap_or_default();
    let needed = match word {
        "put" => "the right \"put\" in the tube that is used",
        "use" => "any right in the tube",
        "watch" => "the right \"reserve\" in the tube",
        "reserve" | "reserve-with-timeout" | "batch-reserve" => {
            "the right \"reserve\" in all tubes that are watched"
        }
        "reserve-job" | "release" | "bury" | "touch" => "the right \"reserve\" in the job's tube",
        "delete" => {
            "the right \"delete\" in the job's tube, or \"reserve\" for a job that it has reserved"
        }
        "peek" | "stats-job" => "the right \"peek\" in the job's tube",
        "peek-ready" | "peek-delayed" | "peek-buried" => {
            "the right \"peek\" in the tube that is used"
        }
        "stats-tube" | "list-jobs" => "the right \"peek\" in the tube",
        "kick" => "the right \"kick\" in the tube that is used",
        "kick-job" => "the right \"kick\" in the job's tube",
        "pause-tube" => "the right \"pause\" in the tube",
        "clear-tube" => "the right \"delete\" in the tube",
        "move" => "the right \"put\" in the new tube, and \"delete\" in the job's",
        // Every principal may do the rest.
        _ => {
            return "does not know who this is: it has accepted no token, and no certificate"
                .to_owned();
        }
    };
    format!("does not allow this: it takes the token or certificate of a principal with {needed}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The commands of the protocol that not every principal may use, by the right that they need.
    #[test]
    fn each_command_names_its_right() {
        for (right, commands) in [
            ("put", &["put 0 0 60 1", "move 1 new"][..]),
            ("reserve", &["watch t", "reserve", "reserve-with-timeout 0", "batch-reserve 2 0"]),
            ("reserve", &["reserve-job 1", "release 1 0 0", "bury 1 0", "touch 1", "delete 1"]),
            ("peek", &["peek 1", "peek-ready", "peek-delayed", "peek-buried", "stats-job 1"]),
            ("peek", &["stats-tube t", "list-jobs t"]),
            ("kick", &["kick 1", "kick-job 1"]),
            ("pause", &["pause-tube t 1"]),
            ("delete", &["delete 1", "clear-tube t", "move 1 new"]),
        ] {
            for command in commands {
                let why = why_not_allowed(command);
                assert!(why.starts_with("does not allow this"), "{command}: {why}");
                assert!(why.contains(&format!("\"{right}\"")), "{command}: {why}");
            }
        }
        assert!(why_not_allowed("use t").contains("any right in the tube"));
        for command in ["list-tubes", "stats", "list-tube-used", "ignore t", ""] {
            assert!(why_not_allowed(command).starts_with("does not know who this is"), "{command}");
        }
    }
}
