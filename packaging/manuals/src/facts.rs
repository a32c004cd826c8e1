//! What a manual page says of a program beyond its flags. The longer story is in `docs/`.

use jq_server::config as server_status;
use jq_worker::commands as worker_status;

/// What there is to say of a program.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The exit statuses, and what each means.
    pub statuses: Vec<(u8, &'static str)>,
    /// Variables that are no alternative to a flag, which clap knows of.
    pub environment: Vec<(&'static str, &'static str)>,
    /// Paths.
    pub files: Vec<(&'static str, &'static str)>,
    /// Signals.
    pub signals: Vec<(&'static str, &'static str)>,
    /// Other pages of section 1.
    pub see_also: Vec<&'static str>,
}

/// What systemd sets for socket activation.
const ACTIVATION: (&str, &str) = (
    "LISTEN_FDS, LISTEN_PID",
    "Set by systemd for socket activation: the server serves the socket that it is given instead of \
     -l and -p.",
);

/// What systemd sets for credentials.
const CREDENTIALS: (&str, &str) = (
    "CREDENTIALS_DIRECTORY",
    "Set by systemd for LoadCredential=: where the file of credential:NAME is.",
);

/// jq-server.
pub fn server() -> Facts {
    use server_status::{
        EXIT_CANNOT_BECOME, EXIT_CANNOT_LISTEN, EXIT_CANNOT_LOCK, EXIT_CANNOT_REPLAY,
        EXIT_NO_SUCH_USER, EXIT_USAGE,
    };
    Facts {
        statuses: vec![
            (0, "Stopped by a signal, or done."),
            (1, "Any other failure."),
            (EXIT_USAGE, "Invalid flags, or a mistake in a file that a flag names."),
            (EXIT_CANNOT_LOCK, "The directory of -b is missing or in use by another server."),
            (EXIT_CANNOT_REPLAY, "The contents of that directory are damaged."),
            (EXIT_NO_SUCH_USER, "There is no such user (-u)."),
            (EXIT_CANNOT_BECOME, "The server cannot switch to the user of -u."),
            (EXIT_CANNOT_LISTEN, "The server cannot listen on an address."),
        ],
        environment: vec![ACTIVATION, CREDENTIALS],
        files: vec![
            ("DIR/jq-binlog/", "With -b DIR: the jobs."),
            ("DIR/beanstalkd-binlog/", "The files of beanstalkd that were taken over from DIR."),
        ],
        signals: vec![
            ("SIGTERM, SIGINT", "Answers what it has received, and exits with status 0."),
            ("SIGUSR1", "Starts draining: new jobs are refused."),
            ("SIGUSR2", "Ends draining."),
            (
                "SIGHUP",
                "Reads the files of --tubes, --auth and --http-token-file again. Never ends the server.",
            ),
        ],
        see_also: vec!["jq-ctl", "jq-worker"],
    }
}

/// jq-worker.
pub fn worker() -> Facts {
    use worker_status::{EXIT_CONFIG, EXIT_LISTEN, EXIT_STATE};
    Facts {
        statuses: vec![
            (0, "Success, or stopped as requested."),
            (1, "A job, a check or anything else failed."),
            (EXIT_CONFIG, "Invalid flags or configuration, or a file that is not a job."),
            (EXIT_STATE, "The state directory cannot be used, or another worker uses it."),
            (EXIT_LISTEN, "The worker cannot listen on the address."),
        ],
        environment: vec![(
            "STATE_DIRECTORY",
            "Set by systemd: the state directory, unless --results or the configuration names one.",
        )],
        files: vec![
            ("jq-worker.toml", "The configuration, unless --config names another."),
            ("handlers/", "The handlers, if there is no configuration file."),
            ("results/", "Results and state, unless another directory is named."),
        ],
        signals: vec![
            (
                "SIGTERM, SIGINT",
                "Takes no more jobs, lets those that run finish for stop_timeout, and exits with \
                 status 0. A second signal ends the wait.",
            ),
            ("SIGTSTP", "Takes no more jobs until told otherwise; running jobs continue."),
            ("SIGCONT", "Takes jobs again."),
            ("SIGHUP", "Reloads the configuration."),
        ],
        see_also: vec!["jq-ctl", "jq-server"],
    }
}

/// jq-ctl.
pub fn ctl() -> Facts {
    use jq_ctl::{
        EXIT_FAILED, EXIT_FILE, EXIT_NOT_CONFIRMED, EXIT_NOT_FOUND, EXIT_TIMED_OUT,
        EXIT_UNREACHABLE, EXIT_USAGE,
    };
    Facts {
        statuses: vec![
            (0, "Done."),
            (EXIT_FAILED, "The server refused it, or something else went wrong."),
            (EXIT_NOT_FOUND, "There is no such job, tube or connection."),
            (EXIT_TIMED_OUT, "What was waited for did not happen in time."),
            (EXIT_NOT_CONFIRMED, "A question was not answered with yes."),
            (EXIT_USAGE, "The command line or the configuration is wrong."),
            (EXIT_UNREACHABLE, "The server cannot be reached."),
            (EXIT_FILE, "A file cannot be read or written, or a line of it is wrong."),
        ],
        environment: vec![
            ("NO_COLOR", "If it is set and not empty: no colours, unless --color says otherwise."),
            ("XDG_CONFIG_HOME", "Where jq/ctl.toml is looked for, instead of ~/.config."),
        ],
        files: vec![(
            "~/.config/jq/ctl.toml",
            "Servers by name: default = \"NAME\", and tables [servers.NAME] with server, http, token-file, \
             http-token-file, tls-ca, tls-cert and tls-key.",
        )],
        signals: vec![],
        see_also: vec!["jq-server", "jq-worker"],
    }
}
