//! What beanstalkd makes of a line, table by table.

use super::*;
use crate::command::{JobMove, JobQuery};
use crate::stats::JobState;

mod numbers;

const MAX: u32 = 65_535;

/// Parses in both dialects, which must agree.
fn parse(line: impl AsRef<[u8]>) -> Result<Line, Malformed> {
    let line = line.as_ref();
    let [old, new] = [Dialect::V1_12, Dialect::V1_13].map(|dialect| parse_line(line, dialect, MAX));
    assert_eq!(old, new, "{:?} differs between the dialects", line.escape_ascii().to_string());
    new
}

fn assert_each<L: AsRef<[u8]>>(
    lines: impl IntoIterator<Item = L>,
    expected: &Result<Line, Malformed>,
) {
    for line in lines {
        let shown = line.as_ref().escape_ascii().to_string();
        assert_eq!(parse(&line), *expected, "{shown:?}");
    }
}

fn tube(name: &str) -> TubeName {
    TubeName::new(name.as_bytes()).expect("a name good enough for a test")
}

#[test]
fn every_command_in_its_usual_form() {
    let (id, priority, delay) = (7, 8, 9);
    let table = [
        ("use t", Command::Use(tube("t"))),
        ("reserve", Command::Reserve),
        ("reserve-with-timeout 5", Command::ReserveWithTimeout(Some(5))),
        ("reserve-job 7", Command::ReserveJob(id)),
        ("delete 7", Command::Delete(id)),
        ("release 7 8 9", Command::Release { id, priority, delay }),
        ("bury 7 8", Command::Bury { id, priority }),
        ("touch 7", Command::Touch(id)),
        ("watch t", Command::Watch(tube("t"))),
        ("ignore t", Command::Ignore(tube("t"))),
        ("peek 7", Command::Peek(id)),
        ("peek-ready", Command::PeekReady),
        ("peek-delayed", Command::PeekDelayed),
        ("peek-buried", Command::PeekBuried),
        ("kick 5", Command::Kick(5)),
        ("kick-job 7", Command::KickJob(id)),
        ("stats", Command::Stats),
        ("stats-job 7", Command::StatsJob(id)),
        ("stats-tube t", Command::StatsTube(tube("t"))),
        ("list-tubes", Command::ListTubes),
        ("list-tube-used", Command::ListTubeUsed),
        ("list-tubes-watched", Command::ListTubesWatched),
        ("pause-tube t 5", Command::PauseTube(tube("t"), 5)),
        ("batch-reserve 5 6", Command::BatchReserve { max: 5, timeout: 6 }),
        ("clear-tube t", Command::ClearTube(tube("t"))),
        ("list-jobs t buried 7 100", list_jobs(Some("t"), Some(JobState::Buried), 7, 100)),
        ("list-jobs - any 0 1", list_jobs(None, None, 0, 1)),
        ("move 7 t", Command::Move(Box::new(JobMove { id, to: tube("t") }))),
        ("quit", Command::Quit),
    ];
    for (line, command) in table {
        assert_eq!(parse(line), Ok(Line::Command(command)), "{line:?}");
    }
    let header = PutHeader { priority: 1, delay: 2, ttr: 3, size: 4 };
    assert_eq!(parse("put 1 2 3 4"), Ok(Line::Put(header)));
}

fn list_jobs(name: Option<&str>, state: Option<JobState>, cursor: u32, count: u32) -> Command {
    Command::ListJobs(Box::new(JobQuery { tube: name.map(tube), state, cursor, count }))
}

