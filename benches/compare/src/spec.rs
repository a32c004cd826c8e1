//! How the command line names a server.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    str::FromStr,
};

/// What marks a server that speaks redis' protocol, in front of its name.
const REDIS: &str = "redis:";

/// A server as the command line names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spec {
    pub(crate) name: String,
    pub(crate) dialect: Dialect,
    pub(crate) target: Target,
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
    /// It is running; its process may be known.
    Running(SocketAddr, Option<u32>),
}

/// Stands for a free port in a command.
pub(crate) const PORT: &str = "{port}";
/// Stands for a directory in a command.
pub(crate) const DIR: &str = "{dir}";

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
            let (address, pid) = match address.split_once('@') {
                Some((address, pid)) => (
                    address,
                    Some(pid.parse().map_err(|_| format!("'{pid}' is not a process id"))?),
                ),
                None => (address, None),
            };
            let mut found = address.to_socket_addrs().map_err(|e| format!("{address}: {e}"))?;
            Target::Running(found.next().ok_or_else(|| format!("{address}: no address"))?, pid)
        } else {
            let words: Vec<_> = server.split_ascii_whitespace().map(str::to_owned).collect();
            if !words.iter().any(|word| word.contains(PORT)) {
                return Err("the command must contain {port}".to_owned());
            }
            Target::Command(words)
        };
        Ok(Self { name: name.to_owned(), dialect, target })
    }
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
        assert_eq!(target("a=addr:127.0.0.1:7"), Ok(Target::Running(local(7), None)));
        assert_eq!(target("a=addr:127.0.0.1:7@42"), Ok(Target::Running(local(7), Some(42))));
        let words = ["x", "-o", "a=b", "-p{port}"].map(str::to_owned).to_vec();
        assert_eq!(target("a=x  -o a=b -p{port}"), Ok(Target::Command(words)));
        for wrong in [
            "x {port}",
            "=x {port}",
            "a=x",
            "a=addr:nowhere",
            "a=addr:127.0.0.1:7@x",
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
    fn a_directory_is_known_from_the_command() {
        let has = |text: &str| text.parse::<Spec>().unwrap().target.has_directory();
        assert!(has("a=x -p {port} -b {dir}"));
        assert!(!has("a=x -p {port}"));
        assert!(!has("a=builtin:echo"));
    }
}
