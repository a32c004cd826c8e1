//! The value of `--listen`.

use std::str::FromStr;
use std::sync::Arc;

use super::{
    ClientCertificate, ListenAddress, ListenTls, ListenerConfig, Service, SocketFileAccess,
};

/// `tcp://ADDR:PORT`, `tls://ADDR:PORT` or `unix:PATH`, with options: `?NAME=VALUE&NAME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListenUrl(pub(super) ListenerConfig);

/// The kinds of listeners, by the beginning of the URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tcp,
    Tls,
    Unix,
}

impl Kind {
    /// The options that it has, for people.
    fn options(self) -> &'static str {
        match self {
            Self::Tcp => "as",
            Self::Tls => "as, client-cert",
            Self::Unix => "as, mode, group",
        }
    }
}

impl FromStr for ListenUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A path may have a question mark of its own, but not one that an option follows.
        let (place, options) = text.split_once('?').unwrap_or((text, ""));
        let (kind, address) = if let Some(address) = place.strip_prefix("tcp://") {
            (Kind::Tcp, address.parse::<ListenAddress>()?)
        } else if let Some(address) = place.strip_prefix("tls://") {
            (Kind::Tls, address.parse::<ListenAddress>()?)
        } else if place.starts_with("unix:") {
            (Kind::Unix, place.parse::<ListenAddress>()?)
        } else {
            return Err("expected tcp://ADDR:PORT, tls://ADDR:PORT or unix:PATH".to_owned());
        };
        if kind != Kind::Unix && matches!(address, ListenAddress::Unix(_)) {
            return Err("expected ADDR:PORT after the two slashes".to_owned());
        }
        let mut config = ListenerConfig::plain(address, Service::Protocol);
        if kind == Kind::Tls {
            config.tls = Some(ListenTls { client_certificate: None });
        }
        let mut seen = Vec::new();
        for option in options.split('&').filter(|_| !options.is_empty()) {
            let (name, value) = option
                .split_once('=')
                .ok_or_else(|| format!("{option}: expected NAME=VALUE after the question mark"))?;
            if seen.contains(&name) {
                return Err(format!("{name} is there twice"));
            }
            seen.push(name);
            set(&mut config, kind, name, value)?;
        }
        Ok(Self(config))
    }
}

fn set(config: &mut ListenerConfig, kind: Kind, name: &str, value: &str) -> Result<(), String> {
    let SocketFileAccess { mode, group } = &mut config.file;
    match (name, kind) {
        ("as", _) if value.is_empty() => return Err("as: expected the name of a principal".into()),
        ("as", _) => config.acts_as = Some(Arc::from(value)),
        ("client-cert", Kind::Tls) => {
            let client_certificate = match value {
                "required" => ClientCertificate::Required,
                "optional" => ClientCertificate::Optional,
                _ => return Err(format!("client-cert={value}: expected required or optional")),
            };
            config.tls = Some(ListenTls { client_certificate: Some(client_certificate) });
        }
        ("mode", Kind::Unix) => {
            let digits =
                (3..=4).contains(&value.len()) && value.bytes().all(|it| it.is_ascii_digit());
            let bits = u32::from_str_radix(value, 8).ok().filter(|bits| digits && *bits <= 0o777);
            let expected = || format!("mode={value}: expected three octal digits such as 660");
            *mode = Some(bits.ok_or_else(expected)?);
        }
        ("group", Kind::Unix) if value.is_empty() => {
            return Err("group: expected the name of a group".into());
        }
        ("group", Kind::Unix) => *group = Some(value.to_owned()),
        _ => return Err(format!("{name}: expected one of these options: {}", kind.options())),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ListenerConfig, String> {
        text.parse::<ListenUrl>().map(|url| url.0)
    }

    #[test]
    fn what_there_is_to_say() {
        let tcp = |host: &str, port| ListenAddress::Tcp(host.to_owned(), port);
        let plain = |address| ListenerConfig::plain(address, Service::Protocol);
        assert_eq!(parse("tcp://127.0.0.1:0"), Ok(plain(tcp("127.0.0.1", 0))));
        let legacy = ListenerConfig { acts_as: Some("legacy".into()), ..plain(tcp("::1", 11300)) };
        assert_eq!(parse("tcp://[::1]:11300?as=legacy"), Ok(legacy));
        let tls = |client_certificate| ListenerConfig {
            tls: Some(ListenTls { client_certificate }),
            ..plain(tcp("queue.example", 11301))
        };
        assert_eq!(parse("tls://queue.example:11301"), Ok(tls(None)));
        let required = Some(ClientCertificate::Required);
        assert_eq!(parse("tls://queue.example:11301?client-cert=required"), Ok(tls(required)));
        let optional = Some(ClientCertificate::Optional);
        assert_eq!(parse("tls://queue.example:11301?client-cert=optional"), Ok(tls(optional)));
        let unix = plain(ListenAddress::Unix("/run/q.sock".into()));
        assert_eq!(parse("unix:/run/q.sock"), Ok(unix.clone()));
        let file = SocketFileAccess { mode: Some(0o660), group: Some("www-data".into()) };
        let unix = ListenerConfig { file, acts_as: Some("a".into()), ..unix };
        assert_eq!(parse("unix:/run/q.sock?mode=0660&group=www-data&as=a"), Ok(unix));
    }

    #[test]
    fn mistakes_say_what_was_expected() {
        for (text, told) in [
            ("", "expected tcp://"),
            ("127.0.0.1:1", "expected tcp://"),
            ("http://127.0.0.1:1", "expected tcp://"),
            ("tcp://127.0.0.1", "expected HOST:PORT"),
            ("tcp://unix:/x", "expected ADDR:PORT"),
            ("tls://h:70000", "0 to 65535"),
            ("unix:", "unix:PATH"),
            ("tcp://h:1?as", "as: expected NAME=VALUE"),
            ("tcp://h:1?as=", "expected the name of a principal"),
            ("tcp://h:1?as=a&as=b", "as is there twice"),
            ("tcp://h:1?mode=660", "mode: expected one of these options: as"),
            ("tcp://h:1?client-cert=optional", "these options: as"),
            ("tls://h:1?client-cert=no", "required or optional"),
            ("tls://h:1?group=x", "these options: as, client-cert"),
            ("unix:/x?mode=rw", "three octal digits"),
            ("unix:/x?mode=888", "three octal digits"),
            ("unix:/x?mode=+66", "three octal digits"),
            ("unix:/x?mode=1777", "three octal digits"),
            ("unix:/x?group=", "the name of a group"),
            ("unix:/x?client-cert=optional", "these options: as, mode, group"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
