//! Why there is no secure connection, in words.

use std::error::Error as StdError;
use std::io;

use rustls::{AlertDescription, CertificateError, Error};

/// What an error of a TLS stream comes down to, as a clause about the other side ("it ..."). `None`: the
/// error is none of TLS but of the connection below.
pub fn explain(error: &io::Error) -> Option<String> {
    if let Some(error) = error.get_ref().and_then(find) {
        return Some(in_words(error));
    }
    // These two are made of a text only.
    let text = error.get_ref()?.to_string();
    if text.contains("tls handshake eof") {
        Some("it closed the connection during the handshake".to_owned())
    } else if text.contains("close_notify") {
        Some(
            "it was cut off: the connection ended without the end of TLS (close_notify)".to_owned(),
        )
    } else {
        None
    }
}

fn find<'a>(error: &'a (dyn StdError + Send + Sync + 'static)) -> Option<&'a Error> {
    let mut next: Option<&'a (dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

fn in_words(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => certificate(error),
        Error::InvalidMessage(_) => format!("it does not speak TLS ({error})"),
        Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired => {
                "it wants a certificate from this side, and was shown none".to_owned()
            }
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied => {
                format!("it does not accept this side's certificate ({alert:?})")
            }
            AlertDescription::NoApplicationProtocol => {
                "it serves another protocol (ALPN)".to_owned()
            }
            alert => format!("it refused the handshake ({alert:?})"),
        },
        error => error.to_string(),
    }
}

fn certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("its certificate has expired ({error})")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("its certificate is not valid yet ({error})")
        }
        CertificateError::UnknownIssuer => {
            "its certificate is signed by no authority that is trusted here".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("its certificate is for another name ({error})")
        }
        CertificateError::Revoked => "its certificate was revoked".to_owned(),
        error => format!("its certificate cannot be used ({error})"),
    }
}
