use std::os::unix::fs::PermissionsExt;

use super::*;

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("jq-packs-{}", Uuid::new_v4())))
    }

    fn open(&self) -> Packs {
        Packs::open(self.0.clone(), true).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(&self.0).unwrap().map(|it| it.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn packed(number: u128, body: &str) -> Packed {
    let body = Bytes::from(format!("{body}\n"));
    Packed { id: id(number), finished: Timestamp::now(), body: Some(body) }
}

fn aged(number: u128, seconds: i64) -> Packed {
    let finished = Timestamp::from_second(Timestamp::now().as_second() - seconds).unwrap();
    Packed { finished, ..packed(number, "1") }
}

fn result(body: &str) -> InPack {
    InPack::Result(Bytes::from(format!("{body}\n")))
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn what_was_appended_is_found_before_and_after_a_restart_and_a_seal() {
    let folder = Folder::new();
    let mut packs = folder.open();
    assert!(folder.names().is_empty(), "what is not needed is not made");
    for round in 0..4_u128 {
        let batch: Vec<_> =
            (0..300).map(|it| packed(round * 1000 + it, &format!("[{round},{it}]"))).collect();
        packs.append(&batch).unwrap();
        match round {
            0 => packs.seal(),
            1 => packs = folder.open(),
            2 => {
                packs.seal();
                packs = folder.open();
            }
            _ => {}
        }
        for round in 0..=round {
            for it in 0..300 {
                let found = packs.find(id(round * 1000 + it)).unwrap();
                assert_eq!(found, result(&format!("[{round},{it}]")));
            }
        }
        assert_eq!(packs.find(id(round * 1000 + 999)).unwrap(), InPack::Nothing);
    }
    let names =
        ["00000000.index", "00000000.pack", "00000001.index", "00000001.pack", "00000002.pack"];
    assert_eq!(folder.names(), names);
    let mode = fs::metadata(folder.path(names[1])).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "results may be anybody's business");
}

#[test]
fn the_later_of_two_counts() {
    let folder = Folder::new();
    let packs = folder.open();
    packs.append(&[packed(1, "1"), packed(2, "1"), packed(1, "2")]).unwrap();
    assert_eq!(packs.find(id(1)).unwrap(), result("2"));
    packs.seal();
    packs.append(&[packed(2, "3")]).unwrap();
    packs.append(&[Packed { body: None, ..packed(1, "") }]).unwrap();
    for packs in [packs, folder.open()] {
        assert_eq!(packs.find(id(1)).unwrap(), InPack::InFile);
        assert_eq!(packs.find(id(2)).unwrap(), result("3"));
    }
}

#[test]
fn a_pack_that_is_full_is_sealed() {
    let folder = Folder::new();
    let packs = folder.open();
    let body = "x".repeat(SMALL);
    for batch in 0..9 {
        let batch: Vec<_> = (0..512).map(|it| packed(batch * 512 + it, &body)).collect();
        packs.append(&batch).unwrap();
    }
    packs.append(&[packed(1 << 64, "last")]).unwrap();
    let sealed = packs.state().sealed.len();
    assert!((2..=3).contains(&sealed), "{sealed}");
    let packs = folder.open();
    assert_eq!(packs.find(id(1 << 64)).unwrap(), result("last"));
    assert_eq!(packs.find(id(4607)).unwrap(), result(&body));
}

#[test]
fn wherever_a_pack_is_cut_what_is_whole_is_found_and_more_can_be_appended() {
    let folder = Folder::new();
    let packs = folder.open();
    packs.append(&[packed(1, "{\"a\":1}"), packed(2, "{\"b\":2}"), packed(3, "3")]).unwrap();
    drop(packs);
    let path = folder.path("00000000.pack");
    let whole = fs::read(&path).unwrap();
    let ends: Vec<usize> = line::lines(&whole).map(|line| line.end).collect();
    for cut in 0..=whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let packs = folder.open();
        for (number, end) in (1..).zip(&ends) {
            let is_there = packs.find(id(number)).unwrap() != InPack::Nothing;
            assert_eq!(is_there, *end <= cut, "{number}, cut at {cut}");
        }
        packs.append(&[packed(9, "9")]).unwrap();
        assert_eq!(packs.find(id(9)).unwrap(), result("9"));
        drop(packs);
        assert_eq!(folder.open().find(id(9)).unwrap(), result("9"));
    }
}

#[test]
fn damage_costs_only_what_is_damaged_and_is_named() {
    let folder = Folder::new();
    let packs = folder.open();
    packs.append(&[packed(1, "{\"a\":1}"), packed(2, "{\"b\":2}"), packed(3, "3")]).unwrap();
    let path = folder.path("00000000.pack");
    let mut bytes = fs::read(&path).unwrap();
    let second = line::lines(&bytes).nth(1).unwrap();
    for at in second.start..second.end {
        bytes[at] = 0;
        fs::write(&path, &bytes).unwrap();
        let error = packs.find(id(2)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        let place = format!("00000000.pack: the result of {} at byte {}", id(2), second.start);
        assert!(error.to_string().contains(&place), "{error}");
        assert_eq!(packs.find(id(1)).unwrap(), result("{\"a\":1}"));
        assert_eq!(packs.find(id(3)).unwrap(), result("3"));
    }
    // Read anew, it is not known any more whose it was; the one behind it is lost only with its line feed.
    let packs = folder.open();
    assert_eq!(packs.find(id(1)).unwrap(), result("{\"a\":1}"));
    assert_eq!(packs.find(id(2)).unwrap(), InPack::Nothing);
    let error = packs.find(id(3)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    bytes[second.end - 1] = b'\n';
    fs::write(&path, &bytes).unwrap();
    assert_eq!(folder.open().find(id(3)).unwrap(), result("3"));
    // Cut in the middle, as nobody does who appends.
    let packs = folder.open();
    fs::write(&path, &bytes[..second.start]).unwrap();
    assert_eq!(packs.find(id(3)).unwrap_err().kind(), ErrorKind::InvalidData);
    assert_eq!(packs.find(id(1)).unwrap(), result("{\"a\":1}"));
}

#[test]
fn no_earlier_result_takes_the_place_of_a_damaged_one() {
    let folder = Folder::new();
    let packs = folder.open();
    packs.append(&[packed(1, "\"failed\"")]).unwrap();
    packs.seal();
    packs.append(&[packed(2, "1"), packed(1, "\"successful\"")]).unwrap();
    drop(packs);
    let path = folder.path("00000001.pack");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.len() - 3;
    bytes[at] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let mut packs = folder.open();
    for _ in 0..2 {
        let error = packs.find(id(1)).unwrap_err().to_string();
        assert!(
            error.contains("00000001.pack: the result of") && error.contains("damaged"),
            "{error}"
        );
        assert_eq!(packs.find(id(2)).unwrap(), result("1"));
        packs.seal();
        packs = folder.open();
    }
    // One that comes later does.
    packs.append(&[packed(1, "3")]).unwrap();
    assert_eq!(packs.find(id(1)).unwrap(), result("3"));
}

/// Another version may be able to read it.
#[test]
fn a_pack_that_cannot_be_read_is_kept_for_as_long_as_any() {
    let folder = Folder::new();
    drop(folder.open());
    let path = folder.path("00000000.pack");
    fs::write(&path, "{\"version\":2}\n{\"of\":\"the future\"}\n").unwrap();
    let packs = folder.open();
    packs.set_retention(HOUR);
    assert!(!packs.is_newest_over());
    packs.seal();
    packs.append(&[packed(1, "1")]).unwrap();
    for packs in [packs, folder.open()] {
        packs.set_retention(HOUR);
        assert_eq!(remove_all(&packs), 0);
        assert!(path.exists());
        assert_eq!(packs.find(id(1)).unwrap(), result("1"));
    }
    fs::remove_file(folder.path("00000000.index")).unwrap();
    let long_ago = SystemTime::now() - 2 * HOUR;
    File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
    let packs = folder.open();
    packs.set_retention(HOUR);
    assert!(remove_all(&packs) > 0 && !path.exists());
}

#[test]
fn an_index_that_is_lost_or_damaged_is_made_again() {
    let folder = Folder::new();
    let packs = folder.open();
    packs.append(&[packed(1, "1"), packed(2, "2")]).unwrap();
    packs.seal();
    packs.append(&[packed(3, "3")]).unwrap();
    packs.seal();
    drop(packs);
    let index = folder.path("00000000.index");
    let whole = fs::read(&index).unwrap();
    for text in [None, Some(&b""[..]), Some(&whole[..50]), Some(b"jq-index nonsense")] {
        match text {
            Some(text) => fs::write(&index, text).unwrap(),
            None => fs::remove_file(&index).unwrap(),
        }
        let packs = folder.open();
        assert_eq!(packs.find(id(1)).unwrap(), result("1"));
        assert_eq!(packs.find(id(3)).unwrap(), result("3"));
        assert_eq!(fs::read(&index).unwrap(), whole);
    }
    // While it is open, what only the index knows is lost with it.
    let packs = folder.open();
    fs::remove_file(&index).unwrap();
    assert_eq!(packs.find(id(1)).unwrap(), InPack::Nothing);
    assert_eq!(packs.find(id(3)).unwrap(), result("3"));
}

#[test]
fn a_pack_that_somebody_removed_counts_as_expired() {
    let folder = Folder::new();
    let packs = folder.open();
    packs.append(&[packed(1, "1")]).unwrap();
    packs.seal();
    fs::remove_file(folder.path("00000000.pack")).unwrap();
    assert_eq!(packs.find(id(1)).unwrap(), InPack::Expired);
    let without_writing = Packs::open(folder.0.clone(), false).unwrap();
    assert_eq!(without_writing.find(id(1)).unwrap(), InPack::Expired);
    assert_eq!(folder.names(), ["00000000.index"]);
    let packs = folder.open();
    assert_eq!(packs.find(id(1)).unwrap(), InPack::Expired);
    assert_eq!(folder.names(), ["00000000.gone"]);
    packs.append(&[packed(2, "2")]).unwrap();
    assert_eq!(folder.names(), ["00000000.gone", "00000001.pack"], "its number is not used again");
}

#[test]
fn looking_writes_nothing() {
    let folder = Folder::new();
    let nothing = Packs::open(folder.0.clone(), false).unwrap();
    assert_eq!(nothing.find(id(1)).unwrap(), InPack::Nothing);
    assert!(!folder.0.exists());
    let packs = folder.open();
    packs.append(&[packed(1, "1")]).unwrap();
    packs.seal();
    packs.append(&[packed(2, "2")]).unwrap();
    drop(packs);
    fs::remove_file(folder.path("00000000.index")).unwrap();
    let newest = folder.path("00000001.pack");
    let torn = [&fs::read(&newest).unwrap()[..], b"00000000 torn"].concat();
    fs::write(&newest, &torn).unwrap();
    let packs = Packs::open(folder.0.clone(), false).unwrap();
    for number in [1, 2] {
        assert_eq!(packs.find(id(number)).unwrap(), result(&number.to_string()));
    }
    assert_eq!(folder.names(), ["00000000.pack", "00000001.pack"]);
    assert_eq!(fs::read(&newest).unwrap(), torn);
}

#[test]
fn a_result_expires_by_its_time_and_its_pack_with_the_last() {
    let folder = Folder::new();
    let packs = folder.open();
    packs.append(&[aged(1, 3599), aged(2, 3601), aged(3, 7201)]).unwrap();
    let found = |packs: &Packs| [1, 2, 3].map(|number| packs.find(id(number)).unwrap());
    assert_eq!(found(&packs), [result("1"), result("1"), result("1")], "nobody said for how long");
    packs.set_retention(HOUR);
    assert_eq!(found(&packs), [result("1"), InPack::Expired, InPack::Forgotten]);
    assert!(!packs.is_newest_over() && !packs.remove_one().unwrap());
    // The next one is not appended to so old a pack.
    packs.append(&[packed(4, "4")]).unwrap();
    assert_eq!(folder.names(), ["00000000.index", "00000000.pack", "00000001.pack"]);
    assert_eq!(found(&packs), [result("1"), InPack::Expired, InPack::Forgotten]);
    let due = packs.next_end().unwrap().duration_since(SystemTime::now());
    assert!(due.unwrap_or_default() <= Duration::from_secs(1));

    // A shorter time does what time does.
    packs.set_retention(Duration::from_secs(3000));
    remove_all(&packs);
    assert_eq!(folder.names(), ["00000000.gone", "00000001.pack"]);
    assert_eq!(found(&packs), [InPack::Expired, InPack::Expired, InPack::Forgotten]);
    // What is removed does not come back when results are kept for longer.
    packs.set_retention(2 * HOUR);
    assert_eq!(packs.find(id(1)).unwrap(), InPack::Expired);
    let again = folder.open();
    again.set_retention(2 * HOUR);
    assert_eq!(again.find(id(1)).unwrap(), InPack::Expired);

    again.set_retention(Duration::from_secs(1700));
    remove_all(&again);
    assert_eq!(folder.names(), ["00000001.pack"]);
    assert_eq!(found(&again), [InPack::Nothing, InPack::Nothing, InPack::Nothing]);
    assert_eq!(again.find(id(4)).unwrap(), result("4"));
}

#[test]
fn the_newest_pack_ends_too() {
    let folder = Folder::new();
    let packs = folder.open();
    packs.set_retention(HOUR);
    assert!(!packs.is_newest_over());
    packs.append(&[aged(1, 4000)]).unwrap();
    assert!(packs.is_newest_over());
    packs.seal();
    remove_all(&packs);
    assert_eq!(folder.names(), ["00000000.gone"]);
}

/// Returns in how many steps.
fn remove_all(packs: &Packs) -> u32 {
    (0..).find(|_| !packs.remove_one().unwrap()).unwrap()
}

#[test]
fn a_large_pack_is_removed_in_steps() {
    let folder = Folder::new();
    let packs = folder.open();
    let body = "x".repeat(SMALL - 1);
    let many = || (0..512).map(|it| Packed { body: Some(body.clone().into()), ..aged(it, 4000) });
    packs.append(&many().collect::<Vec<_>>()).unwrap();
    packs.append(&many().collect::<Vec<_>>()).unwrap();
    packs.seal();
    packs.set_retention(HOUR);
    assert!(packs.remove_one().unwrap());
    assert_eq!(packs.find(id(1)).unwrap(), InPack::Expired);
    assert!(fs::metadata(folder.path("00000000.pack")).unwrap().len() > STEP);
    // It goes on after a restart.
    let packs = folder.open();
    packs.set_retention(HOUR);
    assert_eq!(packs.find(id(1)).unwrap(), InPack::Expired);
    assert_eq!(remove_all(&packs), 4);
    assert_eq!(folder.names(), ["00000000.gone"]);
}

#[test]
fn an_end_that_was_interrupted_is_finished() {
    let folder = Folder::new();
    let packs = folder.open();
    packs.append(&[packed(1, "1")]).unwrap();
    packs.seal();
    drop(packs);
    // Killed between the two steps.
    fs::rename(folder.path("00000000.index"), folder.path("00000000.gone")).unwrap();
    fs::write(folder.path("00000007.new"), "an index that was being written").unwrap();
    let packs = folder.open();
    assert_eq!(packs.find(id(1)).unwrap(), InPack::Expired);
    remove_all(&packs);
    assert_eq!(folder.names(), ["00000000.gone"]);
}

#[test]
fn strange_files_are_left_alone() {
    let folder = Folder::new();
    drop(folder.open());
    let names = [
        "18446744073709551615.pack",
        "7",
        "7.pack",
        "99999999999999999999999.pack",
        "README",
        "x.pack",
    ];
    names.iter().for_each(|name| fs::write(folder.path(name), "?").unwrap());
    // Of somebody who has made one by hand.
    fs::write(folder.path("00000003.gone"), "?").unwrap();
    let packs = folder.open();
    packs.append(&[packed(1, "1")]).unwrap();
    assert_eq!(packs.find(id(1)).unwrap(), result("1"));
    let ours = ["00000004.pack"];
    assert_eq!(folder.names(), ours.into_iter().chain(names).collect::<Vec<_>>());
}

/// Every form of a pack that was ever written.
#[test]
fn golden_packs_are_read() {
    let folder = Folder::new();
    drop(folder.open());
    let pack: &[u8] = include_bytes!("../golden/pack");
    let index: &[u8] = include_bytes!("../golden/pack-index");
    let read = |packs: &Packs| {
        assert_eq!(packs.find(id(1)).unwrap(), result("{\"status\":\"successful\"}"));
        assert_eq!(packs.find(id(2)).unwrap(), InPack::InFile);
        assert_eq!(packs.find(id(3)).unwrap(), InPack::Nothing);
    };
    fs::write(folder.path("00000000.pack"), pack).unwrap();
    let packs = folder.open();
    read(&packs);
    // What is written today is the same.
    packs.seal();
    assert_eq!(fs::read(folder.path("00000000.index")).unwrap(), index);
    let other = Folder::new();
    let finished = "2026-11-22T12:03:10.12Z".parse().unwrap();
    let one = Packed { finished, ..packed(1, "{\"status\":\"successful\"}") };
    other.open().append(&[one, Packed { finished, body: None, ..packed(2, "") }]).unwrap();
    assert_eq!(fs::read(other.path("00000000.pack")).unwrap(), pack);
    // The index alone tells of what has expired.
    fs::rename(folder.path("00000000.index"), folder.path("00000000.gone")).unwrap();
    assert_eq!(folder.open().find(id(1)).unwrap(), InPack::Expired);
}
