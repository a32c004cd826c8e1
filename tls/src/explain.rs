//! Why there is no secure connection, in words.

use std::error::Error as StdError;
use std::io;

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

/// What an error of a TLS stream comes down to, as a clause about the other side ("it ..."). `None`: the
/// error is none of TLS but of the connection below.
pub fn explain(error: &io::Error) -> Option<String> {
    if let Some(why) = error.get_ref().and_then(|inner| explain_cause(inner)) {
        return Some(why);
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

/// The same for an error of any type that has one of TLS among its causes, as that of an HTTP client. `None`: it has
/// none.
pub fn explain_cause(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(in_words(found));
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
        Error::NoCertificatesPresented => "it has shown no certificate".to_owned(),
        Error::InvalidMessage(_) => "it does not speak TLS, or not correctly".to_owned(),
        Error::PeerIncompatible(error) => incompatible(error).to_owned(),
        Error::NoApplicationProtocol => {
            "it wants to speak another protocol than is spoken here (ALPN)".to_owned()
        }
        Error::AlertReceived(alert) => refusal(*alert),
        error => error.to_string(),
    }
}

/// What the other side has to say, which is all that is known of its reasons.
fn refusal(alert: AlertDescription) -> String {
    let why = match alert {
        AlertDescription::CertificateRequired => {
            return "it wants a certificate from this side, and was shown none".to_owned();
        }
        AlertDescription::NoApplicationProtocol => {
            return "it serves another protocol (ALPN)".to_owned();
        }
        AlertDescription::ProtocolVersion => {
            return "it speaks no version of TLS that is spoken here: 1.2 or 1.3".to_owned();
        }
        AlertDescription::UnknownCA => "it trusts no authority that has signed it",
        AlertDescription::CertificateExpired => "to it, that has expired or is not valid yet",
        AlertDescription::CertificateRevoked => "to it, that is revoked",
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied => "its own log may say why",
        alert => return format!("it refused the handshake ({})", rfc_name(alert)),
    };
    format!("it does not accept this side's certificate ({}): {why}", rfc_name(alert))
}

/// The name of an alert in RFC 8446: `unknown_ca`.
fn rfc_name(alert: AlertDescription) -> String {
    let name = format!("{alert:?}");
    let mut written = String::with_capacity(name.len() + 4);
    let mut is_after_small = false;
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && is_after_small {
            written.push('_');
        }
        is_after_small = letter.is_ascii_lowercase();
        written.push(letter.to_ascii_lowercase());
    }
    written
}

fn incompatible(error: &PeerIncompatible) -> &'static str {
    match error {
        PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled
        | PeerIncompatible::SupportedVersionsExtensionRequired
        | PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig => {
            "it speaks no version of TLS that is spoken here: 1.2 or 1.3"
        }
        PeerIncompatible::NoCipherSuitesInCommon
        | PeerIncompatible::NoKxGroupsInCommon
        | PeerIncompatible::NoSignatureSchemesInCommon
        | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon => {
            "it knows no cipher, key exchange or signature that is known here, or none that fits the certificate"
        }
        _ => "its TLS is too old: it lacks an extension that is needed here",
    }
}

fn certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::Expired => "its certificate has expired".to_owned(),
        CertificateError::ExpiredContext { time, not_after } => format!(
            "its certificate has expired: it was valid until {}, and by the clock here it is {}",
            date(*not_after),
            date(*time)
        ),
        CertificateError::NotValidYet => "its certificate is not valid yet".to_owned(),
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "its certificate is not valid yet: it is from {} on, and by the clock here it is {}",
            date(*not_before),
            date(*time)
        ),
        CertificateError::UnknownIssuer => {
            "its certificate is signed by no authority that is trusted here".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("its certificate is for another name ({error})")
        }
        CertificateError::Revoked => "its certificate was revoked".to_owned(),
        CertificateError::BadEncoding => "its certificate cannot be read".to_owned(),
        CertificateError::BadSignature => {
            "the signature of its certificate is wrong: an authority of the same name with another key is trusted here"
                .to_owned()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its certificate is not for this purpose: that of a server needs the extended key usage serverAuth, and \
             that of a client clientAuth"
                .to_owned()
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "its certificate is signed in a way that is not accepted here: RSA or ECDSA with SHA-256 or better is"
                .to_owned()
        }
        CertificateError::Other(other) => match other.0.downcast_ref().and_then(of_webpki) {
            Some(why) => why.to_owned(),
            None => format!("its certificate cannot be used ({})", other.0),
        },
        error => format!("its certificate cannot be used ({error})"),
    }
}

