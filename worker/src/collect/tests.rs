use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use super::*;
use crate::store::{Store, Sync};

const LIMITS: Limits = Limits { files: 100, bytes: 1 << 20 };

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("jq-collect-{}", uuid::Uuid::new_v4()));
        fs::create_dir_all(path.join("out")).unwrap();
        Self(path)
    }

    fn out(&self) -> PathBuf {
        self.0.join("out")
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.out().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn take(&self, limits: Limits) -> Collected {
        Outputs::look(&self.out(), limits).unwrap().take(None, Some("http://h/id")).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn names(collected: &Collected) -> Vec<&str> {
    collected.artifacts.iter().map(|it| it.name.as_str()).collect()
}

#[test]
fn files_and_folders() {
    let folder = Folder::new();
    folder.write("table.csv", "Größe,1\n");
    folder.write("latin.csv", b"Gr\xf6\xdfe,1\n");
    folder.write("plots/deep/walk.png", [0x89, b'P']);
    folder.write("plots/a b?.svg", "<svg/>");
    folder.write("unknown", "");
    fs::create_dir(folder.out().join("empty")).unwrap();
    let collected = folder.take(LIMITS);
    let told: Vec<_> = collected
        .artifacts
        .iter()
        .map(|it| (it.name.as_str(), it.media_type.as_str(), it.bytes))
        .collect();
    let expected = [
        ("latin.csv", "text/csv", 8),
        ("plots/a b?.svg", "image/svg+xml", 6),
        ("plots/deep/walk.png", "image/png", 2),
        ("table.csv", "text/csv; charset=utf-8", 10),
        ("unknown", "application/octet-stream", 0),
    ];
    assert_eq!(told, expected);
    assert_eq!(collected.artifacts[1].url.as_deref(), Some("http://h/id/plots/a%20b%3F.svg"));
    assert_eq!(collected.artifacts[1].digest, Digest::sha256(b"<svg/>").to_string());
    assert_eq!(collected.notes, [""; 0]);
}

#[test]
fn what_is_not_a_file_of_its_own_is_left_out() {
    let folder = Folder::new();
    let secret = folder.0.join("secret");
    fs::write(&secret, "secret").unwrap();
    folder.write("good.txt", "good");
    folder.write("one/twin", "twin");
    fs::hard_link(folder.out().join("one/twin"), folder.out().join("two")).unwrap();
    symlink(&secret, folder.out().join("link")).unwrap();
    symlink("..", folder.out().join("up")).unwrap();
    fs::hard_link(&secret, folder.out().join("second")).unwrap();
    let _socket = UnixListener::bind(folder.out().join("socket")).unwrap();
    rustix::fs::mknodat(CWD, folder.out().join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    fs::write(folder.out().join(std::ffi::OsStr::from_bytes(b"latin-\xe4")), "x").unwrap();
    folder.write("line\nfeed", "x");
    folder.write("log", "x");
    let collected = folder.take(LIMITS);
    assert_eq!(names(&collected), ["good.txt", "one/twin", "two"]);
    let notes = collected.notes.join("\n");
    for why in [
        "\"link\" is left out: it is a symbolic link",
        "\"up\" is left out: it is a symbolic link",
        "\"second\" is left out: it has hard links outside of the output directory",
        "\"socket\" is left out: it is no regular file",
        "\"pipe\" is left out: it is no regular file",
        "its name is not UTF-8",
        "expected neither control characters nor backslashes",
        "\"log\" is left out: \"log\" and \"rerun\" have a meaning of their own",
    ] {
        assert!(notes.contains(why), "{why}: {notes}");
    }
    assert!(!notes.contains("\n\n") && collected.notes.len() == 8, "{notes}");
}

#[test]
fn files_of_others_are_left_out() {
    let folder = Folder::new();
    folder.write("mine", "mine");
    folder.write("theirs", "theirs");
    // Only root can give a directory away, and only root runs jobs as other users.
    let give = |name: &str| std::os::unix::fs::chown(folder.out().join(name), Some(65_534), None);
    if give("").is_ok() {
        give("mine").unwrap();
        let collected = folder.take(LIMITS);
        assert_eq!(names(&collected), ["mine"]);
        assert!(collected.notes[0].contains("it belongs to somebody else"));
    }
}

#[test]
fn there_are_limits() {
    let folder = Folder::new();
    for number in 0..30 {
        folder.write(&format!("{number:02}"), "12345");
    }
    File::create(folder.out().join("00")).unwrap().set_len(1 << 40).unwrap();
    let collected = folder.take(Limits { files: 20, bytes: 50 });
    assert_eq!(names(&collected), ["01", "02", "03", "04", "05", "06", "07", "08", "09", "10"]);
    assert!(collected.notes[0].contains("it has 1099511627776 bytes, and all may have 50"));
    assert_eq!(collected.notes.len(), MAX_NOTES + 1);
    assert_eq!(collected.notes[MAX_NOTES], "artifacts that are left out besides these: 10");
    let collected = folder.take(Limits { files: 20, bytes: 1 << 20 });
    assert_eq!(collected.artifacts.len(), 20);
    assert!(collected.notes[1].contains("there may be at most 20 (artifacts.max_files)"));
    // It is not looked at everything only to say that it is too much.
    let collected = folder.take(Limits { files: 2, bytes: 1 << 20 });
    assert_eq!(collected.artifacts.len(), 2);
    assert!(collected.notes[0].contains("there is far too much"), "{:?}", collected.notes);
}

#[test]
fn folders_can_be_too_deep_or_closed() {
    let folder = Folder::new();
    let deep = "d/".repeat(MAX_DEPTH);
    folder.write(&format!("{deep}file"), "x");
    folder.write(&format!("{deep}d/file"), "x");
    let collected = folder.take(LIMITS);
    assert_eq!(names(&collected), [format!("{deep}file")]);
    assert!(collected.notes[0].contains("folders may be 16 deep"));
    folder.write("closed/file", "x");
    let closed = folder.out().join("closed");
    fs::set_permissions(&closed, Permissions::from_mode(0o000)).unwrap();
    let collected = folder.take(LIMITS);
    // Root reads it all the same.
    assert_eq!(collected.artifacts.len() + collected.notes.len(), 3);
    fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn what_changes_meanwhile_is_left_out() {
    let folder = Folder::new();
    folder.write("grows", "x");
    folder.write("in/moved", "x");
    folder.write("stays", "x");
    let mut outputs = Outputs::look(&folder.out(), LIMITS).unwrap();
    folder.write("grows", "xx");
    fs::rename(folder.out().join("in"), folder.0.join("elsewhere")).unwrap();
    symlink(folder.0.join("elsewhere"), folder.out().join("in")).unwrap();
    let collected = outputs.take(None, None).unwrap();
    assert_eq!(names(&collected), ["stays"]);
    assert_eq!(collected.artifacts[0].url, None);
    let why = ["it changed while it was read", "it cannot be read"];
    assert!(why.iter().zip(&collected.notes).all(|(why, note)| note.contains(why)));
}

#[test]
fn there_need_not_be_a_directory_any_more() {
    let folder = Folder::new();
    fs::remove_dir(folder.out()).unwrap();
    let collected = folder.take(LIMITS);
    assert!(collected.artifacts.is_empty() && collected.notes.is_empty());
    fs::create_dir(folder.0.join("other")).unwrap();
    symlink(folder.0.join("other"), folder.out()).unwrap();
    let collected = folder.take(LIMITS);
    assert!(collected.notes[0].contains("the output directory is no directory any more"));
}

#[test]
fn what_somebody_may_have_open_is_copied() {
    use std::os::unix::fs::MetadataExt;
    for is_over in [false, true] {
        let folder = Folder::new();
        let store = Store::open(&folder.0.join("state"), Sync::Never).unwrap();
        folder.write("a/one", "first");
        folder.write("two", "second");
        folder.write("twin", "third");
        fs::hard_link(folder.out().join("twin"), folder.out().join("two.twin")).unwrap();
        let number = |name: &str| fs::metadata(folder.out().join(name)).unwrap().ino();
        let before = [number("a/one"), number("two"), number("twin"), number("twin")];
        let outputs = Outputs::look(&folder.out(), LIMITS).unwrap();
        let mut outputs = if is_over { outputs.of_the_dead() } else { outputs };
        let mut staging = store.stage_artifacts(outputs.size()).unwrap().unwrap();
        let collected = outputs.take(Some(&mut staging), None).unwrap();
        assert_eq!(names(&collected), ["a/one", "twin", "two", "two.twin"]);
        let [one, two, twin, _] = before;
        let kept = ["first", "third", "second", "third"].into_iter().zip([one, twin, two, twin]);
        for (place, (text, number)) in kept.enumerate() {
            let path = staging.dir().join(place.to_string());
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            let is_moved = fs::metadata(&path).unwrap().ino() == number;
            assert_eq!(is_moved, is_over && text != "third", "{text}");
        }
        assert_eq!(fs::read_dir(folder.out()).unwrap().count(), 1, "only a folder is left");
    }
}

#[test]
fn files_on_other_file_systems_are_left_out() {
    let folder = Folder::new();
    folder.write("here", "");
    let at = |path: &Path| statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    let directory = at(&folder.out());
    assert!(is_of_the_job(&at(&folder.out().join("here")), &directory));
    assert!(!is_of_the_job(&at(Path::new("/proc/self/status")), &directory));
}
