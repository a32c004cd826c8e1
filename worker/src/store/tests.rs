//! Through crashes: a store that is dropped without a word is opened again.

use std::fs::{self, File};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::value::RawValue;

use crate::result::{FinalStatus, QueuePlace};

use super::*;

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("jq-store-{}", Uuid::new_v4()));
        Self(path)
    }

    fn open(&self) -> Store {
        Store::open(&self.0, Sync::Always).unwrap()
    }

    fn journals(&self) -> Vec<PathBuf> {
        journal::list(&self.0).unwrap().into_iter().map(|(_, path)| path).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn entry(id: Uuid, result: &str) -> Arc<Entry> {
    Arc::new(Entry {
        id,
        place: Some(QueuePlace { job: 7, tube: "t".into(), server: "s:1".into() }),
        status: FinalStatus::Successful,
        target: Some(serde_json::from_str(r#"{"url":"https://x.example/"}"#).unwrap()),
        callback: Some("https://x.example/".parse().unwrap()),
        finished: Timestamp::UNIX_EPOCH,
        result: RawValue::from_string(result.to_owned()).unwrap(),
        job: None,
        then: Vec::new(),
        artifacts: None,
        sends: Default::default(),
    })
}

fn result(store: &Store, id: Uuid) -> Option<String> {
    match store.find(id).unwrap() {
        Found::Result(body) => Some(String::from_utf8(body.to_vec()).unwrap()),
        Found::Expired | Found::Nothing => None,
    }
}

/// Of a result that no jobs follow.
fn nothing_done() -> Done {
    Done { stored: true, followed: true, ..Done::default() }
}

#[tokio::test]
async fn what_is_kept_is_found_and_owed() {
    let folder = Folder::new();
    let id = Uuid::new_v4();
    let store = folder.open();
    assert_eq!(store.find(id).unwrap(), Found::Nothing);
    store.keep(entry(id, "{\"a\":1}")).await.unwrap();
    assert_eq!(result(&store, id).unwrap(), "{\"a\":1}\n");
    let (owed, done) = store.owed(id).unwrap();
    assert_eq!((owed.id, done), (id, nothing_done()));
    store.note(&entry(id, "0"), Step::Published);
    store.note(&entry(id, "0"), Step::CalledBack);
    drop(store);

    let store = folder.open();
    let (owed, done) = store.owed(id).unwrap();
    assert_eq!(owed.place.as_ref().unwrap().job, 7);
    assert_eq!(done, Done { published: true, called_back: true, ..nothing_done() });
    store.note(&entry(id, "0"), Step::Dequeued);
    drop(store);
    let store = folder.open();
    assert!(store.owed(id).is_none());
    assert_eq!(store.owing(), 0);
    assert_eq!(result(&store, id).unwrap(), "{\"a\":1}\n");
}

#[tokio::test]
async fn many_at_once() {
    let folder = Folder::new();
    let store = Arc::new(folder.open());
    let ids: Vec<Uuid> = (0..500).map(|_| Uuid::new_v4()).collect();
    let mut keeping = tokio::task::JoinSet::new();
    for id in ids.clone() {
        let store = Arc::clone(&store);
        keeping.spawn(async move { store.keep(entry(id, &format!("\"{id}\""))).await });
    }
    while let Some(kept) = keeping.join_next().await {
        kept.unwrap().unwrap();
    }
    assert_eq!(store.owing(), 500);
    for id in ids {
        assert_eq!(result(&store, id).unwrap(), format!("\"{id}\"\n"));
    }
}

/// A result that is too large for a pack.
fn large(number: u32) -> String {
    format!("\"{number}{}\"", "x".repeat(SMALL))
}

#[tokio::test]
async fn a_result_that_did_not_reach_its_place_is_in_the_journal() {
    let folder = Folder::new();
    let ids = [1, 2, 3, 4].map(Uuid::from_u128);
    let results = ["1".to_owned(), large(2), large(3), "{\"whole\":true}".to_owned()];
    let store = folder.open();
    for (id, result) in ids.iter().zip(&results) {
        store.keep(entry(*id, result)).await.unwrap();
    }
    let files = [ids[1], ids[2]].map(|id| store.shared.kept.files.result(id));
    drop(store);
    let pack = folder.0.join("packs/00000000.pack");
    let packed = fs::read(&pack).unwrap();
    // What a power cut leaves of what was not synced: less, or zeros.
    let mut states: Vec<_> =
        [0, 10, packed.len() - 3, packed.len()].map(|cut| packed[..cut].to_vec()).into();
    states.push(vec![0; packed.len()]);
    states.push([&packed[..50], &[0; 100][..], &packed[150..]].concat());
    for state in states {
        fs::remove_file(&files[0]).unwrap();
        fs::write(&files[1], "{\"wh").unwrap();
        fs::write(&pack, state).unwrap();
        let store = folder.open();
        for (id, wanted) in ids.iter().zip(&results) {
            assert_eq!(result(&store, *id).unwrap(), format!("{wanted}\n"));
            // What is owed is in memory. This is on the disk.
            let Found::Result(body) = store.shared.kept.find(*id).unwrap() else { panic!("{id}") };
            assert_eq!(body, format!("{wanted}\n"));
        }
        drop(store);
    }
    // What is there already is not written again.
    let size = fs::metadata(&pack).unwrap().len();
    drop(folder.open());
    assert!(fs::metadata(&pack).unwrap().len() < size + 200, "two lines for files");
}

#[tokio::test]
async fn small_and_large_results_of_one_job_take_each_others_place() {
    let folder = Folder::new();
    let store = folder.open();
    let id = Uuid::new_v4();
    // A file of an earlier version, which packed nothing.
    store.shared.kept.files.write(id, b"\"before\"\n", Timestamp::now()).unwrap();
    assert_eq!(result(&store, id).unwrap(), "\"before\"\n");
    for body in ["1".to_owned(), large(2), "3".to_owned(), large(4), large(5), "6".to_owned()] {
        store.keep(entry(id, &body)).await.unwrap();
        let Found::Result(found) = store.shared.kept.find(id).unwrap() else { panic!("{body}") };
        assert_eq!(found, format!("{body}\n"));
    }
}

#[tokio::test]
async fn wherever_the_journal_is_cut_what_is_whole_is_read() {
    let folder = Folder::new();
    let ids = [Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4()];
    let store = folder.open();
    for id in ids {
        store.keep(entry(id, "[]")).await.unwrap();
    }
    drop(store);
    let journal = folder.journals().pop().unwrap();
    let whole = fs::read(&journal).unwrap();
    let ends: Vec<usize> = whole
        .iter()
        .enumerate()
        .filter_map(|(at, byte)| (*byte == b'\n').then_some(at + 1))
        .collect();
    assert_eq!(ends.len(), 3);
    for cut in 0..=whole.len() {
        fs::write(&journal, &whole[..cut]).unwrap();
        let read = journal::replay(&folder.0).unwrap().owing.len();
        assert_eq!(read, ends.iter().filter(|end| **end <= cut).count(), "cut at {cut}");
    }
    let mut flipped = whole.clone();
    flipped[ends[0] + 30] ^= 1;
    fs::write(&journal, &flipped).unwrap();
    assert_eq!(journal::replay(&folder.0).unwrap().owing.len(), 1);
}

#[tokio::test]
async fn zeros_are_written_ahead_and_mean_nothing() {
    let folder = Folder::new();
    let store = folder.open();
    let body = format!("\"{}\"", "x".repeat(20 << 10));
    let length = || fs::metadata(&folder.journals()[0]).unwrap().len();
    for number in 0..10 {
        store.keep(entry(Uuid::from_u128(number), &body)).await.unwrap();
    }
    let small = length();
    assert!(small < 256 << 10, "{small}");
    for number in 10..20 {
        store.keep(entry(Uuid::from_u128(number), &body)).await.unwrap();
    }
    let filled = length();
    assert!(filled > 2 * small + (100 << 10), "{filled}");
    // Into the zeros.
    store.keep(entry(Uuid::from_u128(20), "20")).await.unwrap();
    assert_eq!(length(), filled);
    drop(store);
    let text = fs::read(&folder.journals()[0]).unwrap();
    assert!(text.ends_with(&[0; 1000]));
    let replayed = journal::replay(&folder.0).unwrap();
    assert_eq!((replayed.owing.len(), replayed.latest.len()), (21, 21));
    let store = folder.open();
    assert_eq!(store.owing(), 21);
    // A worker that need not sync writes none.
    drop(store);
    let store = Store::open(&folder.0, Sync::Never).unwrap();
    let before = length();
    store.keep(entry(Uuid::from_u128(21), &body)).await.unwrap();
    assert!(length() < before + (30 << 10));
}

#[tokio::test]
async fn the_journal_does_not_grow_for_ever() {
    let folder = Folder::new();
    let store = folder.open();
    let body = format!("\"{}\"", "x".repeat(1 << 20));
    let owed = Uuid::new_v4();
    store.keep(entry(owed, "\"owed\"")).await.unwrap();
    for _ in 0..40 {
        let id = Uuid::new_v4();
        store.keep(entry(id, &body)).await.unwrap();
        for step in [Step::Published, Step::CalledBack, Step::Dequeued] {
            store.note(&entry(id, "0"), step);
        }
    }
    store.keep(entry(Uuid::new_v4(), "2")).await.unwrap();
    drop(store);
    let journals = folder.journals();
    assert_eq!(journals.len(), 1);
    assert!(fs::metadata(&journals[0]).unwrap().len() < (25 << 20));
    let store = folder.open();
    assert_eq!(store.owing(), 2);
    assert_eq!(result(&store, owed).unwrap(), "\"owed\"\n");
}

#[tokio::test]
async fn a_journal_that_is_all_owed_is_not_begun_anew_each_time() {
    let folder = Folder::new();
    let store = folder.open();
    let body = format!("\"{}\"", "x".repeat(1 << 20));
    for _ in 0..70 {
        store.keep(entry(Uuid::new_v4(), &body)).await.unwrap();
    }
    drop(store);
    let journal = folder.journals().pop().unwrap();
    let number = journal.to_str().unwrap().rsplit('-').next().unwrap().parse::<u32>().unwrap();
    assert!(number <= 3, "journal {number}");
}

#[tokio::test]
async fn a_result_that_had_expired_is_as_old_as_it_was() {
    let folder = Folder::new();
    let id = Uuid::new_v4();
    let store = folder.open();
    store.keep(entry(id, "1")).await.unwrap();
    for step in [Step::Published, Step::CalledBack, Step::Dequeued] {
        store.note(&entry(id, "0"), step);
    }
    drop(store);
    let store = folder.open();
    let age = Timestamp::now().as_second().unsigned_abs();
    sweep(&store, Duration::from_secs(age - 3600));
    assert_eq!(store.find(id).unwrap(), Found::Expired);
    sweep(&store, Duration::from_secs(3600));
    assert_eq!(store.find(id).unwrap(), Found::Nothing);
}

#[tokio::test]
async fn a_new_journal_that_is_cut_takes_nothing_back() {
    let folder = Folder::new();
    let (id, place) = (Uuid::new_v4(), entry(Uuid::nil(), "0"));
    let store = folder.open();
    store.keep(entry(id, "1")).await.unwrap();
    store.note(&Entry { id, ..(*place).clone() }, Step::Published);
    drop(store);
    let journal = folder.journals().pop().unwrap();
    let whole = fs::read(&journal).unwrap();
    let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    // As if the machine had died while the next one was written.
    fs::write(journal::path(&folder.0, 99), &whole[..first]).unwrap();
    assert!(journal::replay(&folder.0).unwrap().owing[&id].done.published);
}

#[tokio::test]
async fn a_later_result_of_the_same_job_takes_the_place_of_the_earlier() {
    let folder = Folder::new();
    let id = Uuid::new_v4();
    let store = folder.open();
    store.keep(entry(id, "1")).await.unwrap();
    store.note(&entry(id, "0"), Step::Published);
    store.keep(entry(id, "2")).await.unwrap();
    drop(store);
    let store = folder.open();
    assert_eq!(store.owed(id).unwrap().1, nothing_done());
    assert_eq!(result(&store, id).unwrap(), "2\n");
}

#[test]
fn one_worker_at_a_time() {
    let folder = Folder::new();
    let store = folder.open();
    let refused = Store::open(&folder.0, Sync::Never).unwrap_err();
    assert!(refused.to_string().contains("another worker"), "{refused}");
    drop(store);
    folder.open();
}

#[tokio::test]
async fn a_journal_that_cannot_be_written_is_said_and_got_over() {
    let folder = Folder::new();
    let store = folder.open();
    let id = Uuid::new_v4();
    store.keep(entry(id, "1")).await.unwrap();
    // The results have no place to go, but the journal has.
    let places = [store.shared.kept.files.results().to_owned(), folder.0.join("packs")];
    for (number, place) in (0..).zip(&places) {
        store.shared.kept.packs.seal();
        let aside = place.with_file_name("aside");
        fs::rename(place, &aside).unwrap();
        fs::write(place, "").unwrap();
        let body = if number == 0 { large(2) } else { "2".to_owned() };
        store.keep(entry(Uuid::new_v4(), &body)).await.unwrap_err();
        fs::remove_file(place).unwrap();
        fs::rename(&aside, place).unwrap();
    }
    store.keep(entry(id, "3")).await.unwrap();
    assert_eq!(result(&store, id).unwrap(), "3\n");
}

/// The whole sweep. Tells when the next is due.
fn sweep(store: &Store, retention: Duration) -> Option<std::time::SystemTime> {
    let mut sweep = store.sweep(retention);
    loop {
        match store.step(&mut sweep).unwrap() {
            Swept::More => {}
            Swept::All(next) => return next,
        }
    }
}

fn finished_before(id: Uuid, seconds: u64, body: &str) -> Arc<Entry> {
    let finished = Timestamp::now() - Duration::from_secs(seconds);
    Arc::new(Entry { finished, ..(*entry(id, body)).clone() })
}

#[tokio::test]
async fn results_expire_in_two_steps_unless_something_is_owed() {
    let hour = Duration::from_secs(3600);
    for body in ["1".to_owned(), large(1)] {
        let folder = Folder::new();
        let store = folder.open();
        let [settled, owed] = [1, 2].map(Uuid::from_u128);
        let settle = async |store: &Store, entry: &Arc<Entry>| {
            for step in [Step::Published, Step::CalledBack, Step::Dequeued] {
                store.note(entry, step);
            }
            // Carried out in order, so the notes are too.
            store.keep(finished_before(Uuid::from_u128(3), 0, "3")).await.unwrap();
        };
        let old = finished_before(settled, 1800, &body);
        store.keep(Arc::clone(&old)).await.unwrap();
        store.keep(finished_before(owed, 1800, &body)).await.unwrap();
        settle(&store, &old).await;
        let due = sweep(&store, hour).unwrap().duration_since(std::time::SystemTime::now());
        assert!((1700..3600).contains(&due.unwrap().as_secs()));
        assert_eq!(result(&store, settled).unwrap(), format!("{body}\n"));

        sweep(&store, hour / 3);
        assert_eq!(store.find(settled).unwrap(), Found::Expired);
        assert_eq!(result(&store, owed).unwrap(), format!("{body}\n"));
        // A file says 410 from when it is emptied on, a pack from when its result has expired.
        if body.len() > SMALL {
            let file = store.shared.kept.files.result(settled);
            let file = File::options().write(true).open(file).unwrap();
            file.set_modified(std::time::SystemTime::now() - hour).unwrap();
        }
        sweep(&store, hour / 4);
        assert_eq!(store.find(settled).unwrap(), Found::Nothing);
        assert_eq!(result(&store, owed).unwrap(), format!("{body}\n"));
        drop(store);
        // The journal has it, whatever became of its pack.
        let store = folder.open();
        sweep(&store, hour / 4);
        assert_eq!(result(&store, owed).unwrap(), format!("{body}\n"));
        let (owed, _) = store.owed(owed).unwrap();
        settle(&store, &owed).await;
        sweep(&store, hour / 4);
        assert_ne!(store.find(owed.id).unwrap(), Found::Result(owed.body()));
    }
}

#[tokio::test]
async fn a_sweep_takes_small_steps() {
    let folder = Folder::new();
    let store = folder.open();
    for number in 0..1000_u128 {
        let id = Uuid::from_u128(number << 118 | number);
        store.shared.kept.files.write(id, b"1\n", Timestamp::UNIX_EPOCH).unwrap();
    }
    let mut sweep = store.sweep(Duration::from_secs(3600));
    let mut steps = 0;
    while store.step(&mut sweep).unwrap() == Swept::More {
        steps += 1;
    }
    assert!((5..20).contains(&steps), "{steps}");
    assert_eq!(store.find(Uuid::from_u128(0)).unwrap(), Found::Expired);
    assert_eq!(store.find(Uuid::from_u128(999 << 118 | 999)).unwrap(), Found::Expired);
}

#[tokio::test]
async fn what_is_there_can_be_looked_at_without_opening_it() {
    let folder = Folder::new();
    assert_eq!(Results::look(&folder.0).unwrap().find(Uuid::nil()).unwrap(), Found::Nothing);
    let store = folder.open();
    let [small, big] = [1, 2].map(Uuid::from_u128);
    store.keep(entry(small, "1")).await.unwrap();
    store.keep(entry(big, &large(2))).await.unwrap();
    let results = Results::look(&folder.0).unwrap();
    assert_eq!(results.find(small).unwrap(), Found::Result("1\n".into()));
    assert_eq!(results.find(big).unwrap(), Found::Result(format!("{}\n", large(2)).into()));
    assert_eq!(results.find(Uuid::nil()).unwrap(), Found::Nothing);
}

#[test]
fn working_directories_are_fresh_and_cleared() {
    let folder = Folder::new();
    let store = folder.open();
    let first = store.work_directory().unwrap();
    assert_ne!(first, store.work_directory().unwrap());
    fs::create_dir(first.join("locked")).unwrap();
    fs::write(first.join("locked/file"), "x").unwrap();
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(first.join("locked"), fs::Permissions::from_mode(0o000)).unwrap();
    let second = store.work_directory().unwrap();
    assert!(store.take_back(&second));
    assert_eq!(store.work_directory().unwrap(), second);
    fs::set_permissions(&second, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(!store.take_back(&second));
    let third = store.work_directory().unwrap();
    fs::write(third.join("file"), "x").unwrap();
    assert!(!store.take_back(&third));
    remove_tree(&third).unwrap();
    assert!(!third.exists());
    drop(store);
    let store = folder.open();
    assert!(!first.join("locked").exists());
    assert!(store.work_directory().unwrap().is_dir());
}

/// Three jobs that ended in each way. The first one's result was sent and its callback answered.
fn assert_is_golden(folder: &Folder) {
    let owing = journal::replay(&folder.0).unwrap().owing;
    assert_eq!(owing.len(), 3);
    let statuses = [FinalStatus::Successful, FinalStatus::Failed, FinalStatus::Dismissed];
    for (number, status) in (1..).zip(statuses) {
        let Owed { entry, done, .. } = &owing[&Uuid::from_u128(number)];
        assert_eq!(entry.status, status);
        assert_eq!(entry.place.as_ref().map(|place| place.job), Some(7));
        assert!(entry.target.is_some() && entry.callback.is_some());
        assert_eq!(entry.finished, "2026-11-22T12:03:10.12Z".parse().unwrap());
        assert_eq!(entry.result.get(), format!(r#"{{"status":"{}"}}"#, status.as_str()));
        let sent = number == 1;
        assert_eq!(*done, Done { published: sent, called_back: sent, ..nothing_done() });
    }
}

#[tokio::test]
async fn every_form_of_the_journal_that_was_ever_written_is_read() {
    let without_status: &[u8] = include_bytes!("golden/journal-without-status");
    let with_status: &[u8] = include_bytes!("golden/journal-with-status");
    for golden in [without_status, with_status] {
        let folder = Folder::new();
        fs::create_dir(&folder.0).unwrap();
        fs::write(journal::path(&folder.0, 3), golden).unwrap();
        assert_is_golden(&folder);
        // The start writes it again, in the present form.
        drop(folder.open());
        assert_eq!(folder.journals(), [journal::path(&folder.0, 4)]);
        assert_is_golden(&folder);
        let lines = |text: &[u8]| {
            let mut lines: Vec<_> = text.split(|it| *it == b'\n').map(<[u8]>::to_vec).collect();
            lines.sort();
            lines.dedup();
            lines
        };
        let written = fs::read(journal::path(&folder.0, 4)).unwrap();
        assert_eq!(lines(&written), lines(with_status), "{}", String::from_utf8_lossy(&written));
    }
}

#[tokio::test]
async fn artifacts_of_a_result_in_the_journal_get_to_their_place() {
    let golden: &[u8] = include_bytes!("golden/journal-with-artifacts");
    let folder = Folder::new();
    let new = folder.0.join("artifacts/new");
    let staged = new.join("0123456789abcdef0123456789abcdef");
    fs::create_dir_all(&staged).unwrap();
    fs::write(staged.join("0"), "png").unwrap();
    fs::create_dir(new.join("of-nobody")).unwrap();
    fs::write(journal::path(&folder.0, 3), golden).unwrap();
    let id = Uuid::from_u128(1);
    // The second start reads what the first has written.
    for _ in 0..2 {
        let store = folder.open();
        assert_eq!(fs::read_dir(&new).unwrap().count(), 0);
        assert!(fs::read(&folder.journals()[0]).unwrap().starts_with(golden));
        let (entry, done) = store.owed(id).unwrap();
        assert!(!done.published, "they are to be sent");
        let listed = store.artifacts(id).unwrap();
        assert_eq!((listed.len(), listed[0].name.as_str()), (1, "a/plot.png"));
        assert!(entry.sends.contains_key(&listed[0].name));
        let FoundArtifact::Open(open) = store.open_artifact(id, "a/plot.png").unwrap() else {
            panic!("it is there")
        };
        assert_eq!(std::io::read_to_string(open.file).unwrap(), "png");
        assert!(matches!(store.open_artifact(id, "a").unwrap(), FoundArtifact::Nothing));
    }
    // Somebody has cut it off, or removed it.
    let store = folder.open();
    let place = folder.0.join("artifacts/00").join(format!("{id}.1795348990123.8192/0"));
    fs::write(&place, "pn").unwrap();
    let damaged = store.open_artifact(id, "a/plot.png").unwrap_err().to_string();
    assert!(damaged.contains("is damaged"), "{damaged}");
    fs::remove_file(&place).unwrap();
    assert!(matches!(store.open_artifact(id, "a/plot.png").unwrap(), FoundArtifact::Gone));
    // What is not there takes up nothing, though the journal has it.
    assert_eq!(store.artifacts_total(), 8192);
    fs::remove_dir_all(folder.0.join("artifacts/00")).unwrap();
    drop(store);
    assert_eq!(folder.open().artifacts_total(), 0);
}

#[tokio::test]
async fn what_was_given_up_stays_so() {
    let golden: &[u8] = include_bytes!("golden/journal-given-up");
    let folder = Folder::new();
    fs::create_dir(&folder.0).unwrap();
    fs::write(journal::path(&folder.0, 3), golden).unwrap();
    let done = |store: &Store| store.owed(Uuid::from_u128(2)).unwrap().1;
    let wanted = Done { given_up: true, ..nothing_done() };
    // The second start reads what the first has written.
    for _ in 0..2 {
        assert_eq!(done(&folder.open()), wanted);
        let journals = folder.journals();
        assert_eq!(fs::read(&journals[0]).unwrap(), golden);
    }
    let store = folder.open();
    let (entry, _) = store.owed(Uuid::from_u128(2)).unwrap();
    for step in [Step::Published, Step::CalledBack, Step::Dequeued] {
        store.note(&entry, step);
    }
    drop(store);
    assert_eq!(folder.open().owing(), 0, "nothing more is owed");
}

#[test]
fn what_a_later_worker_wrote_stops_the_start() {
    let folder = Folder::new();
    fs::create_dir(&folder.0).unwrap();
    let text = br#"{"split":{"serial":7}}"#;
    let mut line = format!("{:08x} ", crc32c::crc32c(text)).into_bytes();
    line.extend_from_slice(text);
    line.push(b'\n');
    let path = journal::path(&folder.0, 1);
    fs::write(&path, &line).unwrap();
    let refused = Store::open(&folder.0, Sync::Never).unwrap_err().to_string();
    assert!(refused.contains("line 1 is not understood"), "{refused}");
    assert_eq!(fs::read(&path).unwrap(), line);
    // Half of the same line is what a crash leaves.
    fs::write(&path, &line[..20]).unwrap();
    Store::open(&folder.0, Sync::Never).unwrap();
}

#[tokio::test]
async fn what_is_to_be_in_the_shared_store_is_owed_until_it_is_there() {
    let folder = Folder::new();
    let golden: &[u8] = include_bytes!("golden/journal-to-store");
    fs::create_dir(&folder.0).unwrap();
    fs::write(journal::path(&folder.0, 3), golden).unwrap();
    let ids = [1, 2].map(Uuid::from_u128);
    let stored = |store: &Store| ids.map(|id| store.owed(id).unwrap().1.stored);
    // The second start reads what the first has written.
    for _ in 0..2 {
        let store = folder.open();
        assert_eq!(stored(&store), [false, true]);
        let owed = store.owed(ids[0]).unwrap().1;
        assert!(!owed.is_delivered() && owed.published && owed.called_back);
    }
    let store = folder.open();
    for id in ids {
        let (entry, _) = store.owed(id).unwrap();
        for step in [Step::Dequeued, Step::CalledBack, Step::Published] {
            store.note(&entry, step);
        }
    }
    drop(store);
    let store = folder.open();
    assert_eq!((store.owing(), store.owed(ids[1]).is_none()), (1, true));
    let (entry, _) = store.owed(ids[0]).unwrap();
    store.note(&entry, Step::Stored);
    drop(store);
    assert_eq!(folder.open().owing(), 0);
}

#[tokio::test]
async fn what_is_kept_is_to_be_stored_as_long_as_there_is_a_store() {
    let folder = Folder::new();
    let store = folder.open();
    let bare =
        |id| Entry { target: None, callback: None, place: None, ..(*entry(id, "{}")).clone() };
    let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    store.keep(Arc::new(bare(one))).await.unwrap();
    assert_eq!(store.owing(), 0);
    store.set_to_store(true);
    store.keep(Arc::new(bare(other))).await.unwrap();
    drop(store);
    let store = folder.open();
    let (owed, done) = store.owed(other).unwrap();
    assert_eq!((store.owing(), done.stored), (1, false));
    store.note(&owed, Step::Stored);
    drop(store);
    assert_eq!(folder.open().owing(), 0);
}

#[tokio::test]
async fn what_follows_a_result_is_owed_until_it_is_queued() {
    let golden: &[u8] = include_bytes!("golden/journal-with-then");
    let folder = Folder::new();
    drop(folder.open());
    fs::write(journal::path(&folder.0, 3), golden).unwrap();
    let id = Uuid::from_u128(7);
    let store = folder.open();
    let (entry, done) = store.owed(id).unwrap();
    assert_eq!(done, Done { published: true, stored: true, ..Done::default() });
    assert_eq!(entry.then.len(), 1);
    assert_eq!(entry.then[0].tube.as_deref(), Some("later"));
    assert_eq!(entry.then[0].job.get(), "{\"type\":\"next\"}");
    for step in [Step::CalledBack, Step::Dequeued] {
        store.note(&entry, step);
    }
    drop(store);
    let store = folder.open();
    let (entry, done) = store.owed(id).unwrap();
    assert!(!done.followed && done.dequeued, "{done:?}");
    store.note(&entry, Step::Followed);
    drop(store);
    let left = folder.open().owed(id).map(|(_, done)| done);
    assert_eq!(left, None);
}