#[test]
fn extensions_are_written_in_one_way_only() {
    let unknown = [
        "batch-reserve",
        "batch-reserve\t1 1",
        "batch-reserv 1 1",
        "clear-tube",
        "clear-tubes t",
        "list-jobs",
        "list-jobsx",
        "move",
        "movex 1 t",
        "c",
        "m",
    ];
    assert_each(unknown, &Err(Malformed::Unknown));
    let wrong = [
        "batch-reserve ",
        "batch-reserve 1",
        "batch-reserve 0 1",
        "batch-reserve 1 -1",
        "batch-reserve 1 1 ",
        "batch-reserve  1 1",
        "batch-reserve 1 4294967296",
        "batch-reserve +1 1",
        "clear-tube ",
        "clear-tube -t",
        "clear-tube t ",
        "clear-tube a b",
        "list-jobs ",
        "list-jobs t",
        "list-jobs t any",
        "list-jobs t any 0",
        "list-jobs t any 0 1 2",
        "list-jobs t all 0 1",
        "list-jobs t READY 0 1",
        "list-jobs -t any 0 1",
        "list-jobs t any 4294967296 1",
        "list-jobs t any 0 x",
        "move ",
        "move 1",
        "move t 1",
        "move 1 -",
        "move 1 t ",
        "move 18446744073709551616 t",
    ];
    assert_each(wrong, &Err(Malformed::BadFormat));
}

#[test]
fn no_known_prefix() {
    let nothing = ["", " ", "\n", "\r", "  stats", " stats", "foo", "foo\rbar", "\u{e9}", "0"];
    // Their prefix ends in a space that is missing here.
    let no_space = [
        "put",
        "put\t0 0 1 0",
        "put-unique 0 0 1 0",
        "delete",
        "deletex",
        "use",
        "kick",
        "kick\t1",
        "release",
        "bury",
        "touch",
        "watch",
        "ignore",
        "peek",
        "peekx",
        "peek\t1",
        "peek-foo",
        "kick-job",
        "kick-jobx",
        "kick-jobx 1",
    ];
    let too_short =
        ["p", "pu", "pause-tub", "r", "reserv", "d", "b", "t", "k", "s", "stat", "u", "w", "i"];
    let too_short_too = ["l", "list-", "list-tube", "list-tub", "q", "qui", "peek-read"];
    let wrong_case = ["STATS", "Stats", "sTats", "QUIT", "PUT 0 0 1 0", "Use t"];
    for lines in [&nothing[..], &no_space, &too_short, &too_short_too, &wrong_case] {
        assert_each(lines, &Err(Malformed::Unknown));
    }
}

#[test]
fn a_known_prefix_with_something_wrong_behind_it() {
    let junk_behind_a_bare_word = [
        "stats ",
        "statsx",
        "stats-foo",
        "stats-x",
        "stats\t",
        "stats\r",
        "stats\n",
        "stats 1",
        "list-tubes ",
        "list-tubesx",
        "list-tubes x",
        "list-tube-used ",
        "list-tube-usedx",
        "list-tubes-watched ",
        "list-tubes-watchedx",
        "reserve ",
        "reservex",
        "reserve-batch",
        "reserve 1",
        "peek-ready ",
        "peek-readyx",
        "peek-delayed ",
        "peek-delayedx",
        "peek-buried ",
        "peek-buriedx",
        "peek-ready 1",
    ];
    // Without the space they are another command and junk behind it.
    let no_space = [
        "reserve-job",
        "reserve-jobx",
        "reserve-with-timeout",
        "reserve-with-timeout0",
        "stats-job",
        "stats-jobx",
        "stats-tube",
        "stats-tubex",
    ];
    let no_argument = [
        "put ",
        "delete ",
        "release ",
        "bury ",
        "touch ",
        "use ",
        "watch ",
        "ignore ",
        "peek ",
        "kick ",
        "kick-job ",
        "reserve-job ",
        "stats-job ",
        "stats-tube ",
        "pause-tube",
        "pause-tube ",
        "pause-tube   ",
        "pause-tube t",
        "pause-tube t ",
    ];
    let too_few = ["put 1", "put 1 2", "put 1 2 3", "put 1 2 3 ", "release 1", "release 1 2"];
    let too_few_too = ["release 1 2 ", "bury 1", "bury 1 "];
    let too_many = ["release 1 2 3 4", "bury 1 2 3", "delete 1 2", "pause-tube t 1 2"];
    for lines in
        [&junk_behind_a_bare_word[..], &no_space, &no_argument, &too_few, &too_few_too, &too_many]
    {
        assert_each(lines, &Err(Malformed::BadFormat));
    }
}

