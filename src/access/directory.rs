//! What a file of `--auth` says: who there is, and by what each is known.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::principal::{Limits, Principal};
use super::token::{CannotHash, Hash, Memory, claimed_name};

/// All principals.
#[derive(Debug, Default)]
pub struct Directory {
    /// Which reading of the file it is, counted from 1.
    pub(super) generation: u64,
    pub(super) entries: Vec<Entry>,
    pub(super) by_name: HashMap<Arc<str>, usize>,
    pub(super) by_certificate: HashMap<Arc<str>, usize>,
    pub(super) by_uid: HashMap<u32, usize>,
    pub(super) per_address: Limits,
    /// Those entries that have tokens.
    pub(super) with_tokens: Vec<usize>,
}

/// A principal, and its tokens.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) principal: Arc<Principal>,
    pub(super) tokens: Vec<Hash>,
}

/// Who a connection acts for, and what showed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Who.
    pub principal: Arc<Principal>,
    /// What showed it.
    pub source: Source,
}

/// What shows who a connection acts for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A token: the one with this hash.
    Token(Arc<str>),
    /// A certificate, by this identity in it.
    Certificate(Arc<str>),
    /// The user at the other end of a Unix socket.
    Uid(u32),
    /// The listener, which names the principal.
    Listener,
}

impl Directory {
    /// Which reading of the file it is: each gets a greater number.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What each client address may have at most.
    pub fn limits_per_address(&self) -> Limits {
        self.per_address
    }

    /// All principals, in the order of the file.
    pub fn principals(&self) -> impl Iterator<Item = &Arc<Principal>> {
        self.entries.iter().map(|entry| &entry.principal)
    }

    /// The principal of this name, for a listener that names it.
    pub fn by_name(&self, name: &str) -> Option<Identity> {
        let at = *self.by_name.get(name)?;
        Some(self.identity(at, Source::Listener))
    }

    /// The principal that a user of this system acts for.
    pub fn by_uid(&self, uid: u32) -> Option<Identity> {
        let at = *self.by_uid.get(&uid)?;
        Some(self.identity(at, Source::Uid(uid)))
    }

    /// The principal that a verified certificate is for. `identities` are those in it: `CN=site`,
    /// `DNS:site.example`, `URI:spiffe://x/site`, `IP:10.0.0.7` or `EMAIL:a@site.example`. A certificate
    /// that is for several principals is for none.
    pub fn by_certificate<S: AsRef<str>>(
        &self,
        identities: impl IntoIterator<Item = S>,
    ) -> Option<Identity> {
        let mut found: Option<(usize, Arc<str>)> = None;
        for identity in identities {
            let Some(identity) = canonical(identity.as_ref()) else { continue };
            let Some((identity, at)) = self.by_certificate.get_key_value(&*identity) else {
                continue;
            };
            match &found {
                None => found = Some((*at, Arc::clone(identity))),
                Some((other, _)) if other != at => return None,
                Some(_) => {}
            }
        }
        let (at, identity) = found?;
        Some(self.identity(at, Source::Certificate(identity)))
    }

    /// The same identity in this directory, after another: with the rights that it has now. `None` if what
    /// showed it is not that principal's any more.
    pub fn again(&self, identity: &Identity) -> Option<Identity> {
        let at = *self.by_name.get(&identity.principal.name)?;
        let is_still = match &identity.source {
            Source::Token(hash) => self.entries[at].tokens.iter().any(|it| it.as_str() == &**hash),
            Source::Certificate(shown) => self.by_certificate.get(shown) == Some(&at),
            Source::Uid(uid) => self.by_uid.get(uid) == Some(&at),
            Source::Listener => true,
        };
        is_still.then(|| self.identity(at, identity.source.clone()))
    }

