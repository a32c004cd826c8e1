//! Certificates that are exchanged while the server runs.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use nix::sys::signal::Signal;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::certificates::{Authority, Valid};
use crate::secure::Secure;
use crate::support::eventually;

/// Whether new connections are shown this certificate.
fn shows(server: &Secure, authority: &Authority, certificate: &CertificateDer<'_>) -> bool {
    let peer = server.secure(authority);
    peer.stream.conn.peer_certificates().is_some_and(|chain| chain[0] == *certificate)
}

fn read(path: &std::path::Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).expect("it is a certificate")
}

/// Connections that are open are used all the time, and new ones come.
#[test]
fn nobody_is_lost() {
    let authority = Authority::new();
    let (cert, key) = authority.sign("server", "localhost", Valid::Now);
    let server = Secure::with(&cert, &key, &[]);
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut open = server.secure(&authority);
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(open.ask("use t"), "USING t");
                    assert_eq!(server.secure(&authority).ask("use t"), "USING t");
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..5 {
            authority.sign("server", "localhost", Valid::Now);
            server.process.signal(Signal::SIGHUP);
            let new = read(&cert);
            eventually("the new one is shown", || shows(&server, &authority, &new));
            let before = done.load(Ordering::Relaxed);
            eventually("it is used", || done.load(Ordering::Relaxed) > before + 10);
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// Without a signal; by links to folders, as Kubernetes does it.
#[test]
fn links_are_followed() {
    let authority = Authority::new();
    let folder = authority.folder();
    let place = |version: &str| {
        let (cert, key) = authority.sign(version, "localhost", Valid::Now);
        let of = folder.join(version);
        fs::create_dir(&of).expect("the folder is writable");
        fs::rename(cert, of.join("tls.crt")).expect("it is there");
        fs::rename(key, of.join("tls.key")).expect("it is there");
        let link = folder.join("..link");
        symlink(version, &link).expect("the folder is writable");
        fs::rename(link, folder.join("..data")).expect("the folder is writable");
        read(&of.join("tls.crt"))
    };
    let first = place("1");
    for name in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{name}"), folder.join(name)).expect("the folder is writable");
    }
    let server = Secure::with(&folder.join("tls.crt"), &folder.join("tls.key"), &[]);
    assert!(shows(&server, &authority, &first));
    let second = place("2");
    eventually("the new one is shown", || shows(&server, &authority, &second));
}

#[test]
fn the_old_pair_stays_until_the_new_one_fits() {
    let authority = Authority::new();
    let (cert, key) = authority.sign("server", "localhost", Valid::Now);
    let server = Secure::with(&cert, &key, &["--http", "127.0.0.1:0"]);
    let first = read(&cert);
    let (new_cert, new_key) = authority.sign("new", "localhost", Valid::Now);
    let second = read(&new_cert);

    fs::rename(&new_cert, &cert).expect("the folder is writable");
    server.process.await_output("the certificate of before stays");
    assert_eq!(server.metric("jq_tls_certificate_stale"), Some(1.0));
    assert!(shows(&server, &authority, &first));
    fs::rename(&new_key, &key).expect("the folder is writable");
    eventually("the new one is shown", || shows(&server, &authority, &second));
    assert_eq!(server.metric("jq_tls_certificate_stale"), Some(0.0));
    let told = server.process.output().matches("the certificate of before stays").count();
    assert_eq!(told, 1, "{}", server.process.output());

    // Files that are gone.
    fs::remove_file(&cert).expect("it is there");
    eventually("that is told", || server.metric("jq_tls_certificate_stale") == Some(1.0));
    assert!(shows(&server, &authority, &second));
}
