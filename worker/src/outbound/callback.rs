//! Signatures of callbacks, according to the Standard Webhooks specification.
//!
//! The receiver knows the secret and computes the same signature from what it has received. So it
//! knows that the callback comes from this worker, and when it was sent. Callbacks are signed with
//! several secrets at once, so that a secret can be replaced without any callback being refused.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use sha2::Sha256;

/// The prefix of a secret that is written in base64.
const PREFIX: &str = "whsec_";

/// A secret shorter than this, in bytes, is a mistake: it could be guessed.
const MIN_SECRET: usize = 16;

/// Maximum number of secrets. Two are enough to replace one by another.
const MAX_SECRETS: usize = 8;

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Signs callbacks with all of its secrets.
#[derive(Clone)]
pub struct Signer {
    /// Each initialized with a secret.
    macs: Vec<Hmac<Sha256>>,
}

/// A secret is unusable. The message does not show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadSecret {
    /// There is none.
    None,
    /// There are more than 8.
    TooMany,
    /// It begins with `whsec_`, but the rest is not base64.
    Base64,
    /// It has fewer than 16 bytes.
    TooShort,
}

impl fmt::Display for BadSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("callbacks need a secret to be signed with"),
            Self::TooMany => write!(f, "at most {MAX_SECRETS} callback secrets are signed with"),
            Self::Base64 => write!(f, "a callback secret is not base64 after {PREFIX:?}"),
            Self::TooShort => write!(f, "a callback secret has fewer than {MIN_SECRET} bytes"),
        }
    }
}

impl std::error::Error for BadSecret {}

impl fmt::Debug for Signer {
    /// Does not show the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("secrets", &self.macs.len()).finish()
    }
}

impl Signer {
    /// Takes the secrets: `whsec_BASE64` as in the specification, or any other text as it is.
    ///
    /// # Errors
    /// If there are no secrets or more than 8, or one of them is unusable.
    pub fn new(secrets: &[String]) -> Result<Self, BadSecret> {
        if secrets.is_empty() {
            return Err(BadSecret::None);
        }
        if secrets.len() > MAX_SECRETS {
            return Err(BadSecret::TooMany);
        }
        let macs = secrets.iter().map(|secret| mac(secret)).collect::<Result<_, _>>()?;
        Ok(Self { macs })
    }

    /// The headers of one callback: `webhook-id`, `webhook-timestamp`, `webhook-signature`.
    ///
    /// `id` identifies the message, not the attempt: it stays the same when a delivery is repeated,
    /// so that the receiver can recognize a duplicate. Only its letters, digits, `-` and `_` are
    /// used. `timestamp` is the time of this attempt, in seconds since 1970; receivers refuse old
    /// ones. `body` must be sent exactly as it is given here.
    #[must_use]
    pub fn headers(&self, id: &str, timestamp: i64, body: &[u8]) -> HeaderMap {
        let id = readable(id);
        let signatures = self.macs.iter().map(|mac| {
            let mac = mac
                .clone()
                .chain_update(&id)
                .chain_update(format!(".{timestamp}."))
                .chain_update(body);
            format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
        });
        let signatures = signatures.collect::<Vec<_>>().join(" ");

        let visible = |text: String| {
            HeaderValue::try_from(text).expect("made of visible ASCII characters only")
        };
        HeaderMap::from_iter([
            (ID, visible(id)),
            (TIMESTAMP, HeaderValue::from(timestamp)),
            (SIGNATURE, visible(signatures)),
        ])
    }
}

/// The headers of a callback that is not signed: `webhook-id` and `webhook-timestamp`, as above.
#[must_use]
pub fn unsigned(id: &str, timestamp: i64) -> HeaderMap {
    let id = HeaderValue::try_from(readable(id)).expect("made of visible ASCII characters only");
    HeaderMap::from_iter([(ID, id), (TIMESTAMP, HeaderValue::from(timestamp))])
}

/// A dot in it would let two different messages have one signature.
fn readable(id: &str) -> String {
    id.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).collect()
}

fn mac(secret: &str) -> Result<Hmac<Sha256>, BadSecret> {
    let key = match secret.strip_prefix(PREFIX) {
        Some(base64) => STANDARD.decode(base64).map_err(|_| BadSecret::Base64)?,
        None => secret.as_bytes().to_vec(),
    };
    if key.len() < MIN_SECRET {
        return Err(BadSecret::TooShort);
    }
    Ok(Hmac::new_from_slice(&key).expect("HMAC takes a key of any length"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const TIMESTAMP: i64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn signature(secrets: &[&str], id: &str) -> String {
        let secrets: Vec<_> = secrets.iter().map(|&secret| secret.to_owned()).collect();
        let headers = Signer::new(&secrets).unwrap().headers(id, TIMESTAMP, BODY);
        headers["webhook-signature"].to_str().unwrap().to_owned()
    }

    #[test]
    fn the_example_of_the_specification() {
        let headers = Signer::new(&[SECRET.to_owned()]).unwrap().headers(ID, TIMESTAMP, BODY);
        assert_eq!(headers["webhook-id"], ID);
        assert_eq!(headers["webhook-timestamp"], "1614265330");
        assert_eq!(headers["webhook-signature"], SIGNATURE);
        assert_eq!(headers.len(), 3);
    }

    #[test]
    fn each_secret_signs() {
        let raw = "a secret without any prefix";
        let both = signature(&[SECRET, raw], ID);
        let (first, second) = both.split_once(' ').unwrap();
        assert_eq!(first, SIGNATURE);
        assert_eq!(second, signature(&[raw], ID));
        assert_ne!(second, SIGNATURE);
    }

    #[test]
    fn an_id_cannot_reach_into_the_rest() {
        assert_eq!(signature(&[SECRET], &format!("{ID}.\r\n\u{e9} ")), SIGNATURE);
        let signer = Signer::new(&[SECRET.to_owned()]).unwrap();
        assert_eq!(signer.headers("a.1\r\nx: y", 2, b"")["webhook-id"], "a1xy");
        assert_eq!(signer.headers("\n", -2, b"")["webhook-timestamp"], "-2");
    }

    #[test]
    fn what_is_no_secret_is_refused_and_secrets_are_not_shown() {
        let new = |secrets: &[&str]| {
            Signer::new(&secrets.iter().map(|&secret| secret.to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(new(&[]).unwrap_err(), BadSecret::None);
        assert_eq!(new(&[SECRET, ""]).unwrap_err(), BadSecret::TooShort);
        assert_eq!(new(&["whsec_MfKQ9r8GKYqrTwjU"]).unwrap_err(), BadSecret::TooShort);
        assert_eq!(new(&["whsec_not base64 at all"]).unwrap_err(), BadSecret::Base64);
        assert_eq!(new(&[SECRET; 9]).unwrap_err(), BadSecret::TooMany);
        assert_eq!(format!("{:?}", new(&[SECRET; 2]).unwrap()), "Signer { secrets: 2 }");
    }
}