    /// Who has this token. It takes as long for a wrong token as for a right one, and for a name that is
    /// not known as for one that is: it is compared with somebody else's hashes then, always the same.
    /// `pick` says whose, as a number that nobody can foresee.
    pub(super) fn by_token(
        &self,
        token: &[u8],
        pick: impl FnOnce(&[u8]) -> u64,
        memory: &mut Memory,
    ) -> Result<Option<Identity>, CannotHash> {
        let claimed = claimed_name(token).unwrap_or_default();
        let picked = pick(claimed.as_bytes());
        let known = self.by_name.get(claimed).copied();
        let known = known.filter(|at| !self.entries[*at].tokens.is_empty());
        let somebody = || {
            let count = self.with_tokens.len() as u64;
            (count > 0).then(|| self.with_tokens[(picked % count) as usize])
        };
        let Some(at) = known.or_else(somebody) else {
            // Nobody has a token, which nobody needs to know.
            return Hash::of_nobody().is_of(token, memory).map(|_| None);
        };
        let mut found = None;
        for hash in &self.entries[at].tokens {
            // All of them, whichever it is.
            if bool::from(hash.is_of(token, memory)?) {
                found = Some(hash);
            }
        }
        let found = found.filter(|_| known.is_some());
        Ok(found.map(|hash| self.identity(at, Source::Token(hash.as_str().into()))))
    }

    fn identity(&self, at: usize, source: Source) -> Identity {
        Identity { principal: Arc::clone(&self.entries[at].principal), source }
    }
}

