use std::io::Write;

use super::*;

struct Rig {
    root: PathBuf,
    artifacts: Arc<Artifacts>,
}

impl Rig {
    fn new() -> Self {
        let root = std::env::temp_dir().join(format!("jq-artifacts-{}", Uuid::new_v4()));
        let artifacts = Arc::new(Artifacts::open(root.clone()).unwrap());
        Self { root, artifacts }
    }

    fn again(&mut self) {
        self.artifacts = Arc::new(Artifacts::open(self.root.clone()).unwrap());
    }

    fn staged(&self, text: &str) -> Option<Staged> {
        let bytes = size_of([text.len() as u64]);
        let mut staging = self.artifacts.stage(bytes, HashSet::new).unwrap()?;
        staging.add().unwrap().write_all(text.as_bytes()).unwrap();
        staging.sync().unwrap();
        Some(staging.hand_over())
    }

    fn keep(&self, id: Uuid, finished: Timestamp, text: &str) {
        let staged = self.staged(text).unwrap();
        self.artifacts.adopt(id, finished, staged).unwrap();
        // After a crash it is done again.
        self.artifacts.adopt(id, finished, staged).unwrap();
        self.artifacts.replace(id, finished, Some(staged));
    }

    fn read(&self, id: Uuid, finished: Timestamp) -> Option<String> {
        let file = self.artifacts.read(id, finished, 0).unwrap()?;
        Some(io::read_to_string(file).unwrap())
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn at(millisecond: i64) -> Timestamp {
    Timestamp::from_millisecond(millisecond).unwrap()
}

#[test]
fn a_later_result_has_others() {
    let mut rig = Rig::new();
    let id = Uuid::new_v4();
    rig.keep(id, at(1000), "first");
    assert_eq!(rig.read(id, at(1000)).as_deref(), Some("first"));
    let second = rig.staged("second").unwrap();
    rig.artifacts.adopt(id, at(2000), second).unwrap();
    assert_eq!(rig.read(id, at(1000)).as_deref(), Some("first"), "until the result counts");
    rig.artifacts.replace(id, at(2000), Some(second));
    assert_eq!(rig.read(id, at(1000)), None);
    rig.again();
    assert_eq!(rig.read(id, at(2000)).as_deref(), Some("second"));
    assert_eq!(rig.artifacts.total(), size_of([6]));
    rig.artifacts.replace(id, at(3000), None);
    assert_eq!((rig.read(id, at(2000)), rig.artifacts.total()), (None, 0));
}

#[test]
fn what_a_crash_leaves_is_sorted_out() {
    let mut rig = Rig::new();
    let (id, other) = (Uuid::new_v4(), Uuid::new_v4());
    rig.keep(id, at(1000), "first");
    let second = rig.staged("second").unwrap();
    // The journal has this one, whose folder was not moved; and nothing has the other.
    let _orphan = rig.staged("orphan").unwrap();
    rig.again();
    rig.artifacts.adopt(other, at(5000), second).unwrap();
    rig.artifacts.replace(other, at(5000), Some(second));
    rig.artifacts.clear_new().unwrap();
    assert_eq!(fs::read_dir(rig.root.join(NEW)).unwrap().count(), 0);
    assert_eq!(rig.read(other, at(5000)).as_deref(), Some("second"));
    // A folder of an earlier result that was to be removed.
    let third = rig.staged("third").unwrap();
    rig.artifacts.adopt(id, at(4000), third).unwrap();
    rig.again();
    assert_eq!(rig.read(id, at(1000)), None);
    assert_eq!(rig.read(id, at(4000)).as_deref(), Some("third"));
}

#[test]
fn the_oldest_make_room_but_not_those_that_are_needed() {
    let rig = Rig::new();
    let ids: Vec<Uuid> = (0..3).map(|_| Uuid::new_v4()).collect();
    let each = size_of([1]);
    rig.artifacts.set_most(3 * each);
    for (time, id) in (1..).zip(&ids) {
        rig.keep(*id, at(time), "x");
    }
    let needed = || HashSet::from([ids[0]]);
    let staging = rig.artifacts.stage(each, needed).unwrap().unwrap();
    assert!(rig.read(ids[0], at(1)).is_some() && rig.read(ids[1], at(2)).is_none());
    let all = || ids.iter().copied().collect();
    assert!(rig.artifacts.stage(each, all).unwrap().is_none());
    // What is not taken on gives its room back.
    let dir = staging.dir.clone();
    drop(staging);
    assert!(!dir.exists());
    assert!(rig.artifacts.stage(each, all).unwrap().is_some());
    assert!(rig.artifacts.stage(4 * each, HashSet::new).unwrap().is_none());
    assert!(rig.read(ids[2], at(3)).is_some(), "nothing goes if that does not suffice");
}

#[test]
fn they_expire() {
    let rig = Rig::new();
    let (old, needed, new) = (Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
    let now = Timestamp::now();
    rig.keep(needed, at(1), "x");
    rig.keep(old, at(2), "x");
    rig.keep(new, now, "x");
    let hour = Duration::from_secs(3600);
    assert!(rig.artifacts.remove_old(hour, |id| id == needed));
    assert!(!rig.artifacts.remove_old(hour, |id| id == needed));
    assert!(rig.read(old, at(2)).is_none() && rig.read(new, now).is_some());
    assert!(rig.artifacts.remove_old(hour, |_| false));
    let end = rig.artifacts.next_end(hour).unwrap();
    assert!(end > SystemTime::now() && end <= SystemTime::now() + hour);
}
