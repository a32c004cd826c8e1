//! Tokens that were right before: whoever comes again does not have to wait.

use std::collections::HashMap;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::directory::Identity;

/// Most tokens that are remembered: more than any file has, since each right one has a hash of its own.
const MOST: usize = 1 << 16;

/// Right tokens, by a keyed hash, so that no token stays in memory, and so that nobody can choose one that
/// has something in common with another in the table.
#[derive(Debug)]
pub(super) struct Remembered {
    /// Each with the reading of the file that it is from.
    identities: HashMap<[u8; 32], (u64, Identity)>,
}

/// The key of this process, for what nobody outside can foresee.
#[derive(Clone)]
pub(super) struct SecretKey(Hmac<Sha256>);

impl SecretKey {
    /// A new one.
    pub(super) fn random() -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Self(Hmac::new_from_slice(&key).expect("HMAC takes a key of any length")))
    }

    /// The tag of this message.
    pub(super) fn tag(&self, message: &[u8]) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(message);
        mac.finalize().into_bytes().into()
    }
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

impl Remembered {
    pub(super) fn new() -> Self {
        Self { identities: HashMap::new() }
    }

    /// Whose token has this tag, by a reading of the file: `again` says who an identity of another reading is
    /// by this one. As long as the hash that a token fits is in the file, the token is known.
    pub(super) fn find(
        &mut self,
        tag: &[u8; 32],
        generation: u64,
        again: impl FnOnce(&Identity) -> Option<Identity>,
    ) -> Option<Identity> {
        let (from, identity) = self.identities.get_mut(tag)?;
        if *from == generation {
            return Some(identity.clone());
        }
        match again(identity) {
            Some(now) => {
                (*from, *identity) = (generation, now.clone());
                Some(now)
            }
            None => {
                self.identities.remove(tag);
                None
            }
        }
    }

    /// The token with this tag is right, by this reading of the file.
    pub(super) fn insert(&mut self, tag: [u8; 32], identity: Identity, generation: u64) {
        if self.identities.len() >= MOST {
            // Some may be of tokens whose hashes are gone.
            self.identities.retain(|_, (from, _)| *from == generation);
        }
        if self.identities.len() < MOST {
            self.identities.insert(tag, (generation, identity));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::directory::Source;
    use super::*;

    fn identity() -> Identity {
        Identity { principal: Default::default(), source: Source::Listener }
    }

    #[test]
    fn what_another_reading_of_the_file_said_is_asked_again() {
        let never = |_: &Identity| -> Option<Identity> { panic!("it is of this reading") };
        let mut remembered = Remembered::new();
        remembered.insert([1; 32], identity(), 1);
        assert_eq!(remembered.find(&[1; 32], 1, never), Some(identity()));
        assert_eq!(remembered.find(&[2; 32], 1, never), None);
        // The file was read again, and still has the hash: once is enough.
        assert_eq!(remembered.find(&[1; 32], 2, |it| Some(it.clone())), Some(identity()));
        assert_eq!(remembered.find(&[1; 32], 2, never), Some(identity()));
        // It has not any more.
        assert_eq!(remembered.find(&[1; 32], 3, |_| None), None);
        assert!(remembered.identities.is_empty());
    }

    #[test]
    fn only_so_many_are_remembered() {
        let mut remembered = Remembered::new();
        for number in 0..=MOST {
            let mut tag = [0; 32];
            tag[..8].copy_from_slice(&number.to_le_bytes());
            remembered.insert(tag, identity(), 1);
        }
        assert_eq!(remembered.identities.len(), MOST);
    }

    #[test]
    fn tags_are_those_of_one_process_and_show_no_key() {
        let (one, other) = (SecretKey::random().unwrap(), SecretKey::random().unwrap());
        assert_eq!(one.tag(b"a"), one.clone().tag(b"a"));
        assert_ne!(one.tag(b"a"), one.tag(b"b"));
        assert_ne!(one.tag(b"a"), other.tag(b"a"));
        assert_eq!(format!("{one:?}"), "SecretKey(..)");
    }
}
