//! Tokens, as clients have them, and their hashes, as the file has them.
//!
//! A token is `NAME.SECRET`: the name of its principal, a dot and the secret. So one principal's hashes
//! are all that is computed for it, however many principals there are. The hash is argon2id of the whole
//! token, written as a PHC string.

use std::fmt;

use argon2::password_hash::phc::{Output, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use beanstalk_protocol::Token;
use subtle::{Choice, ConstantTimeEq};

use crate::memory;

/// Longest name of a principal, in bytes.
pub const MAX_NAME: usize = 64;

/// Shortest secret, in bytes: a shorter one could be guessed.
pub const MIN_SECRET: usize = 16;

/// Random bytes of a generated secret.
const SECRET_BYTES: usize = 32;

/// The memory of a new hash in KiB, and how many times it is gone through: what OWASP advises for
/// argon2id where there is one lane.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;

/// Largest memory of a hash in KiB, and most passes: verifying must not take the server's memory or
/// hours.
const MAX_MEMORY_KIB: u32 = 64 << 10;
const MAX_PASSES: u32 = 10;

/// The salt and the output of a new hash, in bytes.
const SALT_BYTES: usize = 16;
const OUTPUT_BYTES: usize = 32;
/// A shorter output could be found by trying.
const MIN_OUTPUT_BYTES: usize = 16;

/// What is expected of the name of a principal, for messages.
pub const EXPECTED_NAME: &str = "expected 1 to 64 characters from A-Z a-z 0-9 _ -";

/// Whether a principal may have this name.
pub fn is_name(name: &[u8]) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(byte))
}

/// The name in a token, if the token has the form of one.
pub fn claimed_name(token: &[u8]) -> Option<&str> {
    let dot = token.iter().position(|byte| *byte == b'.')?;
    let (name, secret) = (&token[..dot], &token[dot + 1..]);
    let is_good = is_name(name) && secret.len() >= MIN_SECRET;
    std::str::from_utf8(name).ok().filter(|_| is_good)
}

/// Makes a token for a principal of this name, which must be a good one: see [`is_name`].
///
/// # Errors
///
/// Those of the system, which has no random bytes.
pub fn generate(name: &str) -> Result<Token, getrandom::Error> {
    let mut secret = [0; SECRET_BYTES];
    getrandom::fill(&mut secret)?;
    let token = format!("{name}.{}", BASE64_URL_SAFE_NO_PAD.encode(secret));
    Ok(Token::new(token.as_bytes()).expect("a name and the secret are short"))
}

/// A hash of a token.
#[derive(Clone)]
pub struct Hash {
    text: Box<str>,
    params: Params,
    salt: Salt,
    output: Output,
}

impl Hash {
    /// Reads a PHC string.
    ///
    /// # Errors
    ///
    /// What was expected, if it is not an argon2id hash, or if verifying would take more than 64 MiB, 10
    /// passes or one lane.
    pub fn parse(text: &str) -> Result<Self, String> {
        const FORM: &str = "expected a hash as from `jq-server hash-token`: $argon2id$v=19$m=...";
        let parsed = PasswordHash::new(text).map_err(|_| FORM.to_owned())?;
        if parsed.algorithm.as_str() != "argon2id" {
            return Err(format!("{FORM}; its algorithm is not argon2id"));
        }
        if parsed.version != Some(u32::from(Version::V0x13)) {
            return Err(format!("{FORM}; its version is not v=19"));
        }
        let number = |name: &str| parsed.params.get_decimal(name);
        for (name, most) in [("m", MAX_MEMORY_KIB), ("t", MAX_PASSES), ("p", 1)] {
            if !number(name).is_some_and(|number| (1..=most).contains(&number)) {
                return Err(format!("{FORM}; expected {name} from 1 to {most}"));
            }
        }
        if parsed.params.iter().count() != 3 {
            return Err(format!("{FORM}; expected the parameters m, t and p, and no others"));
        }
        let params = Params::try_from(&parsed).map_err(|error| format!("{FORM}; {error}"))?;
        let (Some(salt), Some(output)) = (parsed.salt, parsed.hash) else {
            return Err(format!("{FORM}; it has no salt or no output"));
        };
        if output.len() < MIN_OUTPUT_BYTES {
            return Err(format!("{FORM}; expected an output of at least {MIN_OUTPUT_BYTES} bytes"));
        }
        Ok(Self { text: text.into(), params, salt, output })
    }

