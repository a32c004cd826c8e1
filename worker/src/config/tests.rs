//! Flags over file over defaults, and what is refused.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use clap::Parser;

use super::*;

mod credentials;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    flags: Flags,
}

fn flags(args: &[&str]) -> Flags {
    Cli::try_parse_from([&["jq-worker"], args].concat()).unwrap().flags
}

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("jq-config-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> String {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// What is said of this file.
    fn refused(&self, text: &str) -> String {
        let path = self.write("refused.toml", text, 0o644);
        Config::load(&flags(&["--config", &path])).unwrap_err().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn one_command_for_every_job() {
    let config = Config::load(&flags(&["--tube", "t", "--", "true", "--fast"])).unwrap();
    let kind = "anything".parse().unwrap();
    let handler = config.handlers.get(&kind).unwrap();
    assert!(handler.program.is_absolute() && handler.program.ends_with("true"));
    assert_eq!(handler.args, ["--fast"]);
    assert_eq!((handler.mode, handler.retry), (Mode::Process, 3));
    assert_eq!(handler.timeout, Duration::from_secs(3600));
    assert_eq!(config.servers[0].to_string(), "127.0.0.1:11300");
    assert_eq!(config.tubes[0].as_str(), "t");
    assert_eq!(config.listen.unwrap().to_string(), DEFAULT_LISTEN);
    assert_eq!(config.results, Path::new("results"));
    let id = uuid::Uuid::nil();
    let url = config.result_url(id).unwrap();
    assert_eq!(url, format!("http://{DEFAULT_LISTEN}/{id}"));
}

#[test]
fn a_folder_of_handlers() {
    let folder = Folder::new();
    folder.write("h/sailor.py", "", 0o755);
    folder.write("h/_2nd", "", 0o700);
    folder.write("h/README.md", "", 0o644);
    let config = Config::load(&flags(&["--handlers", &folder.path("h")])).unwrap();
    let kinds: Vec<_> = config.handlers.iter().map(|(kind, _)| kind.unwrap().as_str()).collect();
    assert_eq!(kinds, ["_2nd", "sailor"]);
    folder.write("h/sailor.sh", "", 0o755);
    let error = Config::load(&flags(&["--handlers", &folder.path("h")])).unwrap_err().to_string();
    assert!(error.contains("sailor.py is also a handler of the type sailor"), "{error}");
    folder.write("bad/a b", "", 0o755);
    let error = Config::load(&flags(&["--handlers", &folder.path("bad")])).unwrap_err().to_string();
    assert!(error.contains("not a job type"), "{error}");
    folder.write("empty/x", "", 0o644);
    let error = Config::load(&flags(&["--handlers", &folder.path("empty")])).unwrap_err();
    assert!(error.to_string().contains("no executable file"), "{error}");
}

#[test]
fn the_file_and_the_flags_over_it() {
    let folder = Folder::new();
    folder.write("bin/run", "", 0o755);
    folder.write("token", " s3cret\n", 0o600);
    let path = folder.write(
        "w.toml",
        r#"
            id = "w1"
            servers = ["a:1", "[::1]:2"]
            tubes = ["one", "two"]
            concurrency = 3
            listen = "none"
            public_url = "https://w.example/results/"
            results = "state"
            sync = "never"
            allow_urls = ["https://site.example/"]
            [control]
            token_file = "token"
            [defaults]
            timeout = 60
            env = { A = "1", B = "1" }
            [handlers.run]
            command = ["bin/run", "-x"]
            memory = "512 MiB"
            open_files = 64
            env = { B = "2" }
            [handlers.stay]
            command = ["true"]
            mode = "persistent"
            processes = 2
            pipeline = 8
            timeout = 5
        "#,
        0o644,
    );
    let config = Config::load(&flags(&["--config", &path, "--tube", "three"])).unwrap();
    assert_eq!(config.servers.len(), 2);
    assert_eq!(config.tubes[0].as_str(), "three");
    assert_eq!((config.concurrency, config.listen), (3, None));
    assert_eq!(config.results, folder.0.join("state"));
    assert_eq!(config.sync, Sync::Never);
    assert_eq!(config.token.as_deref(), Some("s3cret"));
    assert_eq!(config.prefix(), "/results");
    assert_eq!(config.outbound.allow_urls, ["https://site.example/"]);
    let run = config.handlers.get(&"run".parse().unwrap()).unwrap();
    assert_eq!(run.program, folder.0.join("bin/run"));
    assert_eq!(run.timeout, Duration::from_secs(60));
    assert_eq!(run.limits.memory_bytes, Some(512 << 20));
    let env = |name: &str| run.env.iter().find(|(it, _)| it == name).map(|(_, value)| value);
    assert_eq!((env("A").unwrap(), env("B").unwrap()), (&"1".into(), &"2".into()));
    let stay = config.handlers.get(&"stay".parse().unwrap()).unwrap();
    assert_eq!(stay.mode, Mode::Persistent(Persistence { processes: 2, pipeline: 8 }));
    assert_eq!((stay.concurrency, stay.timeout), (16, Duration::from_secs(5)));
    assert!(config.handlers.get(&"other".parse().unwrap()).is_none());
}

#[test]
fn how_a_process_is_started_and_what_its_end_means() {
    let folder = Folder::new();
    folder.write("data/x", "", 0o644);
    folder.write("secrets", "# for the site\n\nA=file\nB=\"file too\"\n", 0o600);
    folder.write("others", "C=3\n", 0o600);
    let path = folder.write(
        "w.toml",
        r#"
            [resources]
            gpu = 2
            licence = 1
            [defaults]
            env_file = "secrets"
            env = { A = "table" }
            exit = { 2 = "bury", 4 = "success" }
            nice = 5
            needs = { licence = 1 }
            [handlers.a]
            command = ["true"]
            output_from = "last-line"
            exit = { 4 = "retry" }
            working_directory = "data"
            umask = "027"
            ionice = "idle"
            needs = { gpu = 2, licence = 0 }
            [handlers.b]
            command = ["true"]
            env_file = "others"
            nice = 19
        "#,
        0o644,
    );
    let config = Config::load(&flags(&["--config", &path])).unwrap();
    let handler = |name: &str| Arc::clone(config.handlers.get(&name.parse().unwrap()).unwrap());
    let env = |name: &str, variable: &str| {
        let env = handler(name).env.clone();
        env.into_iter().find(|(it, _)| it == variable).map(|(_, value)| value)
    };
    let (a, b) = (handler("a"), handler("b"));
    assert_eq!((env("a", "A"), env("a", "B")), (Some("table".into()), Some("file too".into())));
    assert_eq!((env("b", "B"), env("b", "C")), (None, Some("3".into())));
    let meanings = |handler: &Handler| [2, 4].map(|code| handler.exit.meaning(code));
    assert_eq!(meanings(&a), [ExitMeaning::Bury, ExitMeaning::Retry]);
    assert_eq!(meanings(&b), [ExitMeaning::Bury, ExitMeaning::Success]);
    assert_eq!(a.working_directory, Some(folder.0.join("data")));
    assert_eq!((a.limits.umask, a.limits.nice, b.limits.nice), (Some(0o27), Some(5), Some(19)));
    assert_eq!(a.limits.io_priority.unwrap().to_string(), "idle");
    assert_eq!((a.output_from, b.output_from), (OutputFrom::LastLine, OutputFrom::Auto));
    let needs = |handler: &Handler| {
        handler.needs.iter().map(|it| (it.name.clone(), it.count, it.of)).collect::<Vec<_>>()
    };
    assert_eq!(needs(&a), [("gpu".to_owned(), 2, 2)]);
    assert_eq!(needs(&b), [("licence".to_owned(), 1, 1)]);
}

#[test]
fn what_is_wrong_is_named() {
    let folder = Folder::new();
    folder.write("plain", "", 0o644);
    folder.write("secrets", "A=1\nmy secret\n", 0o600);
    let handler = "[handlers.x]\ncommand = [\"true\"]\n";
    for (text, reason) in [
        ("nonsense", "expected"),
        ("speed = 3", "unknown field `speed`"),
        ("servers = [\"x\"]", "a port is missing"),
        ("tubes = [\"a b\"]", "tube"),
        ("tubes = 7", "sequence"),
        ("[handlers.\"a/b\"]\ncommand = [\"true\"]", "not a job type"),
        ("[handlers.x]\ncommand = []", "handlers.x: command is empty"),
        ("[handlers.x]", "handlers.x: command is empty"),
        ("[handlers.x]\ncommand = \"true\"", "sequence"),
        ("[handlers.x]\ncommand = [\"./gone\"]", "./gone: no such file"),
        ("[handlers.x]\ncommand = [\"./plain\"]", "./plain: not an executable file"),
        ("[handlers.x]\ncommand = [\"surely-no-program\"]", "no such program on PATH"),
        ("[handlers.x]\ncommand = [\"true\"]\nspeed = 1", "unknown field `speed`"),
        ("[handlers.x]\ncommand = [\"true\"]\nmemory = \"1 XB\"", "not a size"),
        ("[handlers.x]\ncommand = [\"true\"]\npipeline = 2", "mode = \"persistent\""),
        ("[handlers.x]\ncommand = [\"true\"]\ntimeout = 0", "timeout is 0"),
        ("[handlers.x]\ncommand = [\"true\"]\nconcurrency = 0", "concurrency is 0"),
        (&format!("{handler}output_from = \"here\""), "unknown variant `here`"),
        (&format!("{handler}exit = {{ 0 = \"bury\" }}"), "handlers.x: exit has the status \"0\""),
        (&format!("{handler}exit = {{ 3 = \"stop\" }}"), "unknown variant `stop`"),
        (&format!("{handler}working_directory = \"gone\""), "working_directory: gone: No such"),
        (&format!("{handler}working_directory = \"plain\""), "plain: not a directory"),
        (&format!("{handler}env_file = \"gone\""), "env_file: gone: No such file"),
        (&format!("{handler}env_file = \"secrets\""), "env_file: secrets, line 2: expected NAME"),
        (&format!("{handler}umask = \"999\""), "umask is \"999\""),
        (&format!("{handler}umask = \"1777\""), "umask is \"1777\""),
        (&format!("{handler}nice = 20"), "nice is 20: expected -20 to 19"),
        (&format!("{handler}ionice = \"last\""), "ionice is \"last\": expected"),
        (&format!("{handler}needs = {{ gpu = 1 }}"), "needs.gpu: there is no such name"),
        (&format!("[resources]\ngpu = 1\n{handler}needs = {{ gpu = 2 }}"), "only 1"),
        (&format!("[resources]\ngpu = 0\n{handler}"), "resources.gpu is 0"),
        (&format!("[resources]\nGPU = 1\n{handler}"), "\"GPU\": expected a name"),
        (
            &format!("[resources]\ngpu = 1\n{handler}mode = \"persistent\"\nneeds = {{ gpu = 1 }}"),
            "needs requires mode = \"process\"",
        ),
        ("[defaults]\ncommand = [\"true\"]", "defaults: command"),
        ("id = \"w\"", "it has no handlers"),
        (&format!("concurrency = 0\n{handler}"), "concurrency is 0"),
        (&format!("concurrency = 10001\n{handler}"), "concurrency is 10001: expected 1 to 10000"),
        (&format!("{handler}concurrency = 10001"), "concurrency is 10001: expected 1 to 10000"),
        (&format!("{handler}output = 0"), "output: expected 1 byte to 1 GiB"),
        (&format!("{handler}output = \"2 GiB\""), "output: expected 1 byte to 1 GiB"),
        (
            &format!("[resources]\ngpu = 1001\n{handler}"),
            "resources.gpu is 1001: expected 1 to 1000",
        ),
        (&format!("{handler}group = \"root\""), "group"),
        (&format!("max_unpublished = 0\n{handler}"), "max_unpublished is 0"),
        (&format!("listen = \"here\"\n{handler}"), "listen is \"here\""),
        (&format!("public_url = \"ftp://x/\"\n{handler}"), "http or https"),
        (&format!("public_url = \"http://x/?a\"\n{handler}"), "neither a query nor a fragment"),
        (&format!("public_url = \"http://x/#a\"\n{handler}"), "neither a query nor a fragment"),
        (&format!("id = \"\"\n{handler}"), "id is \"\": expected one or more characters"),
        (&format!("id = \"a\\nb\"\n{handler}"), "id is \"a\\nb\": expected one or more"),
        (&format!("{handler}env = {{ \"A=B\" = \"1\" }}"), "env has the name \"A=B\""),
        (&format!("{handler}env = {{ \"\" = \"1\" }}"), "env has the name \"\""),
        (&format!("{handler}env = {{ A = \"\\u0000\" }}"), "env.A: expected a value without"),
        (&format!("{handler}pass_env = [\"A=\"]"), "pass_env has the name \"A=\""),
        ("[handlers.x]\ncommand = [\"true\", \"\\u0000\"]", "command: expected strings without"),
        (&format!("{handler}[control]\ntoken_file = \"gone\""), "control.token_file"),
    ] {
        let error = folder.refused(text);
        assert!(error.contains(reason), "{text}: {error}");
        assert!(!error.contains("my secret"), "{error}");
    }
    let error = Config::load(&flags(&["--config", "/nowhere.toml"])).unwrap_err().to_string();
    assert!(error.contains("/nowhere.toml: No such file"), "{error}");
    let both = flags(&["--handlers", "h", "--", "true"]);
    assert!(Config::load(&both).unwrap_err().to_string().contains("both given"));
}

/// What the tables say of settings that are not set.
#[test]
fn defaults_are_those_of_the_manual() {
    let docs = include_str!("../../../docs/worker.md");
    let folder = Folder::new();
    let path = folder.write("w.toml", "[handlers.x]\ncommand = ['true']", 0o644);
    let config = Config::load(&flags(&["--config", &path])).unwrap();
    let handler = Arc::clone(config.handlers.get(&"x".parse().unwrap()).unwrap());
    let seconds = |time: Duration| time.as_secs().to_string();
    let mut parallel = 0;
    let mut default = |name: &str, text: &str, value: String| {
        let row = docs.lines().filter(|line| line.starts_with(&format!("| `{name}`")));
        let cells: Vec<Vec<&str>> =
            row.map(|row| row.split('|').map(str::trim).collect()).collect();
        let is_it = cells.iter().any(|cells| cells.get(3).is_some_and(|it| it.starts_with(text)));
        assert!(is_it, "{name}: {cells:?}");
        assert!(text.trim_matches('`').starts_with(&value), "{name} is {value}, not {text}");
        parallel += 1;
    };
    default("servers", "`127.0.0.1:11300`", config.servers[0].to_string());
    default("listen", "`127.0.0.1:11380`", config.listen.unwrap().to_string());
    default("retention", "604800", seconds(config.retention));
    default("sync", "`\"always\"`", "\"always\"".to_owned());
    assert_eq!(config.sync, Sync::Always);
    default("stop_timeout", "60", seconds(config.stop_timeout));
    default("retry_delay", "2", seconds(config.retry_delay));
    default("max_retry_delay", "3600", seconds(config.max_retry_delay));
    default("idle_check", "60", seconds(config.idle_check));
    default("max_crashes", "3", config.max_crashes.to_string());
    default("publish_timeout", "86400", seconds(config.publish_timeout));
    default("http.connect_timeout", "10", seconds(config.outbound.connect_timeout));
    default("http.timeout", "60", seconds(config.outbound.timeout));
    default("http.max_input", "64 MiB", (config.outbound.max_input_bytes >> 20).to_string());
    default("http.show_input_query", "false", config.show_input_query.to_string());
    default("processes", "1", "1".to_owned());
    default("pipeline", "1", "1".to_owned());
    default("timeout", "3600", seconds(handler.timeout));
    default("grace", "10", seconds(handler.grace));
    default("retry", "3", handler.retry.to_string());
    default("output", "1 MiB", (handler.output >> 20).to_string());
    assert_eq!(parallel, 20);
    // Those that are no numbers.
    let processors = std::thread::available_parallelism().unwrap().get();
    assert_eq!((config.concurrency, config.max_unpublished), (processors, 64.max(4 * processors)));
    assert_eq!((config.cors_origins, config.token), (vec!["*".to_owned()], None));
    assert!(config.tubes.is_empty() && config.callback_secrets.is_empty());
    assert!(config.resources.is_empty() && config.outbound.allow_urls.is_empty());
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(config.worker_id, host.trim());
    assert_eq!((handler.mode, handler.concurrency), (Mode::Process, 0));
    assert_eq!((handler.rerun, handler.input), (Rerun::Never, InputMode::File));
    assert_eq!((handler.output_from, &handler.working_directory), (OutputFrom::Auto, &None));
    let path =
        folder.write("p.toml", "[handlers.x]\ncommand = ['true']\nmode = 'persistent'", 0o644);
    let config = Config::load(&flags(&["--config", &path])).unwrap();
    let handler = config.handlers.get(&"x".parse().unwrap()).unwrap();
    assert_eq!(handler.mode, Mode::Persistent(Persistence { processes: 1, pipeline: 1 }));
}

#[test]
fn a_table_goes_before_a_file() {
    let folder = Folder::new();
    for name in ["h/sailor.py", "h/other"] {
        folder.write(name, "", 0o755);
    }
    let text = "handlers_dir = 'h'\n[defaults]\nretry = 7\n[handlers.sailor]\ncommand = ['true']";
    let path = folder.write("w.toml", text, 0o644);
    let config = Config::load(&flags(&["--config", &path])).unwrap();
    let program = |kind: &str| {
        let handler = config.handlers.get(&kind.parse().unwrap()).unwrap();
        assert_eq!(handler.retry, 7, "{kind}");
        handler.program.clone()
    };
    assert!(program("sailor").ends_with("true"));
    assert_eq!(program("other"), folder.0.join("h/other"));
}

#[test]
fn variables_to_pass_on_are_added_to_those_of_the_defaults() {
    let folder = Folder::new();
    // These are there wherever cargo runs a test.
    let (one, two) = ("CARGO_MANIFEST_DIR", "CARGO_PKG_NAME");
    let path = folder.write(
        "w.toml",
        &format!(
            "[defaults]\npass_env = ['{one}']\n[handlers.x]\ncommand = ['true']\npass_env = ['{two}']"
        ),
        0o644,
    );
    let config = Config::load(&flags(&["--config", &path])).unwrap();
    let handler = config.handlers.get(&"x".parse().unwrap()).unwrap();
    for name in [one, two] {
        assert!(handler.env.iter().any(|(it, _)| it == name), "{name}: {:?}", handler.env);
    }
}

#[path = "../../../tests/support/certificates.rs"]
mod certificates;

use certificates::{Authority, Valid};

/// In the file's directory, as all paths of the file are.
#[test]
fn what_is_shown_to_servers_and_others() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let (cert, key) = authority.sign("w", "worker1", Valid::Now);
    for (from, name) in [(authority.file(), "ca"), (cert, "cert"), (key, "key")] {
        fs::copy(from, folder.0.join(name)).unwrap();
    }
    folder.write("token", "site.s3cret\n", 0o600);
    let other = folder.write("other", "site.other\n", 0o600);
    let text = "
        servers = ['beanstalks://q1', 'beanstalk://site.url@q2:7', 'q3:8']
        server_token_file = 'token'
        server_tls_ca = 'ca'
        server_tls_cert = 'cert'
        server_tls_key = 'key'
        [http]
        tls_cert = 'cert'
        tls_key = 'key'
        ca_files = ['ca']
        [[http.client_certificates]]
        prefix = 'https://a.example/in/'
        cert = 'cert'
        key = 'key'
        [handlers.x]
        command = ['true']
    ";
    let path = folder.write("w.toml", text, 0o644);
    let config = Config::load(&flags(&["--config", &path])).unwrap();
    let shown: Vec<_> = config.servers.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["beanstalks://q1:11300", "q2:7", "q3:8"]);
    assert!(!format!("{config:?}").contains("site."), "{config:?}");
    assert_eq!(config.credentials.token_file, Some(folder.0.join("token")));
    let files = config.credentials.tls.files();
    assert_eq!(files.authorities, Some(folder.0.join("ca")));
    assert_eq!(files.identity.as_ref().unwrap().key, folder.0.join("key"));
    assert!(config.listen_tls.is_some());
    assert!(config.result_url(uuid::Uuid::nil()).unwrap().starts_with("https://127.0.0.1:11380/"));
    assert_eq!(config.outbound.ca_files, [folder.0.join("ca")]);
    assert_eq!(config.outbound.client_certificates[0].identity.key, folder.0.join("key"));
    outbound::Outbound::new(&config.outbound).unwrap();
    // A flag goes before the file; the rest of the file stays.
    let with_flag = flags(&["--config", &path, "--token-file", &other]);
    let config = Config::load(&with_flag).unwrap();
    assert_eq!(config.credentials.token_file, Some(other.into()));
    assert_eq!(config.credentials.tls.files().authorities, Some(folder.0.join("ca")));
}

