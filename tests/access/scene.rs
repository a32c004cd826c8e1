//! A server with a file of principals, and connections that act for them.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use nix::unistd::geteuid;

use crate::support::{Conn, Endpoint, Server, eventually, scratch_path};

/// A token of "known", and a hash of it that is quick to verify.
pub(crate) const TOKEN: &str = "known.0123456789abcdef";
pub(crate) const HASH: &str =
    "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$iLJuQjyKkiH9/reG5RaU+vodK1tulH+1MEpFPUolfls";

/// The server, its file, and where each principal connects.
pub(crate) struct Scene {
    pub(crate) server: Server,
    file: PathBuf,
    /// For each principal that was asked for; the last is for those who do not say who they are.
    addresses: Vec<(String, SocketAddr)>,
}

impl Scene {
    /// A server with a principal "operator", which this process is on its Unix socket, and these. The
    /// listeners are for those of `names`, and one for nobody.
    pub(crate) fn start(principals: &str, names: &[&str], flags: &[&str]) -> Self {
        let file = scratch_path("toml");
        write(&file, principals);
        let mut args = vec!["--auth".to_owned(), file.display().to_string()];
        let as_names = names.iter().map(|name| format!("tcp://127.0.0.1:0?as={name}"));
        for url in as_names.chain(["tcp://127.0.0.1:0".to_owned()]) {
            args.extend(["--listen".to_owned(), url]);
        }
        args.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let server = Server::jq_unix(&args);
        let output = server.output();
        let addresses = output.lines().filter_map(address).collect();
        Self { server, file, addresses }
    }

    /// A connection that acts for this principal.
    pub(crate) fn act_as(&self, name: &str) -> Conn {
        let at = self.addresses.iter().find(|(acts_as, _)| acts_as == name);
        let (_, address) = at.unwrap_or_else(|| panic!("{name} in {:?}", self.addresses));
        Conn::open(&Endpoint::Tcp(*address)).expect("the server accepts")
    }

    /// A connection that does not say who it acts for.
    pub(crate) fn stranger(&self) -> Conn {
        self.act_as("")
    }

    /// A connection that may do everything.
    pub(crate) fn operator(&self) -> Conn {
        self.server.connect()
    }

    /// Writes the file, which the server does not notice.
    pub(crate) fn write(&self, principals: &str) {
        write(&self.file, principals);
    }

    /// Has the server read these principals instead.
    pub(crate) fn reload(&self, principals: &str) {
        self.write(principals);
        let said = "the file of --auth was read again";
        let before = self.server.output().matches(said).count();
        self.server.signal(Signal::SIGHUP);
        eventually(said, || self.server.output().matches(said).count() > before);
    }

    /// A value of the operator's `stats`.
    pub(crate) fn stat(&self, key: &str) -> u64 {
        let stats = self.operator().ask("stats");
        let value = stats.value(key).unwrap_or_else(|| panic!("{key} in {stats}"));
        value.parse().expect("it is a number")
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

fn write(file: &PathBuf, principals: &str) {
    let operator = format!(
        "[[principal]]\nname = \"operator\"\nuids = [{}]\noperate = true\n{principals}",
        geteuid().as_raw()
    );
    fs::write(file, operator).expect("the temporary folder is writable");
}

/// The principal and the address of a listener, in a line of the log.
fn address(line: &str) -> Option<(String, SocketAddr)> {
    let rest = line.split_once("listening address=\"127.0.0.1:")?.1;
    let (port, rest) = rest.split_once('"')?;
    let name = rest.split_once("acts_as=\"").map_or("", |(_, name)| name.trim_end_matches('"'));
    Some((name.to_owned(), format!("127.0.0.1:{port}").parse().ok()?))
}