#[test]
fn quit_with_anything_behind_it() {
    assert_each(
        ["quit", "quit ", "quitx", "quit now", "quit\r\n\t"],
        &Ok(Line::Command(Command::Quit)),
    );
}

#[test]
fn a_nul_anywhere_is_bad_format() {
    let lines = [
        "\0",
        "foo\0",
        "quit\0",
        "quit \0x",
        "list-tube-used\0",
        "use a\0b",
        "kick 1\0",
        "kick 1 \0",
        "put 0 0 1 1\0",
        "put 0 0 1 99999999\0",
        "\0stats",
    ];
    assert_each(lines, &Err(Malformed::BadFormat));
}

#[test]
fn names_behind_exactly_one_space() {
    let longest = "n".repeat(200);
    let commands = [
        ("use", Command::Use as fn(TubeName) -> Command),
        ("watch", Command::Watch),
        ("ignore", Command::Ignore),
        ("stats-tube", Command::StatsTube),
    ];
    for (word, command) in commands {
        for good in ["a", "default", "0", "+", "/;.$_()", "a-b", "_-", longest.as_str()] {
            let expected = Ok(Line::Command(command(tube(good))));
            assert_eq!(parse(format!("{word} {good}")), expected, "{word} {good}");
        }
        let too_long = "n".repeat(201);
        for bad in [
            "",
            " foo",
            "foo ",
            "foo bar",
            "-foo",
            "-",
            "f,oo",
            "foo\t",
            "foo\n",
            "foo\r",
            "\u{fc}",
            "\"foo\"",
            too_long.as_str(),
        ] {
            let expected = Err(Malformed::BadFormat);
            assert_eq!(parse(format!("{word} {bad}")), expected, "{word} {bad}");
        }
    }
}

#[test]
fn pause_tube_lines() {
    let longest = "n".repeat(200);
    let too_long = "n".repeat(201);
    let pause = |name: &str, seconds| Ok(Line::Command(Command::PauseTube(tube(name), seconds)));
    let table = [
        (" t 0".to_owned(), pause("t", 0)),
        ("default 0".to_owned(), pause("default", 0)),
        ("   t    7".to_owned(), pause("t", 7)),
        (format!(" {longest} 4294967295"), pause(&longest, u32::MAX)),
        // The longest line that the protocol has a use for.
        (format!(" {longest}  4294967295"), pause(&longest, u32::MAX)),
        // Counted before the name is judged.
        (" -t 0".to_owned(), Err(Malformed::BadPauseTube)),
        ("-t 0".to_owned(), Err(Malformed::BadPauseTube)),
        (format!(" {too_long} 0"), Err(Malformed::BadPauseTube)),
        // A bad number comes before that.
        (" -t x".to_owned(), Err(Malformed::BadFormat)),
        (" -t 0 ".to_owned(), Err(Malformed::BadFormat)),
        (" t 0 ".to_owned(), Err(Malformed::BadFormat)),
        (" t 0x".to_owned(), Err(Malformed::BadFormat)),
        (" t,u 0".to_owned(), Err(Malformed::BadFormat)),
        (" t\t0".to_owned(), Err(Malformed::BadFormat)),
        ("\tt 0".to_owned(), Err(Malformed::BadFormat)),
        (" 0".to_owned(), Err(Malformed::BadFormat)),
    ];
    for (rest, expected) in table {
        assert_eq!(parse(format!("pause-tube{rest}")), expected, "{rest:?}");
    }
}
