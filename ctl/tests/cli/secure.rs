//! TLS and tokens, for the queue and for the HTTP API.

use std::fs;
use std::path::Path;

use crate::certificates::{Authority, Valid};
use crate::gate::Gate;
use crate::rig::{Ctl, Said, run};
use crate::support::{Endpoint, Server};

/// The token of the queue. It is that of a principal: the other is none.
const TOKEN: &str = "site.0123456789abcdef";
const API_TOKEN: &str = "0123456789abcdef0123456789abcdef";

struct Rig {
    authority: Authority,
    server: Server,
    /// Shows what TLS and the token are for.
    gate: Gate,
}

impl Rig {
    fn new(flags: &[&str]) -> Self {
        let (authority, server) = (Authority::new(), Server::jq(flags));
        let Endpoint::Tcp(address) = *server.endpoint() else { panic!("it has a port") };
        let identity = authority.sign("queue", "localhost", Valid::Now);
        let gate = Gate::secure(address, identity, Some(authority.file()));
        gate.set_token(Some(TOKEN));
        authority.sign("ctl", "operator", Valid::Now);
        let rig = Self { authority, server, gate };
        rig.write("token", TOKEN);
        rig.write("api-token", API_TOKEN);
        rig
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.authority.folder().join(name), text).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.authority.folder().join(name).to_str().unwrap().to_owned()
    }

    /// Flags, each with the path of a file in the folder.
    fn flags(&self, flags: &[(&str, &str)]) -> Vec<String> {
        flags.iter().flat_map(|(flag, file)| [(*flag).to_owned(), self.path(file)]).collect()
    }

    fn run(&self, server: &str, flags: &[(&str, &str)]) -> Said {
        let flags = self.flags(flags);
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        Ctl::to(server).with(&flags).run(&["stats", "version"])
    }
}

const TLS: [(&str, &str); 3] =
    [("--tls-ca", "ca.pem"), ("--tls-cert", "ctl.cert.pem"), ("--tls-key", "ctl.key.pem")];
const FILE: [(&str, &str); 1] = [("--token-file", "token")];

#[test]
fn the_queue_is_reached_with_a_certificate_and_a_token() {
    let rig = Rig::new(&[]);
    let url = rig.gate.url();
    let with_token = url.replace("://", &format!("://{TOKEN}@"));
    let said = rig.run(&url, &[&TLS[..], &FILE].concat());
    assert_eq!(said.status, 0, "{said:?}");
    let said = rig.run(&with_token, &TLS);
    assert_eq!(said.status, 0, "{said:?}");
    assert!(!said.err.contains("every user"), "{said:?}");

    rig.write("wrong", "site.wrong");
    for (server, flags, status, why) in [
        (&url, [&TLS[..], &[("--token-file", "wrong")]].concat(), 5, "NOT_AUTHENTICATED"),
        (&with_token, TLS[..1].to_vec(), 6, "it wants a certificate from this side"),
        (&with_token, TLS[1..].to_vec(), 6, "signed by no authority that is trusted here"),
        (&with_token, TLS[..2].to_vec(), 5, "--tls-cert and --tls-key"),
        (&with_token, vec![("--tls-ca", "token")], 5, "token: expected certificates in PEM"),
        (&with_token, vec![("--tls-ca", "missing")], 5, "missing: No such file"),
        (&"localhost:1".to_owned(), TLS.to_vec(), 5, "certificates are for TLS"),
    ] {
        let said = rig.run(server, &flags);
        assert_eq!(said.status, status, "{flags:?}: {said:?}");
        assert!(said.err.contains(why) && !said.err.contains(TOKEN), "{flags:?}: {said:?}");
    }
    let said = rig.run("beanstalks://site.0123456789abcdef@[::1", &TLS);
    assert_eq!(said.status, 5, "{said:?}");
    assert!(said.err.contains("in brackets") && !said.err.contains(TOKEN), "{said:?}");
    let mut help = Ctl::unled().command(&["--help"]);
    help.env("JQ_SERVER", &with_token);
    let said = run(help, b"");
    assert!(said.out.contains("JQ_SERVER") && !said.out.contains(TOKEN), "{said:?}");
}

