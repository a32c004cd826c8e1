//! Whether jobs are taken, and if not, why.
//!
//! The one list of reasons: `/readyz`, the page and whatever else says it reads them here.

use std::fmt;

use crate::room::Room;
use crate::servers::Servers;

/// A reason why no jobs are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The worker stops.
    Draining,
    /// An operator has said so.
    Held,
    /// This server cannot be reached, nor any other.
    Unreachable {
        /// As configured.
        server: String,
        /// Why. `None`: it was not tried yet.
        error: Option<String>,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Draining => write!(f, "it is about to exit"),
            Self::Held => write!(f, "it holds: no jobs are taken"),
            Self::Unreachable { server, error } => {
                write!(f, "{server}: {}", error.as_deref().unwrap_or("not connected yet"))
            }
        }
    }
}

/// All reasons why no jobs are taken. Empty: they are.
pub fn reasons(room: &Room, servers: &Servers) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if room.is_closed() {
        reasons.push(Reason::Draining);
    } else if room.is_held() {
        reasons.push(Reason::Held);
    }
    let links: Vec<_> =
        servers.all().iter().map(|source| (source.name().to_owned(), source.link())).collect();
    if !links.iter().any(|(_, link)| link.connected) {
        let unreachable = |(server, link): (_, crate::source::Link)| Reason::Unreachable {
            server,
            error: link.error,
        };
        reasons.extend(links.into_iter().map(unreachable));
    }
    reasons
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::metrics::Metrics;

    #[tokio::test]
    async fn each_reason_in_words() {
        let (room, servers) = (Arc::new(Room::new(1, 1)), Servers::default());
        assert!(reasons(&room, &servers).is_empty());
        room.set_held(true);
        assert_eq!(reasons(&room, &servers), [Reason::Held]);
        room.close();
        assert_eq!(reasons(&room, &servers), [Reason::Draining]);
        // Nothing listens at port 1, and nobody has tried it at first.
        let address = "127.0.0.1:1".parse().unwrap();
        servers.fetch_from(&[address], &[], &room, &Arc::new(Metrics::default()), |_, _, _, _| {});
        let said = || reasons(&room, &servers).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(said(), ["it is about to exit", "127.0.0.1:1: not connected yet"]);
        servers.all()[0].connection().await.unwrap_err();
        let said = said();
        assert!(said[1].starts_with("127.0.0.1:1: ") && !said[1].contains("not connected yet"));
    }
}