/// An identity of a certificate in the one form that is compared: names of hosts in small letters,
/// addresses as they are usually written. `None` if it is not one of the five kinds.
pub(super) fn canonical(identity: &str) -> Option<String> {
    let split = |kind: &str| identity.strip_prefix(kind).filter(|rest| !rest.is_empty());
    if let Some(name) = split("DNS:") {
        return Some(format!("DNS:{}", name.to_ascii_lowercase()));
    }
    if let Some(address) = split("IP:") {
        let address: IpAddr = address.parse().ok()?;
        return Some(format!("IP:{address}"));
    }
    let others = ["CN=", "URI:", "EMAIL:"];
    others.iter().any(|kind| split(kind).is_some()).then(|| identity.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::file::tests::directory;
    use super::*;

    const SECRET: &str = "0123456789abcdef";

    fn token(name: &str) -> String {
        format!("{name}.{SECRET}")
    }

    fn principal(name: &str, rest: &str) -> String {
        format!("[[principal]]\nname = \"{name}\"\n{rest}\n")
    }

    fn hash(token: &str) -> String {
        Hash::cheap(token).as_str().to_owned()
    }

    fn tokens(hashes: &[String]) -> String {
        format!("tokens = {hashes:?}")
    }

    fn by_token(directory: &Directory, token: &str) -> Option<Identity> {
        directory.by_token(token.as_bytes(), |_| 5, &mut Memory::default()).unwrap()
    }

    fn name(identity: Option<Identity>) -> Option<String> {
        identity.map(|identity| identity.principal.name.to_string())
    }

    #[test]
    fn a_token_is_that_of_the_principal_that_it_names() {
        let (old, new) = (hash(&token("site")), hash("site.another-long-secret"));
        let others = [hash(&token("operator")), hash(&token("stranger"))];
        let directory = directory(
            &(principal("site", &tokens(&[old.clone(), new.clone()]))
                + &principal("operator", &tokens(&others))
                + &principal("without", "")),
        );
        for (shown, hash) in [(token("site"), old), ("site.another-long-secret".to_owned(), new)] {
            let identity = by_token(&directory, &shown).unwrap();
            assert_eq!(&*identity.principal.name, "site");
            assert_eq!(identity.source, Source::Token(hash.into()));
        }
        assert_eq!(name(by_token(&directory, &token("operator"))).as_deref(), Some("operator"));
        for wrong in [
            "site.0123456789abcdeg",
            "site.0123456789abcde",
            "operator.another-long-secret",
            SECRET,
            "",
            ".",
            "without.0123456789abcdef",
            // The file has a hash of it, but for another principal than it names.
            "stranger.0123456789abcdef",
        ] {
            assert_eq!(by_token(&directory, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn whoever_is_not_known_is_compared_with_somebody() {
        let mut text = String::new();
        for number in 0..4 {
            text +=
                &principal(&format!("p{number}"), &tokens(&[hash(&token(&format!("p{number}")))]));
        }
        let directory = directory(&text);
        for pick in [0, 1, 4, u64::MAX] {
            for shown in [token("nobody"), "no-dot".to_owned()] {
                let mut memory = Memory::default();
                assert_eq!(
                    directory.by_token(shown.as_bytes(), |_| pick, &mut memory).unwrap(),
                    None
                );
                assert!(!memory.is_released(), "nothing was computed");
            }
        }
        let mut asked = Vec::new();
        let pick = |name: &[u8]| {
            asked.extend_from_slice(name);
            0
        };
        let mut memory = Memory::default();
        assert!(
            directory.by_token(token("nobody").as_bytes(), pick, &mut memory).unwrap().is_none()
        );
        // By the name, which is always the same, not by the secret.
        assert_eq!(asked, b"nobody");
    }

    #[test]
    fn where_nobody_has_a_token_it_takes_as_long() {
        let directory = directory(&principal("site", ""));
        let mut memory = Memory::default();
        assert!(
            directory.by_token(token("site").as_bytes(), |_| 0, &mut memory).unwrap().is_none()
        );
        assert!(!memory.is_released(), "nothing was computed");
    }

    #[test]
    fn a_certificate_is_for_one_principal() {
        let directory = directory(
            &(principal(
                "site",
                r#"certificates = ["CN=site", "DNS:site.example", "IP:10.0.0.7"]"#,
            ) + &principal("other", r#"certificates = ["URI:spiffe://x/Other", "EMAIL:a@b"]"#)),
        );
        let found = |shown: &[&str]| name(directory.by_certificate(shown));
        assert_eq!(found(&["CN=site"]).as_deref(), Some("site"));
        assert_eq!(found(&["CN=nobody", "DNS:SITE.example"]).as_deref(), Some("site"));
        assert_eq!(found(&["CN=site", "IP:10.0.0.7", "DNS:x"]).as_deref(), Some("site"));
        assert_eq!(found(&["URI:spiffe://x/Other"]).as_deref(), Some("other"));
        assert_eq!(found(&["URI:spiffe://x/other"]), None);
        assert_eq!(found(&["CN=Site"]), None);
        assert_eq!(found(&["DNS:site"]), None);
        assert_eq!(found(&["CN=DNS:site.example"]), None);
        assert_eq!(found(&[]), None);
        assert_eq!(found(&["site", "", "IP:x"]), None);
        assert_eq!(found(&["CN=site", "EMAIL:a@b"]), None);
    }

    #[test]
    fn an_identity_is_looked_up_again_in_the_next_file() {
        let old = hash(&token("site"));
        let known = format!("{}\ncertificates = [\"CN=a\"]\nuids = [7]", tokens(&[old]));
        let before = directory(&principal("site", &known));
        let identities = [
            by_token(&before, &token("site")).unwrap(),
            before.by_certificate(["CN=a"]).unwrap(),
            before.by_uid(7).unwrap(),
            before.by_name("site").unwrap(),
        ];
        assert_eq!(before.by_uid(8), None);
        // With other rights.
        let after = directory(&principal("site", &format!("{known}\nput = [\"*\"]")));
        for identity in &identities {
            let again = after.again(identity).unwrap();
            assert_eq!(again.source, identity.source);
            assert!(!again.principal.rights_in("any").are_none());
        }
        // What showed it is gone, but for its name.
        let after = directory(&principal("site", ""));
        let again: Vec<_> =
            identities.iter().map(|identity| after.again(identity).is_some()).collect();
        assert_eq!(again, [false, false, false, true]);
        // It is now what another shows.
        let after = directory(&(principal("other", &known) + &principal("site", "")));
        let again: Vec<_> =
            identities.iter().map(|identity| after.again(identity).is_some()).collect();
        assert_eq!(again, [false, false, false, true]);
        assert_eq!(directory(&principal("x", &known)).again(&identities[3]), None);
    }
}