/// A hash of the token that is quick to verify.
const HASH: &str =
    "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$iLJuQjyKkiH9/reG5RaU+vodK1tulH+1MEpFPUolfls";
const KNOWN: &str = "known.0123456789abcdef";

/// What is not allowed is said in words: which right is missing, or that there is no token.
#[test]
fn a_right_that_is_missing_is_named() {
    let folder = crate::support::folder::Folder::new();
    let (auth, token) = (folder.path().join("auth.toml"), folder.path().join("token"));
    let text = format!("[[principal]]\nname = \"known\"\ntokens = [\"{HASH}\"]\nput = [\"a\"]\n");
    fs::write(&auth, text).unwrap();
    restrict_to(&token, KNOWN);
    let server = Server::jq(&["--auth", auth.to_str().unwrap()]);
    let Endpoint::Tcp(address) = *server.endpoint() else { panic!("it has a port") };
    let flag = ["--token-file", token.to_str().unwrap(), "--yes"];
    let known = Ctl::to(&address.to_string()).with(&flag);
    known.ok(&["put", "a", "1"]);
    let dump = folder.path().join("jobs");
    let record = r#"{"tube":"b","priority":1,"delay":0,"ttr":60,"body":"x"}"#;
    fs::write(&dump, format!("{record}\n")).unwrap();
    let dump = dump.to_str().unwrap();
    let buried = folder.path().join("buried");
    let record = r#"{"tube":"a","state":"buried","priority":1,"delay":0,"ttr":60,"body":"x"}"#;
    fs::write(&buried, format!("{record}\n")).unwrap();
    let buried = buried.to_str().unwrap();
    for (args, right) in [
        (&["put", "b", "1"][..], "any right in the tube"),
        (&["tubes"], "the right \"peek\" in the tube"),
        (&["tube", "a"], "the right \"peek\" in the tube"),
        (&["jobs", "a"], "the right \"peek\" in the tube"),
        (&["job", "1"], "the right \"peek\" in the job's tube"),
        (&["peek", "a"], "the right \"peek\" in the tube that is used"),
        (&["reserve", "a"], "the right \"reserve\" in the tube"),
        (&["kick", "a", "--count", "1"], "the right \"kick\" in the tube that is used"),
        (&["kick", "--job", "1"], "the right \"kick\" in the job's tube"),
        (&["bury", "1"], "the right \"peek\" in the job's tube"),
        (&["delete", "1"], "the right \"delete\" in the job's tube"),
        (&["pause", "a", "1"], "the right \"pause\" in the tube"),
        (&["clear", "a"], "the right \""),
        (&["export", "a"], "the right \"peek\""),
        (&["import", dump], "any right in the tube"),
        (&["import", buried], "the right \"reserve\" in the job's tube"),
        (&["bench", "--tube", "a"], "the right \"peek\" in the tube"),
    ] {
        let said = known.run(args);
        assert_eq!(said.status, 1, "{args:?}: {said:?}");
        let told = format!(
            "it failed, or does not allow this: it takes the token or certificate of a principal with {right}"
        );
        let is_told = said.err.contains("INTERNAL_ERROR: ") && said.err.contains(&told);
        assert!(is_told && !said.err.contains("InternalError"), "{args:?}: {said:?}");
        // It was shown a token, so that is not what is missing.
        assert!(!said.err.contains("--token-file"), "{args:?}: {said:?}");
    }
    let nobody = Ctl::to(&address.to_string());
    for args in [&["tubes"][..], &["stats"], &["put", "a", "1"], &["delete", "1", "--yes"]] {
        let said = nobody.run(args);
        assert_eq!(said.status, 1, "{args:?}: {said:?}");
        assert!(said.err.contains("INTERNAL_ERROR: it failed, or does not "), "{args:?}: {said:?}");
        let hint = "; no token was shown: --token-file FILE has one\n";
        assert!(said.err.ends_with(hint), "{args:?}: {said:?}");
    }
}

