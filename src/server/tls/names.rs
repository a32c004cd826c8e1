//! The names in a client's certificate.

use std::net::{Ipv4Addr, Ipv6Addr};

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// The common name of the subject, and the alternative names, as they are written for `--auth`: `CN=site`,
/// `DNS:site.example`, `URI:spiffe://x/site`, `IP:10.0.0.7`, `EMAIL:site@example`. Whoever names another kind
/// of name, or one that is no text, names nothing.
pub(super) fn names_of(der: &[u8]) -> Vec<String> {
    // It was verified, so it can be read.
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return Vec::new() };
    let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    let mut names: Vec<String> = common.map(|name| format!("CN={name}")).collect();
    if let Ok(Some(alternative)) = certificate.subject_alternative_name() {
        names.extend(alternative.value.general_names.iter().filter_map(written));
    }
    names
}

fn written(name: &GeneralName<'_>) -> Option<String> {
    Some(match name {
        GeneralName::DNSName(name) => format!("DNS:{name}"),
        GeneralName::URI(name) => format!("URI:{name}"),
        GeneralName::RFC822Name(name) => format!("EMAIL:{name}"),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => format!("IP:{}", Ipv4Addr::from(<[u8; 4]>::try_from(*bytes).ok()?)),
            16 => format!("IP:{}", Ipv6Addr::from(<[u8; 16]>::try_from(*bytes).ok()?)),
            _ => return None,
        },
        _ => return None,
    })
}

/// When a certificate is valid, in seconds since 1970: from the first to the second. `None`: it cannot be
/// read.
pub(super) fn validity(der: &[u8]) -> Option<(i64, i64)> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let validity = certificate.validity();
    Some((validity.not_before.timestamp(), validity.not_after.timestamp()))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType, date_time_ymd};

    use super::*;

    #[test]
    fn all_kinds_of_names() {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::OrganizationName, "not this");
        params.distinguished_name.push(DnType::CommonName, "site");
        let name = |text: &str| text.try_into().expect("it is ASCII");
        params.subject_alt_names = vec![
            SanType::DnsName(name("site.example")),
            SanType::URI(name("spiffe://x/site")),
            SanType::IpAddress([10, 0, 0, 7].into()),
            SanType::IpAddress("fd00::7".parse().expect("it is an address")),
            SanType::Rfc822Name(name("site@example")),
        ];
        params.not_before = date_time_ymd(2001, 9, 9);
        params.not_after = date_time_ymd(2033, 5, 18);
        let key = KeyPair::generate().expect("there is randomness");
        let certificate = params.self_signed(&key).expect("it is complete");
        let expected = [
            "CN=site",
            "DNS:site.example",
            "URI:spiffe://x/site",
            "IP:10.0.0.7",
            "IP:fd00::7",
            "EMAIL:site@example",
        ];
        assert_eq!(names_of(certificate.der()), expected);
        assert_eq!(validity(certificate.der()), Some((999_993_600, 1_999_987_200)));
    }

    /// Those who look at only one of them would let somebody else in than this server.
    #[test]
    fn each_common_name_counts() {
        let mut params = CertificateParams::new(vec!["site.example".to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, "first");
        params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 3]), "second");
        let key = KeyPair::generate().expect("there is randomness");
        let certificate = params.self_signed(&key).expect("it is complete");
        assert_eq!(names_of(certificate.der()), ["CN=first", "CN=second", "DNS:site.example"]);
    }

    #[test]
    fn what_is_no_certificate_has_no_names() {
        assert_eq!(names_of(b"garbage"), [""; 0]);
        assert_eq!(validity(b""), None);
    }
}
