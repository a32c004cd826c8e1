//! Files that change, and who can read them.

use std::fs;

use crate::{Client, ClientFiles, Identity};

#[path = "../../tests/support/certificates.rs"]
mod certificates;

use certificates::{Authority, Valid};

/// What a configuration that is kept shows, at each handshake.
#[test]
fn an_identity_is_read_again_and_nonsense_is_not_taken_over() {
    let authority = Authority::new();
    let sign = || {
        let (certificate, key) = authority.sign("client", "worker", Valid::Now);
        Identity { certificate, key }
    };
    let identity = sign();
    let files = ClientFiles {
        authorities: Some(authority.file()),
        identity: Some(identity.clone()),
        ..ClientFiles::default()
    };
    let config = Client::new(files, &["h2"]).lasting_config().unwrap();
    assert_eq!(config.alpn_protocols, [b"h2"]);
    let shown = || config.client_auth_cert_resolver.resolve(&[], &[]).unwrap().cert.clone();
    let first = shown();
    assert_eq!(shown(), first);
    sign();
    let second = shown();
    assert_ne!(second, first);
    for spoiled in [&identity.certificate, &identity.key] {
        let good = fs::read(spoiled).unwrap();
        fs::write(spoiled, "nonsense").unwrap();
        assert_eq!(shown(), second);
        fs::remove_file(spoiled).unwrap();
        assert_eq!(shown(), second);
        fs::write(spoiled, good).unwrap();
        assert_eq!(shown(), second);
    }
}

#[test]
fn files_that_everybody_can_read_are_seen() {
    use std::os::unix::fs::PermissionsExt;

    let authority = Authority::new();
    for (mode, is_exposed) in [(0o600, false), (0o640, false), (0o644, true), (0o604, true)] {
        fs::set_permissions(authority.file(), fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(crate::is_exposed(&authority.file()), is_exposed, "{mode:o}");
    }
    assert!(!crate::is_exposed(&authority.folder().join("missing")));
    assert!(!crate::is_exposed(authority.folder()));
}