#[test]
fn what_cannot_be_shown_is_refused() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let (cert, key) = authority.sign("w", "worker1", Valid::Now);
    for (from, name) in [(authority.file(), "ca"), (cert, "cert"), (key, "key")] {
        fs::copy(from, folder.0.join(name)).unwrap();
    }
    folder.write("two", "two words", 0o600);
    let tls = "servers = ['beanstalks://q']\n";
    let client = "[[http.client_certificates]]\ncert = 'cert'\nkey = 'key'\nprefix =";
    for (text, why) in [
        ("server_token_file = 'none'".to_owned(), "server_token_file: the token file"),
        ("server_token_file = 'two'".to_owned(), "expected a token on its first line"),
        (format!("{tls}server_tls_ca = 'none'"), "server_tls_ca: the certificates of authorities"),
        (format!("{tls}server_tls_ca = 'two'"), "expected certificates in PEM"),
        (format!("{tls}server_tls_cert = 'cert'"), "server_tls_cert: expected both"),
        (format!("{tls}server_tls_key = 'key'"), "server_tls_key: expected both"),
        (
            format!("{tls}server_tls_cert = 'cert'\nserver_tls_key = 'ca'"),
            "server_tls_cert: the private key",
        ),
        ("server_tls_ca = 'ca'".to_owned(), "server_tls_ca: no server begins with beanstalks://"),
        ("servers = ['beanstalk://s3cret@']".to_owned(), "servers: \"beanstalk://...@\" is no"),
        ("[http]\ntls_cert = 'cert'".to_owned(), "http.tls_cert: expected both"),
        ("[http]\ntls_cert = 'ca'\ntls_key = 'key'".to_owned(), "it is not the key to"),
    ] {
        let said = folder.refused(&format!("{text}\n[handlers.x]\ncommand = ['true']"));
        assert!(said.contains(why) && !said.contains("s3cret"), "{text}: {said}");
    }
    for (text, why) in [
        ("[http]\nca_files = ['key']".to_owned(), "http.ca_files: the certificates"),
        (format!("{client} 'http://a.example/'"), "prefix: \"http://a.example/\" is not of https"),
        (format!("{client} 'https://a.example/?x'"), "must not have a query"),
        (
            format!("{}'https://a/'", client.replace("'cert'", "'none'")),
            "http.client_certificates: the certificate",
        ),
    ] {
        let text = format!("{text}\n[handlers.x]\ncommand = ['true']");
        let path = folder.write("outbound.toml", &text, 0o644);
        let config = Config::load(&flags(&["--config", &path])).unwrap();
        let said = outbound::Outbound::new(&config.outbound).unwrap_err().to_string();
        assert!(said.contains(why), "{text}: {said}");
    }
}

