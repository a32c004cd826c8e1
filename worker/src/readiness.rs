//! Whether jobs are taken, and if not, why.
//!
//! The one table of reasons: `/readyz`, the page, the metrics and the log read it here. Whoever adds a
//! reason adds it to [`Reason`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tracing::{info, warn};

use crate::destinations::{Destinations, Place};
use crate::fault::Part;
use crate::health::Health;
use crate::room::Room;
use crate::servers::Servers;

/// How often the log is told what has changed.
const ANNOUNCE: Duration = Duration::from_millis(500);

/// A reason why no jobs, or not all, are taken.
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
    /// A job that ran when a worker died runs alone, or is about to.
    Alone,
    /// Something of this machine does not work.
    Fault {
        /// What.
        part: Part,
        /// Why.
        message: String,
        /// Whether no jobs at all are taken because of it.
        is_blocking: bool,
    },
    /// Too many results wait to be sent.
    Debt {
        /// Where most of them go, and how many to each.
        places: Vec<(Place, usize)>,
    },
    /// A destination of results is in trouble.
    Destination {
        /// Which.
        place: Place,
        /// How many results wait for it.
        unsent: usize,
        /// Why.
        message: String,
    },
}

impl Reason {
    /// The names of all reasons, as the metrics have them.
    pub const NAMES: [&str; 9] = [
        "draining",
        "held",
        "server",
        "alone",
        "state_directory",
        "processes",
        "handler",
        "debt",
        "destination",
    ];

    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Held => "held",
            Self::Unreachable { .. } => "server",
            Self::Alone => "alone",
            Self::Fault { part: Part::StateDirectory, .. } => "state_directory",
            Self::Fault { part: Part::Processes, .. } => "processes",
            Self::Fault { part: Part::Handler(_), .. } => "handler",
            Self::Debt { .. } => "debt",
            Self::Destination { .. } => "destination",
        }
    }

    /// Whether no jobs are taken because of it. Otherwise those of some kind are not.
    pub fn is_blocking(&self) -> bool {
        match self {
            Self::Draining
            | Self::Held
            | Self::Unreachable { .. }
            | Self::Alone
            | Self::Debt { .. } => true,
            Self::Destination { .. } => false,
            Self::Fault { is_blocking, .. } => *is_blocking,
        }
    }

    /// What is said when it is over. `None`: whoever brought it about has logged it.
    fn end(&self) -> Option<String> {
        match self {
            Self::Draining | Self::Held | Self::Unreachable { .. } | Self::Destination { .. } => {
                None
            }
            Self::Alone => Some("other jobs are taken again".to_owned()),
            Self::Fault { part, .. } => Some(format!("{part} works again")),
            Self::Debt { .. } => Some("fewer results wait to be sent".to_owned()),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Draining => write!(f, "it is about to exit"),
            Self::Held => write!(f, "it holds: no jobs are taken"),
            Self::Unreachable { server, error } => {
                write!(f, "{server}: {}", error.as_deref().unwrap_or("not connected yet"))
            }
            Self::Alone => {
                write!(f, "a job that ran when a worker died is run while nothing else runs")
            }
            Self::Debt { places } => {
                write!(f, "too many results wait to be sent:")?;
                for (number, (place, count)) in places.iter().enumerate() {
                    let comma = if number > 0 { "," } else { "" };
                    write!(f, "{comma} {count} to {}", place.as_str())?;
                }
                Ok(())
            }
            Self::Destination { place, unsent, message } => {
                let place = place.as_str();
                write!(f, "nothing can be sent to {place}, and {unsent} results wait: {message}")
            }
            Self::Fault { part, message, .. } => {
                write!(f, "{part} does not work and will be tried again: {message}")
            }
        }
    }
}

/// What decides whether jobs are taken.
#[derive(Debug, Clone)]
pub struct Readiness {
    /// What an operator wants.
    pub room: Arc<Room>,
    /// Where jobs come from.
    pub servers: Arc<Servers>,
    /// What of this machine works.
    pub health: Arc<Health>,
    /// Where results go.
    pub destinations: Arc<Destinations>,
}

impl Readiness {
    /// All reasons why no jobs, or not all, are taken. If none of them is
    /// [blocking](Reason::is_blocking), jobs are taken.
    pub fn reasons(&self) -> Vec<Reason> {
        let mut reasons = operation(&self.room, &self.servers);
        if self.room.is_for_one() {
            reasons.push(Reason::Alone);
        }
        let is_off = self.health.is_blocking();
        let troubles = self.health.troubles().into_iter();
        reasons.extend(troubles.map(|(part, message)| {
            let is_blocking = is_off || !matches!(part, Part::Handler(_));
            Reason::Fault { part, message, is_blocking }
        }));
        if self.room.is_in_debt() {
            reasons.push(Reason::Debt { places: self.destinations.owing() });
        }
        let troubles = self.destinations.troubles().into_iter();
        reasons.extend(troubles.map(|(place, unsent, message)| Reason::Destination {
            place,
            unsent,
            message,
        }));
        reasons
    }

