//! Files that change, and who can read them.

use std::fs;
use std::io;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rustls::{ClientConnection, ServerConnection};

use crate::{Client, ClientFiles, Identity, Server, ServerFiles, explain};

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

/// Why a client that trusts these authorities does not shake hands with a server that shows this.
fn refusal(authorities: &Path, identity: Identity) -> String {
    let files = ClientFiles { authorities: Some(authorities.to_owned()), ..ClientFiles::default() };
    let config = Client::new(files, &[]).config().unwrap();
    let mut client = ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
    let server = Server::open(ServerFiles { identity, client_authorities: None }, &[]).unwrap();
    let mut server = ServerConnection::new(server.config().unwrap()).unwrap();
    loop {
        let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
        client.write_tls(&mut to_server).unwrap();
        server.read_tls(&mut &to_server[..]).unwrap();
        server.process_new_packets().unwrap();
        server.write_tls(&mut to_client).unwrap();
        client.read_tls(&mut &to_client[..]).unwrap();
        if let Err(error) = client.process_new_packets() {
            return explain(&io::Error::new(io::ErrorKind::InvalidData, error)).unwrap();
        }
        assert!(client.is_handshaking(), "it is accepted");
    }
}

/// As they are made by those who make certificates seldom.
#[test]
fn certificates_of_the_wrong_kind_are_told_in_words() {
    let folder = Authority::new();
    let write = |name: &str, texts: &[String]| {
        let path = folder.folder().join(name);
        fs::write(&path, texts.concat()).unwrap();
        path
    };
    let params = |name: &str| {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params
    };
    let of_authority = || {
        let mut params = params("root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    };
    let key = || KeyPair::generate().unwrap();
    // Signed by itself, as an authority.
    let own = key();
    let root = of_authority().self_signed(&own).unwrap();
    let trusted = write("root.pem", &[root.pem()]);
    let identity = |chain: &[String], key: &KeyPair| Identity {
        certificate: write("chain.pem", chain),
        key: write("key.pem", &[key.serialize_pem()]),
    };
    let told = refusal(&trusted, identity(&[root.pem()], &own));
    assert!(told.contains("that of an authority (CA:TRUE)"), "{told}");
    // Signed with a certificate that is no authority's.
    let root = Issuer::new(of_authority(), &own);
    let (between, leaf) = (key(), key());
    let signer = params("between").signed_by(&between, &root).unwrap();
    let signed =
        params("leaf").signed_by(&leaf, &Issuer::new(params("between"), &between)).unwrap();
    let told = refusal(&trusted, identity(&[signed.pem(), signer.pem()], &leaf));
    assert!(told.contains("not an authority's (no CA:TRUE)"), "{told}");
    // For clients.
    let mut for_clients = params("leaf");
    for_clients.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let signed = for_clients.signed_by(&leaf, &root).unwrap();
    let told = refusal(&trusted, identity(&[signed.pem()], &leaf));
    assert!(told.contains("extended key usage serverAuth"), "{told}");
}