/// TLS where there is none, and none where there is.
#[test]
fn the_other_kind_of_port_is_told() {
    let rig = Rig::new(&[]);
    let Endpoint::Tcp(address) = *rig.server.endpoint() else { panic!("it has a port") };
    let begun = std::time::Instant::now();
    let said = rig.run(&format!("beanstalks://localhost:{}", address.port()), &[]);
    assert_eq!(said.status, 6, "{said:?}");
    // Either it waits for the end of a line, or the random bytes of the handshake have had one.
    assert!(
        said.err.contains("ithout TLS it is") || said.err.contains("without TLS: it is"),
        "{said:?}"
    );
    assert!(
        said.err.contains(&format!("it is beanstalk://localhost:{}", address.port())),
        "{said:?}"
    );
    // No measurement: it is the time limit of commands.
    assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());

    let identity = rig.authority.sign("server", "localhost", Valid::Now);
    let (cert, key) = (identity.0.to_str().unwrap(), identity.1.to_str().unwrap());
    let flags = ["--listen", "tls://127.0.0.1:0", "--tls-cert", cert, "--tls-key", key];
    let server = Server::jq(&flags);
    crate::support::eventually("it listens", || server.output().contains("tls=true"));
    let output = server.output();
    let line = output.lines().find(|line| line.contains("tls=true")).unwrap();
    let port = line.split("127.0.0.1:").nth(1).unwrap().split('"').next().unwrap();
    for flags in [&[][..], &FILE] {
        let said = rig.run(&format!("127.0.0.1:{port}"), flags);
        assert_eq!(said.status, 6, "{said:?}");
        assert!(said.err.contains("it answered by TLS: it is beanstalks://HOST:PORT"), "{said:?}");
    }
}

/// Of a named server, with a folder of files.
fn config(rig: &Rig, more: &str) -> String {
    let text = format!(
        "default = 'secure'\n[servers.secure]\nserver = '{}'\ntls-ca = '{}'\n\
         tls-cert = '{}'\ntls-key = '{}'\n{more}\n",
        rig.gate.url(),
        rig.path("ca.pem"),
        rig.path("ctl.cert.pem"),
        rig.path("ctl.key.pem")
    );
    rig.write("ctl.toml", &text);
    rig.path("ctl.toml")
}

#[test]
fn a_named_server_has_its_files_and_they_are_for_no_other() {
    let rig = Rig::new(&[]);
    let file = config(&rig, &format!("token-file = '{}'", rig.path("token")));
    let stats = ["stats", "version", "--config", &file];
    assert_eq!(Ctl::unled().run(&stats).status, 0);
    // Neither the certificates nor the token of the named server count for this one.
    let other = Gate::with_token("127.0.0.1:1".parse().unwrap(), TOKEN);
    let said = Ctl::to(&other.url()).run(&stats);
    assert_eq!(said.status, 1, "{said:?}");
    assert!(
        said.err.contains("INTERNAL_ERROR: it failed, or does not know who this is"),
        "{said:?}"
    );
    assert!(said.err.ends_with("no token was shown: --token-file FILE has one\n"), "{said:?}");
    assert_eq!((other.let_in(), other.turned_away()), (0, 0));
    // The environment.
    let mut command = Ctl::unled().command(&["stats", "version"]);
    let [ca, cert, key] = ["ca.pem", "ctl.cert.pem", "ctl.key.pem"].map(|name| rig.path(name));
    command.env("JQ_SERVER", rig.gate.url()).env("JQ_TOKEN_FILE", rig.path("token"));
    command.env("JQ_TLS_CA", ca).env("JQ_TLS_CERT", cert).env("JQ_TLS_KEY", key);
    let said = run(command, b"");
    assert_eq!(said.status, 0, "{said:?}");
}