    /// Logs each reason once when it begins and once when it is over, as long as it is polled.
    pub async fn announce(self) {
        let mut known: Vec<(&'static str, String)> = Vec::new();
        loop {
            let reasons = self.reasons();
            let mut now = Vec::new();
            for reason in &reasons {
                let Some(end) = reason.end() else { continue };
                let key = (reason.name(), end);
                if !known.contains(&key) {
                    let scope = if reason.is_blocking() { "no jobs" } else { "not all jobs" };
                    warn!(reason = reason.name(), "taking {scope}: {reason}");
                }
                now.push(key);
            }
            for (reason, end) in known.iter().filter(|key| !now.contains(key)) {
                info!(reason, "over: {end}");
            }
            known = now;
            sleep(ANNOUNCE).await;
        }
    }
}

/// The reasons that lie with operators and servers.
fn operation(room: &Room, servers: &Servers) -> Vec<Reason> {
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
    use jq_client::{Connection, Job, JobId};

    use super::*;
    use crate::metrics::Metrics;
    use crate::parked::Candidate;
    use crate::room::Permit;
    use crate::source::{Source, Taker};

    #[derive(Clone)]
    struct Nobody;

    impl Taker for Nobody {
        fn take(&self, _: Arc<Source>, _: Connection, _: Job, _: Permit) {}

        fn take_all(&self, _: Arc<Source>, _: Connection, _: Vec<Job>, _: Vec<Permit>) {}

        fn may_share(&self) -> bool {
            false
        }

        fn is_selective(&self, _: &Arc<Source>) -> bool {
            false
        }

        fn wants_any(&self) -> bool {
            true
        }

        fn begin_look(&self, _: &Arc<Source>) {}

        fn choose(&self, _: &Arc<Source>, _: JobId, _: &[u8]) -> (Candidate, bool) {
            unreachable!("there is no job")
        }

        fn may_set_aside(&self, _: &Candidate) -> bool {
            false
        }

        fn note_set_aside(&self, _: &Arc<Source>, _: JobId) -> u32 {
            0
        }

        fn end_look(&self, _: &Arc<Source>, _: Vec<Candidate>, _: bool) {}

        fn known(&self, _: &Arc<Source>) -> usize {
            0
        }

        fn has_runnable(&self, _: &Arc<Source>) -> bool {
            false
        }
    }

    const DOCS: &str = include_str!("../../docs/worker.md");

    #[test]
    fn each_reason_has_a_name_that_the_manual_lists() {
        let place = Place::of(&"http://a.example/x".parse().unwrap());
        let fault = |part| Reason::Fault { part, message: "why".into(), is_blocking: false };
        let all = [
            Reason::Draining,
            Reason::Held,
            Reason::Unreachable { server: "s:1".into(), error: None },
            Reason::Alone,
            fault(Part::StateDirectory),
            fault(Part::Processes),
            fault(Part::Handler(None)),
            Reason::Debt { places: vec![(place.clone(), 7), (place.clone(), 1)] },
            Reason::Destination { place, unsent: 7, message: "why".into() },
        ];
        let debt = "too many results wait to be sent: 7 to http://a.example, 1 to http://a.example";
        assert_eq!(all[7].to_string(), debt);
        assert_eq!(all.each_ref().map(Reason::name), Reason::NAMES);
        for name in Reason::NAMES {
            assert!(DOCS.contains(&format!("`{name}`")), "{name}");
        }
        assert!(all[0].is_blocking() && all[3].is_blocking() && !all[6].is_blocking());
    }

    #[tokio::test]
    async fn each_reason_in_words() {
        let (room, servers) = (Arc::new(Room::new(1, 1)), Servers::default());
        assert!(operation(&room, &servers).is_empty());
        room.set_held(true);
        assert_eq!(operation(&room, &servers), [Reason::Held]);
        room.close();
        assert_eq!(operation(&room, &servers), [Reason::Draining]);
        // Nothing listens at port 1, and nobody has tried it at first.
        let address: jq_client::Address = "127.0.0.1:1".parse().unwrap();
        let (metrics, idle) = (Arc::new(Metrics::default()), std::time::Duration::from_secs(60));
        servers.fetch_from([address.into()].into_iter(), &[], &room, &metrics, idle, Nobody);
        let said =
            || operation(&room, &servers).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(said(), ["it is about to exit", "127.0.0.1:1: not connected yet"]);
        servers.all()[0].connection().await.unwrap_err();
        let said = said();
        assert!(said[1].starts_with("127.0.0.1:1: ") && !said[1].contains("not connected yet"));
    }
}
