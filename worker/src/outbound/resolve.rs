//! Resolving names to addresses, for connections to other machines.
//!
//! Connections go to the very addresses that are returned here, so a name that resolves differently
//! a moment later cannot bypass the check.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::policy::{Reach, Refused, UrlPolicy};

/// The system's resolver, with the policy applied to every address.
#[derive(Debug)]
pub(super) struct Resolver {
    pub(super) reach: Reach,
}

/// Why there is no address to connect to.
#[derive(Debug)]
pub(super) enum ResolveError {
    /// The resolver failed.
    Failed(io::Error),
    /// The name exists, but has no address.
    NoAddress,
    /// It has addresses, all of which are refused.
    Refused(Refused),
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => write!(f, "{error}"),
            Self::NoAddress => f.write_str("the name has no address"),
            Self::Refused(refused) => write!(f, "{refused}"),
        }
    }
}

impl std::error::Error for ResolveError {}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.reach;
        Box::pin(async move {
            // The caller fills in the port.
            let found = tokio::net::lookup_host((name.as_str(), 0))
                .await
                .map_err(ResolveError::Failed)?
                .collect();
            Ok(Box::new(select(found, reach)?.into_iter()) as Addrs)
        })
    }
}

/// The resolved addresses that may be connected to. If a name has both public and other addresses,
/// only the public ones are used.
fn select(found: Vec<SocketAddr>, reach: Reach) -> Result<Vec<SocketAddr>, ResolveError> {
    if found.is_empty() {
        return Err(ResolveError::NoAddress);
    }
    if reach == Reach::Anywhere {
        return Ok(found);
    }
    let mut refused = None;
    let mut allowed = Vec::with_capacity(found.len());
    for address in found {
        match UrlPolicy::check_address(address.ip()) {
            Ok(()) => allowed.push(address),
            Err(why) => refused = refused.or(Some(why)),
        }
    }
    match refused {
        Some(why) if allowed.is_empty() => Err(ResolveError::Refused(why)),
        _ => Ok(allowed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 0)).collect()
    }

    #[test]
    fn only_public_addresses_are_connected_to() {
        let found = addresses(&["127.0.0.1", "8.8.8.8", "fd00::1", "2606:4700::1111"]);
        let selected = select(found.clone(), Reach::Public).unwrap();
        assert_eq!(selected, addresses(&["8.8.8.8", "2606:4700::1111"]));
        assert_eq!(select(found.clone(), Reach::Anywhere).unwrap(), found);
    }

    #[test]
    fn a_name_with_no_public_address_is_refused_and_one_without_any_is_not_found() {
        let error = select(addresses(&["10.0.0.1", "::1"]), Reach::Public).unwrap_err();
        assert!(
            matches!(
                error,
                ResolveError::Refused(Refused::NotPublic { kind: "a private address", .. })
            ),
            "{error:?}"
        );
        for reach in [Reach::Public, Reach::Anywhere] {
            assert!(matches!(select(Vec::new(), reach), Err(ResolveError::NoAddress)));
        }
    }

    #[tokio::test]
    async fn localhost_is_refused_by_the_system_s_own_answer() {
        let name = || "localhost".parse().unwrap();
        let Err(error) = (Resolver { reach: Reach::Public }).resolve(name()).await else {
            panic!("localhost passed");
        };
        assert!(
            matches!(error.downcast_ref(), Some(ResolveError::Refused(_))),
            "{error:?} is not a refusal"
        );
        let mut found = Resolver { reach: Reach::Anywhere }.resolve(name()).await.unwrap();
        assert!(found.all(|address| address.ip().is_loopback()));
    }
}
