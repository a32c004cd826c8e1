//! Where the results of a pack are, by their ids, and which ids cannot be in it.
//!
//! ```text
//! "jq-index" VERSION RESULTS NEWEST   8 + 4 + 4 + 8 bytes
//! ID OFFSET LENGTH FINISHED           16 + 4 + 4 + 8 bytes for each result, in the order of their ids
//! CRC32C                              4 bytes, of all before it
//! ```
//!
//! Numbers are big-endian; times are milliseconds since 1970. A pack that takes no more results has one of
//! these beside it. It says nothing that is not in the pack, so it can be made again from that; but it
//! outlives the pack, to tell what has expired from what was never there.
//!
//! Of each result only two bytes are kept in memory, and one id for each block of the file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use uuid::Uuid;

const MAGIC: &[u8; 8] = b"jq-index";
const VERSION: u32 = 1;
const HEAD: usize = 24;
const ENTRY: usize = 32;

/// As many results are read at once: a page of memory.
const BLOCK: usize = 128;

/// Where a result is in its pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    /// Its first byte.
    pub(super) offset: u32,
    /// Of the line, in bytes.
    pub(super) length: u32,
    /// When the job was over, in milliseconds since 1970.
    pub(super) finished: i64,
}

/// The index of a pack that takes no more results.
#[derive(Debug)]
pub(super) struct Index {
    filter: Filter,
    /// The last time of all results; without any, the first that there is.
    pub(super) newest: i64,
    /// How many results there are.
    pub(super) results: usize,
    entries: Entries,
}

#[derive(Debug)]
enum Entries {
    /// In the file: the first id of each block.
    InFile(Vec<Uuid>),
    /// The disk has not taken the file.
    InMemory(Vec<(Uuid, Spot)>),
}

impl Index {
    /// Of these results, of which no two have the same id. The pack has results of that time too.
    pub(super) fn new(mut entries: Vec<(Uuid, Spot)>, newest: i64) -> Self {
        entries.sort_unstable_by_key(|(id, _)| *id);
        let mut filter = Filter::new(entries.len());
        entries.iter().for_each(|(id, _)| filter.add(*id));
        let finished = entries.iter().map(|(_, spot)| spot.finished);
        let newest = finished.fold(newest, i64::max);
        let results = entries.len();
        Self { filter, newest, results, entries: Entries::InMemory(entries) }
    }

    /// Writes the file, and keeps less in memory from then on.
    pub(super) fn write(&mut self, path: &Path) -> io::Result<()> {
        let Entries::InMemory(entries) = &self.entries else { return Ok(()) };
        let mut bytes = Vec::with_capacity(HEAD + entries.len() * ENTRY + 4);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_be_bytes());
        let count = u32::try_from(entries.len()).map_err(io::Error::other)?;
        bytes.extend_from_slice(&count.to_be_bytes());
        bytes.extend_from_slice(&self.newest.to_be_bytes());
        for (id, spot) in entries {
            bytes.extend_from_slice(id.as_bytes());
            bytes.extend_from_slice(&spot.offset.to_be_bytes());
            bytes.extend_from_slice(&spot.length.to_be_bytes());
            bytes.extend_from_slice(&spot.finished.to_be_bytes());
        }
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_be_bytes());
        let temporary = path.with_extension("new");
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary);
        let written = file.and_then(|mut file| file.write_all(&bytes));
        if let Err(error) = written.and_then(|()| fs::rename(&temporary, path)) {
            // What there is of it takes up space.
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        let firsts = entries.iter().step_by(BLOCK).map(|(id, _)| *id).collect();
        self.entries = Entries::InFile(firsts);
        Ok(())
    }

    /// Reads the file. `None`: it is damaged.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        Ok(Self::decode(&fs::read(path)?))
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (bytes, sum) = bytes.split_last_chunk::<4>()?;
        if crc32c::crc32c(bytes) != u32::from_be_bytes(*sum) {
            return None;
        }
        let (head, entries) = bytes.split_at_checked(HEAD)?;
        let is_ours = head[..8] == *MAGIC && head[8..12] == VERSION.to_be_bytes();
        let results = u32::from_be_bytes(*head[12..].first_chunk()?) as usize;
        let newest = i64::from_be_bytes(*head[16..].first_chunk()?);
        if !is_ours || entries.len() != results * ENTRY {
            return None;
        }
        let mut filter = Filter::new(results);
        let mut firsts = Vec::with_capacity(results.div_ceil(BLOCK));
        for (number, entry) in entries.chunks_exact(ENTRY).enumerate() {
            let (id, _) = decode(entry)?;
            filter.add(id);
            if number % BLOCK == 0 {
                firsts.push(id);
            }
        }
        Some(Self { filter, newest, results, entries: Entries::InFile(firsts) })
    }

    /// Whether it may have this id. If not, it has not.
    pub(super) fn may_have(&self, id: Uuid) -> bool {
        self.filter.may_have(id)
    }

    /// Where the result of this id is. `path` is the file.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(super) fn find(&self, id: Uuid, path: &Path) -> io::Result<Option<Spot>> {
        let firsts = match &self.entries {
            Entries::InMemory(entries) => {
                let found = entries.binary_search_by_key(&id, |(id, _)| *id);
                return Ok(found.ok().map(|at| entries[at].1));
            }
            Entries::InFile(firsts) => firsts,
        };
        let Some(block) = firsts.partition_point(|first| *first <= id).checked_sub(1) else {
            return Ok(None);
        };
        let first = block * BLOCK;
        let mut bytes = [0; BLOCK * ENTRY];
        let bytes = &mut bytes[..BLOCK.min(self.results - first) * ENTRY];
        File::open(path)?.read_exact_at(bytes, (HEAD + first * ENTRY) as u64)?;
        let mut entries = bytes.chunks_exact(ENTRY).filter_map(decode);
        Ok(entries.find(|(it, _)| *it == id).map(|(_, spot)| spot))
    }
}

