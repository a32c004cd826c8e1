//! How the command line names a server.

use std::{
    ffi::OsStr,
    fmt,
    net::{SocketAddr, ToSocketAddrs},
    str::FromStr,
};

use clap::{builder::TypedValueParser, error::ErrorKind};

/// What marks a server that speaks redis' protocol, in front of its name.
const REDIS: &str = "redis:";
/// What marks a server that is connected to by TLS.
const TLS: &str = "tls:";

/// A server as the command line names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spec {
    pub(crate) name: String,
    pub(crate) dialect: Dialect,
    pub(crate) target: Target,
    /// By TLS, and for which host its certificate must be; empty: localhost.
    pub(crate) tls: Option<String>,
}

/// Reads a flag as a [`Spec`]. Other parsers have clap show a value that is wrong, with a token in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpecParser;

impl TypedValueParser for SpecParser {
    type Value = Spec;

    fn parse_ref(
        &self,
        command: &clap::Command,
        _: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Spec, clap::Error> {
        value.to_string_lossy().parse().map_err(|error| {
            let text = format!("invalid value for '--server <NAME=SERVER>': {error}\n");
            clap::Error::raw(ErrorKind::ValueValidation, text).with_cmd(command)
        })
    }
}

/// What a server understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// beanstalkd's protocol, and it is a queue.
    Queue,
    /// The commands of a load in the same protocol, answered by constants.
    Echo,
    /// redis' protocol: a list is the queue.
    Redis,
}

/// How to get at a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Words of a command with `{port}` and `{dir}` in them.
    Command(Vec<String>),
    /// The one built in.
    Echo,
    /// It is running; its process may be known, and the token that it is shown.
    Running { addr: SocketAddr, pid: Option<u32>, token: Option<Secret> },
}

/// Stands for a free port in a command.
pub(crate) const PORT: &str = "{port}";
/// Stands for a directory in a command.
pub(crate) const DIR: &str = "{dir}";

/// A token, which is not shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Target {
    /// Whether the server was told where to keep files.
    pub(crate) fn has_directory(&self) -> bool {
        matches!(self, Self::Command(words) if words.iter().any(|word| word.contains(DIR)))
    }
}

impl FromStr for Spec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, server) = text.split_once('=').ok_or("expected NAME=SERVER")?;
        let (name, mut tls) = match name.strip_prefix(TLS) {
            Some(name) => (name, Some(String::new())),
            None => (name, None),
        };
        let (name, mut dialect) = match name.strip_prefix(REDIS) {
            Some(name) => (name, Dialect::Redis),
            None => (name, Dialect::Queue),
        };
        if name.is_empty() {
            return Err("expected a name before '='".to_owned());
        }
        let target = if server == "builtin:echo" {
            if dialect == Dialect::Redis {
                return Err("builtin:echo does not speak the redis protocol".to_owned());
            }
            dialect = Dialect::Echo;
            Target::Echo
        } else if let Some(address) = server.strip_prefix("addr:") {
            let (target, host) = running(address)?;
            tls = host.or(tls);
            target
        } else {
            let words: Vec<_> = server.split_ascii_whitespace().map(str::to_owned).collect();
            if !words.iter().any(|word| word.contains(PORT)) {
                return Err("the command must contain {port}".to_owned());
            }
            Target::Command(words)
        };
        Ok(Self { name: name.to_owned(), dialect, target, tls })
    }
}