    /// Makes one of a token: 19 MiB, 2 passes, one lane.
    ///
    /// # Errors
    ///
    /// There is no memory or no random bytes for it.
    pub fn of(token: &Token) -> Result<Self, CannotHash> {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt)?;
        Self::with(token.as_bytes(), MEMORY_KIB, PASSES, &salt)
    }

    /// Makes one that needs this memory in KiB and these passes.
    fn with(token: &[u8], memory: u32, passes: u32, salt: &[u8]) -> Result<Self, CannotHash> {
        let params = Params::new(memory, passes, 1, Some(OUTPUT_BYTES));
        let params = params.expect("the parameters are within the limits of argon2");
        let salt = Salt::new(salt).expect("a salt of 8 to 48 bytes");
        let output = computed(&params, &salt, token, OUTPUT_BYTES, &mut Memory::default())?;
        let hash = PasswordHash {
            algorithm: argon2::ARGON2ID_IDENT,
            version: Some(Version::V0x13.into()),
            params: (&params).try_into().expect("three numbers fit a PHC string"),
            salt: Some(salt),
            hash: Some(output),
        };
        Ok(Self { text: hash.to_string().into(), params, salt, output })
    }

    /// A cheap one, for tests.
    #[cfg(test)]
    pub(crate) fn cheap(token: &str) -> Self {
        Self::with(token.as_bytes(), 8, 1, b"saltsalt").unwrap()
    }

    /// A hash of nothing, for whoever is not known where nobody has a token: as slow as one of
    /// [`Hash::of`].
    pub(super) fn of_nobody() -> Self {
        let params = Params::new(MEMORY_KIB, PASSES, 1, Some(OUTPUT_BYTES));
        let params = params.expect("the parameters are within the limits of argon2");
        let salt = Salt::new(&[0; SALT_BYTES]).expect("a salt of 8 to 48 bytes");
        let output = Output::new(&[0; OUTPUT_BYTES]).expect("an output of 10 to 64 bytes");
        Self { text: "".into(), params, salt, output }
    }

    /// The PHC string.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is the hash of this token. The time it takes does not depend on that.
    pub(super) fn is_of(&self, token: &[u8], memory: &mut Memory) -> Result<Choice, CannotHash> {
        let output = computed(&self.params, &self.salt, token, self.output.len(), memory)?;
        Ok(output.as_bytes().ct_eq(self.output.as_bytes()))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash(..)")
    }
}

/// The output of argon2id.
fn computed(
    params: &Params,
    salt: &Salt,
    token: &[u8],
    length: usize,
    memory: &mut Memory,
) -> Result<Output, CannotHash> {
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
    let mut output = [0; Output::MAX_LENGTH];
    let output = &mut output[..length];
    let blocks = memory.blocks(params.block_count())?;
    argon2
        .hash_password_into_with_memory(token, salt, output, blocks)
        .map_err(CannotHash::Argon2)?;
    Ok(Output::new(output).expect("the length is that of another output"))
}

/// The memory that hashes need. What one has left in it does not matter to the next.
#[derive(Debug, Default)]
pub(super) struct Memory(Vec<Block>);

impl Memory {
    fn blocks(&mut self, count: usize) -> Result<&mut [Block], CannotHash> {
        if self.0.len() < count {
            // What is kept back is for those who cannot be refused.
            if !memory::has_room() {
                return Err(CannotHash::NoMemory);
            }
            self.0.try_reserve_exact(count - self.0.len()).map_err(|_| CannotHash::NoMemory)?;
            self.0.resize(count, Block::new());
        }
        Ok(&mut self.0[..count])
    }

    /// Whether there is none.
    pub(super) fn is_released(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives it back to the system.
    pub(super) fn release(&mut self) {
        self.0 = Vec::new();
    }
}

/// Why a hash cannot be computed.
#[derive(Debug)]
pub enum CannotHash {
    /// There is no memory for it.
    NoMemory,
    /// The system has no random bytes.
    Random(getrandom::Error),
    /// argon2 refuses it.
    Argon2(argon2::Error),
}

impl fmt::Display for CannotHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMemory => f.write_str("there is no memory to hash a token"),
            Self::Random(error) => write!(f, "there are no random bytes: {error}"),
            Self::Argon2(error) => write!(f, "argon2: {error}"),
        }
    }
}

impl std::error::Error for CannotHash {}