fn decode(entry: &[u8]) -> Option<(Uuid, Spot)> {
    let spot = Spot {
        offset: u32::from_be_bytes(*entry.get(16..)?.first_chunk()?),
        length: u32::from_be_bytes(*entry.get(20..)?.first_chunk()?),
        finished: i64::from_be_bytes(*entry.get(24..)?.first_chunk()?),
    };
    Some((Uuid::from_bytes(*entry.first_chunk()?), spot))
}

/// A split block Bloom filter, as in Apache Parquet: it takes one line of the processor's cache to say that
/// an id is not there. With 16 bits for each id, it is wrong once in about 700 times.
#[derive(Debug)]
struct Filter(Vec<[u32; 8]>);

/// Those of Parquet.
const SALT: [u32; 8] = [
    0x47b6_137b,
    0x4497_4d91,
    0x8824_ad5b,
    0xa2b7_289d,
    0x7054_95c7,
    0x2df1_424b,
    0x9efc_4947,
    0x5c6b_fb31,
];

impl Filter {
    fn new(ids: usize) -> Self {
        Self(vec![[0; 8]; ids.div_ceil(16).max(1)])
    }

    /// Its block, and a bit of each word there.
    fn place(&self, id: Uuid) -> (usize, [u32; 8]) {
        // Ids need not be random.
        let (high, low) = id.as_u64_pair();
        let product =
            u128::from(high ^ 0x9e37_79b9_7f4a_7c15) * u128::from(low ^ 0xd6e8_feb8_6659_fd93);
        let hash = (product as u64) ^ (product >> 64) as u64;
        let block = ((hash >> 32) * self.0.len() as u64) >> 32;
        let key = hash as u32;
        let block = block as usize;
        (block, SALT.map(|salt| 1 << (key.wrapping_mul(salt) >> 27)))
    }

    fn add(&mut self, id: Uuid) {
        let (block, bits) = self.place(id);
        self.0[block].iter_mut().zip(bits).for_each(|(word, bit)| *word |= bit);
    }

    fn may_have(&self, id: Uuid) -> bool {
        let (block, bits) = self.place(id);
        self.0[block].iter().zip(bits).all(|(word, bit)| word & bit != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(count: u32) -> Vec<(Uuid, Spot)> {
        let entry = |number: u32| {
            let spot = Spot { offset: number, length: number + 1, finished: number.into() };
            // Some in order, some not.
            let id = u128::from(number) << (number % 3 * 40);
            (Uuid::from_u128(id * 3 + 1), spot)
        };
        let mut entries: Vec<_> = (0..count).map(entry).collect();
        entries.sort_unstable_by_key(|(id, _)| *id);
        entries.dedup_by_key(|(id, _)| *id);
        entries
    }

    #[test]
    fn what_is_in_it_is_found_in_memory_and_in_the_file() {
        let path = std::env::temp_dir().join(format!("jq-index-{}", Uuid::new_v4()));
        for count in [1, 127, 128, 129, 5000] {
            let entries = entries(count);
            let mut index = Index::new(entries.clone(), i64::MIN);
            let read = |index: &Index| {
                for (id, spot) in &entries {
                    assert!(index.may_have(*id));
                    assert_eq!(index.find(*id, &path).unwrap(), Some(*spot));
                    let next = Uuid::from_u128(id.as_u128() + 1);
                    assert_eq!(index.find(next, &path).unwrap(), None);
                }
                assert_eq!(index.find(Uuid::nil(), &path).unwrap(), None);
                assert_eq!(index.find(Uuid::max(), &path).unwrap(), None);
            };
            read(&index);
            index.write(&path).unwrap();
            read(&index);
            let again = Index::read(&path).unwrap().unwrap();
            read(&again);
            assert_eq!((again.newest, again.results), (index.newest, entries.len()));
        }
        let whole = fs::read(&path).unwrap();
        for at in [0, 9, 13, 20, 40, whole.len() - 1] {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(&path, changed).unwrap();
            assert!(Index::read(&path).unwrap().is_none(), "byte {at}");
            fs::write(&path, &whole[..at]).unwrap();
            assert!(Index::read(&path).unwrap().is_none(), "cut at {at}");
        }
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn the_filter_is_seldom_wrong() {
        let ids = |from: u128| (from..from + 20_000).map(|it| Uuid::from_u128(it << 64 | it));
        let mut filter = Filter::new(20_000);
        ids(1).for_each(|id| filter.add(id));
        assert!(ids(1).all(|id| filter.may_have(id)));
        let wrong = ids(1 << 40).filter(|id| filter.may_have(*id)).count();
        assert!(wrong < 200, "{wrong} of 20000");
    }
}
