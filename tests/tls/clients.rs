//! Certificates of clients.

use std::fs;

use nix::sys::signal::Signal;
use rustls::version::{TLS12, TLS13};

use crate::certificates::{Authority, Valid};
use crate::peer::{config, connect, connect_as, shake_hands};
use crate::secure::Secure;
use crate::support::eventually;

#[test]
fn who_is_let_in() {
    let (servers, clients, strangers) = (Authority::new(), Authority::new(), Authority::new());
    let good = clients.sign("site", "site.example", Valid::Now);
    let bad = [
        clients.sign("old", "site.example", Valid::Formerly),
        clients.sign("early", "site.example", Valid::Later),
        strangers.sign("stranger", "site.example", Valid::Now),
    ];
    for (options, may_be_unknown) in
        [("", false), ("?client-cert=required", false), ("?client-cert=optional", true)]
    {
        let server = Secure::for_clients(&servers, &clients.file(), options);
        let is_in = |shown| connect(server.tls, &servers, shown).is_ok();
        assert!(is_in(Some(&good)), "{options}");
        assert_eq!(is_in(None), may_be_unknown, "{options}");
        for bad in &bad {
            assert!(!is_in(Some(bad)), "{options} {bad:?}");
        }
        server.process.await_output("result=\"client_certificate\"");
    }
}

/// The only way to revoke one is to replace the authority.
#[test]
fn an_authority_that_is_gone() {
    let (servers, clients, next) = (Authority::new(), Authority::new(), Authority::new());
    let file = servers.folder().join("clients.pem");
    fs::copy(clients.file(), &file).expect("the folder is writable");
    let server = Secure::for_clients(&servers, &file, "");
    let [old, new] = [&clients, &next].map(|it| it.sign("site", "site.example", Valid::Now));
    let mut open = connect(server.tls, &servers, Some(&old)).expect("it is accepted");
    assert!(connect(server.tls, &servers, Some(&new)).is_err());
    fs::copy(next.file(), &file).expect("the folder is writable");
    server.process.signal(Signal::SIGHUP);
    eventually("the other authority counts", || connect(server.tls, &servers, Some(&new)).is_ok());
    assert!(connect(server.tls, &servers, Some(&old)).is_err());
    assert_eq!(open.ask("list-tube-used"), "USING default");
}

/// Each principal has a tube of its own, so its name is told by what may be used.
#[test]
fn whom_a_certificate_is_for() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let auth = servers.folder().join("auth.toml");
    let text = "[[principal]]\nname = \"by-cn\"\ncertificates = [\"CN=both.example\", \"CN=cn.example\"]\nput = [\"cn\"]\n\
                [[principal]]\nname = \"by-dns\"\ncertificates = [\"DNS:both.example\"]\nput = [\"dns\"]\n\
                [[principal]]\nname = \"listened\"\nput = [\"listened\"]\n";
    fs::write(&auth, text).expect("the folder is writable");
    // The host is the common name, and an alternative name.
    let sign = |host: &str| clients.sign(host, host, Valid::Now);
    let (both, by_name, unknown) = (sign("both.example"), sign("cn.example"), sign("none.example"));
    for (options, of_nobody) in [("", None), ("?as=listened", Some("listened"))] {
        let server = Secure::for_principals(&servers, &clients.file(), options, &auth);
        for (shown, tube) in [(&by_name, Some("cn")), (&both, of_nobody), (&unknown, of_nobody)] {
            let config = config(&servers, Some(shown), rustls::ALL_VERSIONS);
            let mut peer = shake_hands(server.tls, config).expect("it is accepted");
            for asked in ["cn", "dns", "listened"] {
                let expected = if tube == Some(asked) {
                    format!("USING {asked}")
                } else {
                    "INTERNAL_ERROR".to_owned()
                };
                assert_eq!(peer.ask(&format!("use {asked}")), expected, "{options} {shown:?}");
            }
        }
    }
}

/// A chain that takes more than one record, and one that nobody needs.
#[test]
fn long_chains() {
    let authority = Authority::new();
    let server = Secure::for_clients(&authority, &authority.file(), "");
    let (cert, key) = authority.sign("site", "site.example", Valid::Now);
    let one = fs::read_to_string(authority.file()).expect("it is text");
    for (bytes, is_accepted) in [(20_000, true), (60_000, false)] {
        // PEM has four characters for three bytes.
        let more = one.repeat(bytes * 4 / 3 / one.len());
        let chain = authority.folder().join("chain.pem");
        fs::write(&chain, fs::read_to_string(&cert).expect("it is text") + &more)
            .expect("the folder is writable");
        let shown = (chain, key.clone());
        for version in [&TLS12, &TLS13] {
            let config = config(&authority, Some(&shown), &[version]);
            let result = connect_as(server.tls, config).map(drop);
            assert_eq!(result.is_ok(), is_accepted, "{bytes} {version:?} {result:?}");
        }
    }
}