impl From<getrandom::Error> for CannotHash {
    fn from(error: getrandom::Error) -> Self {
        Self::Random(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "site.0123456789abcdef";

    fn is_of(hash: &Hash, token: &str) -> bool {
        hash.is_of(token.as_bytes(), &mut Memory::default()).unwrap().into()
    }

    #[test]
    fn a_hash_is_of_one_token() {
        let token = Token::new(TOKEN.as_bytes()).unwrap();
        let hash = Hash::of(&token).unwrap();
        assert!(hash.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.as_str());
        let read = Hash::parse(hash.as_str()).unwrap();
        assert!(is_of(&read, TOKEN));
        assert!(!is_of(&read, "site.0123456789abcdeg"));
        assert_ne!(Hash::of(&token).unwrap().as_str(), hash.as_str());
        assert!(!is_of(&Hash::of_nobody(), TOKEN));
        assert_eq!(format!("{read:?}"), "Hash(..)");
    }

    #[test]
    fn it_is_the_hash_of_the_reference_implementation() {
        // echo -n site.0123456789abcdef | argon2 saltsaltsalt -id -t 2 -k 64 -p 1 -l 32 -e
        let reference = "$argon2id$v=19$m=64,t=2,p=1$c2FsdHNhbHRzYWx0\
                         $AsUa80/mvL9OtdQX+K+zxbKtRZrvnh8GuhEI4tvHuA4";
        assert!(is_of(&Hash::parse(reference).unwrap(), TOKEN));
    }

    #[test]
    fn memory_that_others_have_used_makes_no_difference() {
        let mut memory = Memory::default();
        let (small, large) = (Hash::cheap(TOKEN), Hash::with(TOKEN.as_bytes(), 64, 2, b"saltsalt"));
        for hash in [&large.unwrap(), &small] {
            assert!(bool::from(hash.is_of(TOKEN.as_bytes(), &mut memory).unwrap()));
            assert!(!bool::from(hash.is_of(b"site.other", &mut memory).unwrap()));
        }
        assert!(!memory.is_released());
        memory.release();
        assert!(memory.is_released());
        assert!(matches!(memory.blocks(usize::MAX >> 12), Err(CannotHash::NoMemory)));
    }

    #[test]
    fn what_is_no_hash_is_told() {
        let good = "$argon2id$v=19$m=64,t=2,p=1$c2FsdHNhbHRzYWx0$";
        let output = "NYlaog8UtdidY83aLmH41PhvvLiGZ+cEiXQDNb6YINA";
        let whole = format!("{good}{output}");
        assert!(Hash::parse(&whole).is_ok());
        for (text, told) in [
            (String::new(), "as from `jq-server hash-token`"),
            ("secret".to_owned(), "as from `jq-server hash-token`"),
            (whole.replace("2id", "2i"), "its algorithm is not argon2id"),
            (whole.replace("$argon2id", "$scrypt"), "its algorithm is not argon2id"),
            (whole.replace("v=19", "v=16"), "its version is not v=19"),
            (whole.replace("v=19$", ""), "its version is not v=19"),
            (whole.replace("m=64", "m=65537"), "expected m from 1 to 65536"),
            (whole.replace("m=64", "m=4294967295"), "expected m from 1 to 65536"),
            (whole.replace("m=64", "m=4294967296"), "expected m from 1 to 65536"),
            (whole.replace("m=64", "m=7"), "expected a hash as from"),
            (whole.replace("m=64,", ""), "expected m from"),
            (whole.replace("t=2", "t=11"), "expected t from 1 to 10"),
            (whole.replace("t=2", "t=0"), "expected t from 1 to 10"),
            (whole.replace("p=1", "p=2"), "expected p from 1 to 1"),
            (whole.replace("p=1", "p=1,keyid=YWE"), "and no others"),
            (whole.replace("p=1", "p=1,data=YWE"), "and no others"),
            (whole.replace("p=1", "p=1,p=1"), "expected a hash"),
            (good.replace("$c2FsdHNhbHRzYWx0$", "$c2FsdHNhbHRzYWx0"), "no salt or no output"),
            (format!("{good}NYlaog8UtdidY83a"), "at least 16 bytes"),
            (format!("{whole}$x"), "expected a hash as from"),
            (format!("{whole} "), "expected a hash as from"),
            (whole.replace("$c2FsdHNhbHRzYWx0", "$c2Fs"), "expected a hash as from"),
        ] {
            let message = Hash::parse(&text).map(|_| ()).unwrap_err();
            assert!(message.contains(told), "{text}: {message}");
        }
    }

    #[test]
    fn the_name_in_a_token() {
        let name = |token: &str| claimed_name(token.as_bytes()).map(str::to_owned);
        assert_eq!(name(TOKEN).as_deref(), Some("site"));
        assert_eq!(name("a.b.0123456789abcdef").as_deref(), Some("a"));
        for bad in [
            "site.0123456789abcde",
            "0123456789abcdefgh",
            ".0123456789abcdef",
            "a/b.0123456789abcdef",
        ] {
            assert_eq!(name(bad), None, "{bad}");
        }
        assert_eq!(name(&format!("{}.0123456789abcdef", "x".repeat(65))), None);
        assert!(is_name(b"A-z_09") && is_name(&[b'x'; MAX_NAME]));
        assert!(!is_name(b"") && !is_name(b"a b") && !is_name("\u{e9}".as_bytes()));
    }

    #[test]
    fn tokens_are_made_of_random_bytes() {
        let name = "x".repeat(MAX_NAME);
        let (one, other) = (generate(&name).unwrap(), generate(&name).unwrap());
        assert_ne!(one, other);
        assert_eq!(claimed_name(one.as_bytes()), Some(&*name));
        assert_eq!(one.as_bytes().len(), MAX_NAME + 1 + 43);
    }
}
