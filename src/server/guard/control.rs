//! Access control, as all connections share it.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use beanstalk_protocol::{AccessStats, Token};

use super::account::Account;
use crate::access::{
    Access, ClientAddress, Counts, Directory, Identity, Principal, Verification, Verifier,
};
use crate::clock::Clock;

/// Who may do what, and what they have and do.
#[derive(Debug)]
pub struct AccessControl {
    access: Arc<Access>,
    verifier: Verifier,
    /// Those that have connected, by name; also of files that do not count any more, since counters must not
    /// go back.
    principals: Mutex<HashMap<Arc<str>, Arc<Account>>>,
    addresses: Mutex<Addresses>,
    /// Of all who have not said who they are.
    nobody: Arc<Account>,
}

/// Those that are connected, or have jobs in the queue, while there are limits for addresses.
#[derive(Debug)]
struct Addresses {
    accounts: HashMap<ClientAddress, Arc<Account>>,
    /// With more than this, those that nobody needs are removed.
    most: usize,
}

/// So many addresses are kept whether they are needed or not.
const FEW_ADDRESSES: usize = 256;

/// What shows who is at the other end of a connection, before it says anything.
#[derive(Debug, Clone, Default)]
pub struct Shown {
    /// The address of the client, unless it is on a Unix socket.
    pub address: Option<IpAddr>,
    /// The user at the other end of a Unix socket.
    pub uid: Option<u32>,
    /// What a verified certificate is for: see [`Directory::by_certificate`].
    pub certificate: Vec<String>,
    /// The principal that the listener names.
    pub acts_as: Option<Arc<str>>,
}

/// A principal, and what it has and does.
#[derive(Debug, Clone)]
pub(crate) struct PrincipalView {
    pub(crate) principal: Arc<Principal>,
    pub(crate) account: Option<Arc<Account>>,
}

impl AccessControl {
    /// Starts the thread that verifies tokens.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn start(access: Arc<Access>, clock: Clock) -> io::Result<Arc<Self>> {
        let verifier = Verifier::start(Arc::clone(&access), clock)?;
        Ok(Arc::new(Self {
            access,
            verifier,
            principals: Mutex::default(),
            addresses: Mutex::new(Addresses { accounts: HashMap::new(), most: FEW_ADDRESSES }),
            nobody: Arc::new(Account::new("")),
        }))
    }

    /// Which reading of the file counts.
    #[inline]
    pub(crate) fn generation(&self) -> u64 {
        self.access.generation()
    }

    /// The file that says it.
    pub(crate) fn access(&self) -> &Arc<Access> {
        &self.access
    }

    pub(crate) fn directory(&self) -> Arc<Directory> {
        self.access.directory()
    }

    pub(super) fn verify(&self, token: Token, address: Option<IpAddr>) -> Verification {
        self.verifier.verify(token, address)
    }

    /// What is known of tokens that were verified.
    pub(crate) fn verified(&self) -> Counts {
        self.verifier.counts()
    }

    /// The account of those who have not said who they are.
    pub(crate) fn nobody(&self) -> &Arc<Account> {
        &self.nobody
    }

    pub(super) fn account_of(&self, principal: &Principal) -> Arc<Account> {
        let mut principals = self.principals.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Account::new(&principal.name));
        Arc::clone(principals.entry(Arc::clone(&principal.name)).or_insert_with(new))
    }

    pub(super) fn account_at(&self, address: IpAddr) -> Arc<Account> {
        let address = ClientAddress::from(address);
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let Addresses { accounts, most } = &mut *addresses;
        if accounts.len() >= *most {
            accounts.retain(|_, account| Arc::strong_count(account) > 1);
            *most = (2 * accounts.len()).max(FEW_ADDRESSES);
        }
        let new = || Arc::new(Account::new(&address.to_string()));
        Arc::clone(accounts.entry(address).or_insert_with(new))
    }

    /// The principals of the file, in its order.
    pub(crate) fn principals(&self) -> Vec<PrincipalView> {
        let directory = self.directory();
        let accounts = self.principals.lock().unwrap_or_else(PoisonError::into_inner);
        let account = |name: &Arc<str>| accounts.get(name).cloned();
        let view = |principal: &Arc<Principal>| PrincipalView {
            principal: Arc::clone(principal),
            account: account(&principal.name),
        };
        directory.principals().map(view).collect()
    }

    /// What was refused since the start.
    pub(crate) fn stats(&self) -> AccessStats {
        let accounts = self.principals.lock().unwrap_or_else(PoisonError::into_inner);
        let denied: u64 = accounts.values().map(|account| account.denied()).sum();
        AccessStats {
            denied_commands: denied + self.nobody.denied(),
            failed_auths: self.verified().wrong,
        }
    }
}

impl Shown {
    /// Who that is, as far as the directory knows.
    pub(super) fn identity(&self, directory: &Directory) -> Option<Identity> {
        let by_certificate = || directory.by_certificate(&self.certificate);
        let by_uid = || directory.by_uid(self.uid?);
        let by_listener = || directory.by_name(self.acts_as.as_deref()?);
        by_certificate().or_else(by_uid).or_else(by_listener)
    }
}
