//! Whose jobs are in the queue, as far as somebody has a limit for their bytes.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::hash::DefaultHasher;
use std::sync::Arc;

use beanstalk_protocol::JobId;

use super::account::Account;

/// A single table of millions of jobs would grow in one long step.
const SHARDS: usize = 64;

type Shard = HashMap<JobId, Owned, BuildHasherDefault<DefaultHasher>>;

/// The jobs whose bytes are counted, and for whom.
#[derive(Debug)]
pub(crate) struct Owners(Box<[Shard]>);

#[derive(Debug)]
struct Owned {
    bytes: u32,
    by: [Option<Arc<Account>>; 2],
}

impl Default for Owners {
    fn default() -> Self {
        Self(std::iter::repeat_with(Shard::default).take(SHARDS).collect())
    }
}

impl Owners {
    /// A job is in the queue, and its body counts for these.
    #[cold]
    pub(crate) fn insert(&mut self, job: JobId, bytes: u32, by: [Option<Arc<Account>>; 2]) {
        by.iter().flatten().for_each(|account| account.add_bytes(bytes.into()));
        self.shard(job).insert(job, Owned { bytes, by });
    }

    /// A job is gone, whoever has put it.
    #[cold]
    #[inline(never)]
    pub(crate) fn remove(&mut self, job: JobId) {
        if let Some(Owned { bytes, by }) = self.shard(job).remove(&job) {
            by.iter().flatten().for_each(|account| account.remove_bytes(bytes.into()));
        }
    }

    fn shard(&mut self, job: JobId) -> &mut Shard {
        &mut self.0[job as usize % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_count_for_as_long_as_the_job_is_there() {
        let [principal, address] = ["p", "a"].map(|name| Arc::new(Account::new(name)));
        let mut owners = Owners::default();
        owners.insert(1, 10, [Some(Arc::clone(&principal)), None]);
        owners.insert(65, 5, [Some(Arc::clone(&principal)), Some(Arc::clone(&address))]);
        assert_eq!((principal.bytes(), address.bytes()), (15, 5));
        owners.remove(2);
        owners.remove(65);
        owners.remove(65);
        assert_eq!((principal.bytes(), address.bytes()), (10, 0));
    }
}
