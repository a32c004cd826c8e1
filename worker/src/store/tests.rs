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
    })
}

fn result(store: &Store, id: Uuid) -> Option<String> {
    match store.find(id).unwrap() {
        Found::Result(body) => Some(String::from_utf8(body.to_vec()).unwrap()),
        Found::Expired | Found::Nothing => None,
    }
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
    assert_eq!((owed.id, done), (id, Done::default()));
    store.note(&entry(id, "0"), Step::Published);
    store.note(&entry(id, "0"), Step::CalledBack);
    drop(store);

    let store = folder.open();
    let (owed, done) = store.owed(id).unwrap();
    assert_eq!(owed.place.as_ref().unwrap().job, 7);
    assert_eq!(done, Done { published: true, called_back: true, ..Done::default() });
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

#[tokio::test]
async fn a_result_that_did_not_reach_its_file_is_in_the_journal() {
    let folder = Folder::new();
    let (lost, torn) = (Uuid::new_v4(), Uuid::new_v4());
    let store = folder.open();
    store.keep(entry(lost, "1")).await.unwrap();
    store.keep(entry(torn, "{\"whole\":true}")).await.unwrap();
    let path = store.shared.files.result(lost);
    let torn_path = store.shared.files.result(torn);
    drop(store);
    fs::remove_file(path).unwrap();
    fs::write(torn_path, "{\"wh").unwrap();
    let store = folder.open();
    assert_eq!(result(&store, lost).unwrap(), "1\n");
    assert_eq!(result(&store, torn).unwrap(), "{\"whole\":true}\n");
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
async fn the_journal_does_not_grow_for_ever() {
    let folder = Folder::new();
    let store = folder.open();
    let body = format!("\"{}\"", "x".repeat(1 << 20));
    let owed = Uuid::new_v4();
    store.keep(entry(owed, "\"owed\"")).await.unwrap();
    for _ in 0..20 {
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
    assert!(fs::metadata(&journals[0]).unwrap().len() < (10 << 20));
    let store = folder.open();
    assert_eq!(store.owing(), 2);
    assert_eq!(result(&store, owed).unwrap(), "\"owed\"\n");
}

#[tokio::test]
async fn a_journal_that_is_all_owed_is_not_begun_anew_each_time() {
    let folder = Folder::new();
    let store = folder.open();
    let body = format!("\"{}\"", "x".repeat(1 << 20));
    for _ in 0..20 {
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
    store.sweep(Duration::from_secs(3600)).unwrap();
    assert_eq!(store.find(id).unwrap(), Found::Expired);
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
    assert_eq!(store.owed(id).unwrap().1, Done::default());
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
    let results = store.shared.files.results().to_owned();
    let aside = results.with_file_name("aside");
    fs::rename(&results, &aside).unwrap();
    fs::write(&results, "").unwrap();
    store.keep(entry(Uuid::new_v4(), "2")).await.unwrap_err();
    fs::remove_file(&results).unwrap();
    fs::rename(&aside, &results).unwrap();
    store.keep(entry(id, "3")).await.unwrap();
    assert_eq!(result(&store, id).unwrap(), "3\n");
}

#[tokio::test]
async fn results_expire_in_two_steps_unless_something_is_owed() {
    let folder = Folder::new();
    let store = folder.open();
    let (settled, owed) = (Uuid::new_v4(), Uuid::new_v4());
    for id in [settled, owed] {
        store.keep(entry(id, "1")).await.unwrap();
    }
    for step in [Step::Published, Step::CalledBack, Step::Dequeued] {
        store.note(&entry(settled, "0"), step);
    }
    // Carried out in order, so the notes are too.
    store.keep(entry(owed, "1")).await.unwrap();
    let hour = Duration::from_secs(3600);
    assert!(store.sweep(hour).unwrap().is_some());
    assert_eq!(result(&store, settled).unwrap(), "1\n");

    let age = |id| {
        let file = File::options().write(true).open(store.shared.files.result(id)).unwrap();
        file.set_modified(std::time::SystemTime::now() - 2 * hour).unwrap();
    };
    age(settled);
    age(owed);
    store.sweep(hour).unwrap();
    assert_eq!(store.find(settled).unwrap(), Found::Expired);
    assert_eq!(result(&store, owed).unwrap(), "1\n");
    age(settled);
    store.sweep(hour).unwrap();
    assert_eq!(store.find(settled).unwrap(), Found::Nothing);
    assert_eq!(result(&store, owed).unwrap(), "1\n");
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
    assert!(!first.exists());
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
        assert_eq!(*done, Done { published: sent, called_back: sent, ..Done::default() });
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
async fn what_was_given_up_stays_so() {
    let golden: &[u8] = include_bytes!("golden/journal-given-up");
    let folder = Folder::new();
    fs::create_dir(&folder.0).unwrap();
    fs::write(journal::path(&folder.0, 3), golden).unwrap();
    let done = |store: &Store| store.owed(Uuid::from_u128(2)).unwrap().1;
    let wanted = Done { given_up: true, ..Done::default() };
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
