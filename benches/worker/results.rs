//! A million small results in a state directory: the disk that they take up, how soon a worker has the
//! directory after a restart, and whether others notice the sweep that removes them.
//!
//!     cargo bench -p jq-worker --bench results [RESULTS]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jq_worker::result::FinalStatus;
use jq_worker::store::{Entry, Found, Store, Swept, Sync};
use serde_json::value::RawValue;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::sleep;
use uuid::Uuid;

const RESULTS: usize = 1_000_000;

/// As in the worker.
const SWEEP_PAUSE: Duration = Duration::from_millis(20);

const HOUR: Duration = Duration::from_secs(3600);

/// Goes with the bench.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[tokio::main]
async fn main() {
    let wanted = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let results = wanted.unwrap_or(RESULTS);
    let folder = Folder(std::env::temp_dir().join(format!("jq-results-{}", Uuid::new_v4())));
    let store = Arc::new(open(&folder.0));

    let start = Instant::now();
    let bytes = fill(&store, results).await;
    println!("{results} results of {} bytes, kept in {:.1?}", bytes / results, start.elapsed());
    let disk = disk(&folder.0.join("packs"));
    let each = (disk as f64 - bytes as f64) / results as f64;
    println!("disk: {} MB, {each:.0} bytes each beside their own", disk >> 20);
    let besides = self::disk(&folder.0);
    println!("      {} MB besides, whatever their number", besides >> 20);

    drop(store);
    let start = Instant::now();
    let store = Arc::new(open(&folder.0));
    println!("restart: {:.0?}", start.elapsed());
    let start = Instant::now();
    let known = (0..results).step_by(97).map(|number| store.find(id(number)));
    let found = known.filter(|found| matches!(found, Ok(Found::Result(_)))).count();
    assert_eq!(found, results.div_ceil(97), "all are found");
    println!("found in {:.1?} each", start.elapsed() / found as u32);
    let start = Instant::now();
    for _ in 0..10_000 {
        assert!(matches!(store.find(Uuid::new_v4()), Ok(Found::Nothing)));
    }
    println!("not found in {:.1?} each", start.elapsed() / 10_000);

    println!("one result kept, half of them within / 99 % within / longest:");
    print_times(
        "before the sweep",
        keep_until(&store, async { sleep(Duration::from_secs(3)).await }).await,
    );
    for name in ["while packs are removed", "while indexes are removed"] {
        // A shorter time does what time does.
        let retention = if name.contains("packs") { HOUR } else { HOUR / 2 };
        let start = Instant::now();
        let times = keep_until(&store, sweep(Arc::clone(&store), retention)).await;
        print_times(&format!("{name}, in {:.1?}", start.elapsed()), times);
    }
    println!("disk: {} MB", self::disk(&folder.0.join("packs")) >> 20);
}

fn open(dir: &Path) -> Store {
    Store::open(dir, Sync::Always).expect("the disk can be used")
}

fn id(number: usize) -> Uuid {
    // As random as those of jobs are.
    Uuid::from_u128((number as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
}

/// A result as that of a short job, an hour old.
fn entry(id: Uuid, age: Duration) -> Arc<Entry> {
    let finished = Timestamp::now() - age;
    let text = format!(r#"{{"id":"{id}","timestamp":"{finished}","text":"{}"}}"#, "x".repeat(800));
    Arc::new(Entry {
        id,
        place: None,
        status: FinalStatus::Successful,
        target: None,
        callback: None,
        finished,
        result: RawValue::from_string(text).expect("it is JSON"),
        job: None,
        then: Vec::new(),
        artifacts: None,
        sends: Default::default(),
    })
}

async fn fill(store: &Arc<Store>, results: usize) -> usize {
    let mut keeping = JoinSet::new();
    let mut bytes = 0;
    for number in 0..results {
        let entry = entry(id(number), HOUR);
        bytes += entry.body().len();
        let store = Arc::clone(store);
        keeping.spawn(async move { store.keep(entry).await });
        while keeping.len() >= 1000 {
            keeping.join_next().await.expect("there is one").expect("it ends").expect("it is kept");
        }
    }
    while let Some(kept) = keeping.join_next().await {
        kept.expect("it ends").expect("it is kept");
    }
    bytes
}

/// Keeps one result after another until something is over, and returns how long each took.
async fn keep_until(store: &Store, over: impl Future<Output = ()>) -> Vec<Duration> {
    let mut over = std::pin::pin!(over);
    let mut times = Vec::new();
    loop {
        let start = Instant::now();
        let kept = store.keep(entry(Uuid::new_v4(), Duration::ZERO));
        let mut kept = std::pin::pin!(kept);
        tokio::select! {
            biased;
            kept = &mut kept => kept.expect("it is kept"),
            () = &mut over => return times,
        }
        times.push(start.elapsed());
    }
}

async fn sweep(store: Arc<Store>, retention: Duration) {
    let mut sweep = store.sweep(retention);
    loop {
        let store = Arc::clone(&store);
        let step = move || (store.step(&mut sweep), sweep);
        let (swept, same) = spawn_blocking(step).await.expect("it does not panic");
        sweep = same;
        match swept.expect("the disk can be used") {
            Swept::More => sleep(SWEEP_PAUSE).await,
            Swept::All(_) => return,
        }
    }
}

fn print_times(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let of = |hundredths: usize| times.get(times.len() * hundredths / 100).copied();
    let (half, most) = (of(50).unwrap_or_default(), of(99).unwrap_or_default());
    let longest = times.last().copied().unwrap_or_default();
    println!("    {name}: {half:.1?} / {most:.1?} / {longest:.1?} ({})", times.len());
}

/// What the files in a folder take up, in bytes.
fn disk(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).expect("it is there").map(|file| file.expect("it can be read"));
    let blocks = files.filter_map(|file| file.metadata().ok()).filter(fs::Metadata::is_file);
    blocks.map(|meta| meta.blocks() * 512).sum()
}