/// The API behind TLS, with a certificate asked for: by a gate, as any server may have it.
#[test]
fn the_api_is_reached_by_tls_with_its_own_token() {
    let tokens = crate::support::scratch_path("toml");
    let line = format!("[[token]]\nname = 'ctl'\nrole = 'operate'\ntoken = '{API_TOKEN}'\n");
    fs::write(&tokens, line).unwrap();
    restrict(&tokens);
    let flags = ["--http", "127.0.0.1:0", "--http-token-file", tokens.to_str().unwrap()];
    let mut rig = Rig::new(&flags);
    let api = crate::http::address(&mut rig.server);
    let identity = rig.authority.sign("api", "localhost", Valid::Now);
    let api = Gate::secure(api, identity, Some(rig.authority.file()));
    let url = format!("https://localhost:{}", api.port());
    let undrain = |flags: &[(&str, &str)]| {
        let flags = rig.flags(flags);
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        Ctl::to("127.0.0.1:1").with(&["--http", &url]).with(&flags).run(&["undrain"])
    };
    let tls = TLS.to_vec();
    let own = [&tls[..], &[("--token-file", "token"), ("--http-token-file", "api-token")]].concat();
    let said = undrain(&own);
    assert_eq!(said.status, 0, "{said:?}");
    assert_eq!(undrain(&[&tls[..], &[("--token-file", "api-token")]].concat()).status, 0);
    let said = undrain(&[&tls[..], &FILE].concat());
    assert!(said.status == 5 && !said.err.contains(TOKEN), "{said:?}");
    let said = undrain(&[("--token-file", "api-token"), TLS[0]]);
    assert!(said.status == 6 && said.err.contains("ertificate"), "{said:?}");
    let said = undrain(&[("--token-file", "api-token")]);
    assert!(
        said.status == 6 && said.err.contains("no secure connection (TLS) to https://localhost:")
    );
    assert!(
        said.err.contains("its certificate is signed by no authority that is trusted here"),
        "{said:?}"
    );
    // It is not shown to the queue, which would turn it away, and that is said.
    let flags = rig.flags(&[&tls[..], &[("--token-file", "api-token")]].concat());
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let said = Ctl::to(&rig.gate.url()).with(&["--http", &url]).with(&flags).run(&["stats"]);
    assert!(said.status == 1 && said.err.contains("INTERNAL_ERROR"), "{said:?}");
    assert!(said.err.contains("api-token is not NAME.SECRET"), "{said:?}");
    assert_eq!(rig.gate.turned_away(), 0);
    // Where it can be for nothing else, it is a mistake.
    for more in [&[][..], &[("--http-token-file", "api-token")]] {
        let flags = [&tls[..], &[("--token-file", "api-token")], more].concat();
        let said = rig.run(&rig.gate.url(), &flags);
        assert!(
            said.status == 5 && said.err.contains("api-token: expected a token of"),
            "{said:?}"
        );
        assert!(said.err.contains("NAME.SECRET") && !said.err.contains(API_TOKEN), "{said:?}");
    }
    assert_eq!(rig.gate.turned_away(), 0);
    fs::remove_file(&tokens).unwrap();
}

#[test]
fn a_file_that_everybody_can_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;

    let rig = Rig::new(&[]);
    let flags = [&TLS[..], &FILE].concat();
    for (file, what) in [("ctl.key.pem", "the private key"), ("token", "the token")] {
        restrict(Path::new(&rig.path("token")));
        restrict(Path::new(&rig.path("ctl.key.pem")));
        assert!(!rig.run(&rig.gate.url(), &flags).err.contains("every user"));
        let open = fs::Permissions::from_mode(0o644);
        fs::set_permissions(rig.path(file), open).unwrap();
        let said = rig.run(&rig.gate.url(), &flags);
        assert_eq!(said.status, 0, "{said:?}");
        assert!(
            said.err.contains(&format!("every user of this machine can read {what}")),
            "{said:?}"
        );
    }
}

/// A file with this secret in it.
fn restrict_to(path: &Path, secret: &str) {
    fs::write(path, secret).unwrap();
    restrict(path);
}

fn restrict(path: &Path) {
    use std::os::unix::fs::PermissionsExt;

    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}
