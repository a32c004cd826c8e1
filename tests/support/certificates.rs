//! Certificates for tests: an authority, and what it signs, in files of a directory of their own.

#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, process};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

/// An authority, and a directory with the files of what it signs. Removed in the end.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Valid {
    Now,
    Formerly,
    Later,
}

impl Authority {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("jq-certificates-{}-{number}", process::id()));
        fs::create_dir(&folder).expect("the temporary folder is writable");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, format!("authority {number}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("there is randomness");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("its own certificate");
        fs::write(folder.join("ca.pem"), issuer.pem()).expect("the folder is writable");
        Self { issuer, folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file with its own certificate.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Files with a certificate for this host or person, and with the key to it. Earlier ones of the same
    /// `name` are replaced, as tools do it: by renaming new files.
    pub(crate) fn sign(&self, name: &str, host: &str, valid: Valid) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::new(vec![host.to_owned()]).expect("a host's name");
        params.distinguished_name.push(DnType::CommonName, host);
        match valid {
            Valid::Now => {}
            Valid::Formerly => {
                params.not_before = date_time_ymd(2019, 1, 1);
                params.not_after = date_time_ymd(2020, 1, 1);
            }
            Valid::Later => params.not_before = date_time_ymd(3000, 1, 1),
        }
        let key = KeyPair::generate().expect("there is randomness");
        let signed = params.signed_by(&key, &self.issuer).expect("a certificate");
        let place = |kind: &str, text: String| {
            let path = self.folder.join(format!("{name}.{kind}.pem"));
            let new = path.with_extension("new");
            fs::write(&new, text).expect("the folder is writable");
            restrict(&new);
            fs::rename(&new, &path).expect("it is in the same folder");
            path
        };
        (place("cert", signed.pem()), place("key", key.serialize_pem()))
    }
}

fn restrict(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("it is ours");
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
