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
        getrandom::fill(&mut salt).map_err(CannotHash::Random)?;
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