#[test]
fn artifacts_have_limits() {
    let folder = Folder::new();
    let load = |text: &str| {
        let path =
            folder.write("c.toml", &format!("{text}\n[handlers.t]\ncommand = ['true']\n"), 0o644);
        Config::load(&flags(&["--config", &path]))
    };
    let artifacts = load("").unwrap().artifacts;
    assert_eq!((artifacts.of_job.files, artifacts.of_job.bytes), (1000, 256 << 20));
    assert_eq!(artifacts.max_total, 10 << 30);
    let set = "[artifacts]\nmax_files = 7\nmax_bytes = '1 MiB'\nmax_total = '2 MiB'";
    let artifacts = load(set).unwrap().artifacts;
    assert_eq!((artifacts.of_job.files, artifacts.of_job.bytes), (7, 1 << 20));
    assert_eq!(artifacts.max_total, 2 << 20);
    for (text, why) in [
        ("max_files = 0", "artifacts.max_files is 0: expected 1 to 10000"),
        ("max_files = 10001", "artifacts.max_files is 10001: expected 1 to 10000"),
        ("max_total = '1 MiB'", "artifacts.max_total is 1048576 bytes: expected at least"),
        ("max_bytes = '11 GiB'", "expected at least artifacts.max_bytes, 11811160064"),
        ("max_bytes = 'much'", "\"much\" is not a size"),
        ("max = 1", "unknown field `max`"),
    ] {
        let refused = load(&format!("[artifacts]\n{text}")).unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
    let has = |settings: &str| {
        let config = load(&format!("[handlers.x]\ncommand = ['true']\n{settings}")).unwrap();
        config.handlers.get(&"x".parse().unwrap()).unwrap().artifacts
    };
    assert!(has("") && !has("artifacts = false") && !has("mode = 'persistent'"));
    assert!(has("mode = 'persistent'\nartifacts = true"));
}