/// `HOST:PORT`, or a URL with that, and perhaps `@PID`. With the host, if it is by TLS.
fn running(text: &str) -> Result<(Target, Option<String>), String> {
    let (is_tls, rest) = match text.split_once("://") {
        Some(("beanstalks", rest)) => (true, rest),
        Some(("beanstalk", rest)) => (false, rest),
        Some(_) => return Err("expected beanstalk:// or beanstalks://".to_owned()),
        None => (false, text),
    };
    // Only a URL may have a token, and so an @ without a number behind it.
    let is_url = rest.len() < text.len();
    let is_pid = |it: &str| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_digit());
    let (rest, pid) = match rest.rsplit_once('@') {
        Some((rest, pid)) if is_pid(pid) || !is_url => {
            let number = pid.parse().map_err(|_| format!("'{pid}' is not a process id"))?;
            (rest, Some(number))
        }
        _ => (rest, None),
    };
    let (token, place) = match rest.rsplit_once('@') {
        Some((token, place)) => (Some(Secret(token.to_owned())), place),
        None => (None, rest),
    };
    let mut found = place.to_socket_addrs().map_err(|e| format!("{place}: {e}"))?;
    let addr = found.next().ok_or_else(|| format!("{place}: no address"))?;
    let host = place.rsplit_once(':').map_or(place, |(host, _)| host);
    let host = host.trim_matches(['[', ']']).to_owned();
    Ok((Target::Running { addr, pid, token }, is_tls.then_some(host)))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn specs() {
        let target = |text: &str| text.parse::<Spec>().map(|spec| spec.target);
        assert_eq!(target("e=builtin:echo"), Ok(Target::Echo));
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let running = |pid, token: Option<&str>| {
            let token = token.map(|token| Secret(token.to_owned()));
            Ok(Target::Running { addr: local(7), pid, token })
        };
        assert_eq!(target("a=addr:127.0.0.1:7"), running(None, None));
        assert_eq!(target("a=addr:127.0.0.1:7@42"), running(Some(42), None));
        assert_eq!(target("a=addr:beanstalk://127.0.0.1:7"), running(None, None));
        assert_eq!(target("a=addr:beanstalks://t.k@127.0.0.1:7"), running(None, Some("t.k")));
        assert_eq!(target("a=addr:beanstalks://t@127.0.0.1:7@4"), running(Some(4), Some("t")));
        let words = ["x", "-o", "a=b", "-p{port}"].map(str::to_owned).to_vec();
        assert_eq!(target("a=x  -o a=b -p{port}"), Ok(Target::Command(words)));
        for wrong in [
            "x {port}",
            "=x {port}",
            "a=x",
            "a=addr:nowhere",
            "a=addr:127.0.0.1:7@x",
            "a=addr:http://127.0.0.1:7",
            "a=addr:beanstalk://127.0.0.1",
            "redis:=x {port}",
            "redis:a=builtin:echo",
        ] {
            assert!(target(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_dialect_is_in_front_of_the_name() {
        for (text, name, dialect) in [
            ("a=x {port}", "a", Dialect::Queue),
            ("redis:a=x {port}", "a", Dialect::Redis),
            ("redis=x {port}", "redis", Dialect::Queue),
            ("redis:b=addr:127.0.0.1:7", "b", Dialect::Redis),
            ("c=builtin:echo", "c", Dialect::Echo),
        ] {
            let spec: Spec = text.parse().unwrap();
            assert_eq!((&*spec.name, spec.dialect), (name, dialect), "{text}");
        }
    }

    #[test]
    fn by_tls_or_not() {
        for (text, tls) in [
            ("a=x {port}", None),
            ("tls:a=x {port}", Some("")),
            ("a=addr:127.0.0.1:7", None),
            ("tls:a=addr:127.0.0.1:7", Some("")),
            ("a=addr:beanstalk://127.0.0.1:7", None),
            ("a=addr:beanstalks://localhost:7@4", Some("localhost")),
            ("a=addr:beanstalks://t@[::1]:7", Some("::1")),
        ] {
            let spec: Spec = text.parse().unwrap();
            assert_eq!((&*spec.name, spec.tls.as_deref()), ("a", tls), "{text}");
        }
    }

    #[test]
    fn a_directory_is_known_from_the_command() {
        let has = |text: &str| text.parse::<Spec>().unwrap().target.has_directory();
        assert!(has("a=x -p {port} -b {dir}"));
        assert!(!has("a=x -p {port}"));
        assert!(!has("a=builtin:echo"));
    }
}