/// What the library for certificates says of those that rustls has no word for.
fn of_webpki(error: &webpki::Error) -> Option<&'static str> {
    use webpki::Error::*;

    Some(match error {
        CaUsedAsEndEntity => {
            "its certificate is that of an authority (CA:TRUE): it needs one of its own that the authority has signed"
        }
        EndEntityUsedAsCa => {
            "its certificate is signed with one that is not an authority's (no CA:TRUE): it needs one that an \
             authority has signed"
        }
        UnsupportedCertVersion => {
            "its certificate is of version 1 or 2 of X.509: it needs one of version 3, with an alternative name"
        }
        NameConstraintViolation => {
            "its certificate is for a name that its authority may not sign for (name constraints)"
        }
        PathLenConstraintViolated => {
            "its certificate has more authorities above it than the first of them allows (path length)"
        }
        UnsupportedCriticalExtension | MalformedExtensions | ExtensionValueInvalid => {
            "its certificate has an extension that is critical, and not known here, or malformed"
        }
        _ => return None,
    })
}

/// In UTC.
fn date(time: UnixTime) -> String {
    crate::date(time.as_secs())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use rustls::OtherError;

    use super::*;

    fn told(error: Error) -> String {
        explain(&io::Error::new(io::ErrorKind::InvalidData, error)).expect("it is one of TLS")
    }

    fn told_of(error: CertificateError) -> String {
        told(Error::InvalidCertificate(error))
    }

    #[test]
    fn dates_are_dates() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let (time, not_after) = (at(1_700_000_000), at(1_600_000_000));
        assert_eq!(
            told_of(CertificateError::ExpiredContext { time, not_after }),
            "its certificate has expired: it was valid until 2020-09-13T12:26:40Z, and by the clock here it is \
             2023-11-14T22:13:20Z"
        );
        let (time, not_before) = (not_after, time);
        let told = told_of(CertificateError::NotValidYetContext { time, not_before });
        assert!(told.contains("from 2023-11-14T22:13:20Z on"), "{told}");
    }

    /// No name of the source is shown of what can happen with the tools that people have.
    #[test]
    fn certificates_that_are_wrong_in_other_ways() {
        use webpki::Error as Webpki;

        for (error, why) in [
            (Webpki::CaUsedAsEndEntity, "that of an authority (CA:TRUE)"),
            (Webpki::EndEntityUsedAsCa, "not an authority's"),
            (Webpki::UnsupportedCertVersion, "version 3"),
            (Webpki::NameConstraintViolation, "name constraints"),
            (Webpki::PathLenConstraintViolated, "path length"),
            (Webpki::UnsupportedCriticalExtension, "critical"),
        ] {
            let name = format!("{error:?}");
            let told = told_of(CertificateError::Other(OtherError(Arc::new(error))));
            assert!(told.contains(why) && !told.contains(&name), "{name}: {told}");
        }
        for error in [
            CertificateError::InvalidPurpose,
            CertificateError::BadSignature,
            CertificateError::BadEncoding,
        ] {
            let name = format!("{error:?}");
            assert!(!told_of(error).contains(&name), "{name}");
        }
    }

    #[test]
    fn alerts_have_their_names_of_the_rfc() {
        for (alert, name) in [
            (AlertDescription::UnknownCA, "unknown_ca"),
            (AlertDescription::HandshakeFailure, "handshake_failure"),
            (AlertDescription::BadCertificate, "bad_certificate"),
            (AlertDescription::InternalError, "internal_error"),
        ] {
            let told = told(Error::AlertReceived(alert));
            assert!(told.contains(&format!("({name})")), "{told}");
        }
        assert!(told(PeerIncompatible::NoCipherSuitesInCommon.into()).contains("no cipher"));
        assert!(told(PeerIncompatible::Tls12NotOffered.into()).contains("1.2 or 1.3"));
        assert!(told(Error::NoCertificatesPresented).contains("shown no certificate"));
    }
}
