//! Numbers, which are read as C reads them.

use super::*;

/// Arguments, and the number that each is; none is `BAD_FORMAT`.
const IDS: &[(&str, Option<u64>)] = &[
    ("0", Some(0)),
    ("00", Some(0)),
    ("1", Some(1)),
    ("   1", Some(1)),
    ("0000000000000000000000000000001", Some(1)),
    ("4294967296", Some(1 << 32)),
    ("18446744073709551615", Some(u64::MAX)),
    ("18446744073709551616", None),
    ("99999999999999999999999999999", None),
    ("", None),
    (" ", None),
    ("\t1", None),
    ("\n1", None),
    ("+1", None),
    ("-1", None),
    (" -1", None),
    ("1 ", None),
    ("1\t", None),
    ("1\r", None),
    ("1\n", None),
    ("1x", None),
    ("1 x", None),
    ("1.0", None),
    ("0x1", None),
    ("x", None),
    ("\u{661}", None),
];

#[test]
fn ids_are_u64() {
    let commands = [
        ("reserve-job", Command::ReserveJob as fn(u64) -> Command),
        ("delete", Command::Delete),
        ("touch", Command::Touch),
        ("peek", Command::Peek),
        ("kick-job", Command::KickJob),
        ("stats-job", Command::StatsJob),
    ];
    for (word, command) in commands {
        for (argument, id) in IDS {
            let line = format!("{word} {argument}");
            let expected = id.map(|id| Line::Command(command(id))).ok_or(Malformed::BadFormat);
            assert_eq!(parse(&line), expected, "{line:?}");
        }
    }
}

#[test]
fn ids_with_more_arguments_behind_them() {
    for id in [0, 1, u64::MAX] {
        let bury = Command::Bury { id, priority: 5 };
        assert_eq!(parse(format!("bury   {id}  5")), Ok(Line::Command(bury)));
        let release = Command::Release { id, priority: 5, delay: 6 };
        assert_eq!(parse(format!("release   {id}  5 6")), Ok(Line::Command(release)));
    }
    for id in ["18446744073709551616", "+1", "-1", "\t1", "1\t", "1x", "x"] {
        for line in [format!("bury {id} 5"), format!("release {id} 5 6")] {
            assert_eq!(parse(&line), Err(Malformed::BadFormat), "{line:?}");
        }
    }
}

#[test]
fn priorities_times_and_sizes_are_u32() {
    // Each names the place where the number goes, the others being in order.
    let lines = [
        "put {} 0 1 0",
        "put 0 {} 1 0",
        "put 0 0 {} 0",
        "release 1 {} 0",
        "release 1 0 {}",
        "bury 1 {}",
        "pause-tube t {}",
    ];
    for line in lines {
        for good in ["0", "1", "  1", "0001", "4294967295"] {
            let line = line.replace("{}", good);
            assert!(parse(&line).is_ok(), "{line:?}");
        }
        for bad in ["4294967296", "18446744073709551616", "-1", "+1", "\t1", "x", "1x", "1\t"] {
            let line = line.replace("{}", bad);
            assert_eq!(parse(&line), Err(Malformed::BadFormat), "{line:?}");
        }
    }
    assert_each(
        ["release  1   4294967295    4294967295"],
        &Ok(Line::Command(Command::Release { id: 1, priority: u32::MAX, delay: u32::MAX })),
    );
}

#[test]
fn put_lines() {
    let put = |priority, delay, ttr, size| Ok(Line::Put(PutHeader { priority, delay, ttr, size }));
    let table = [
        ("put 0 0 1 0", put(0, 0, 1, 0)),
        ("put   4294967295  4294967295 4294967295  65535", put(u32::MAX, u32::MAX, u32::MAX, MAX)),
        // What that means is for the server to say.
        ("put 0 0 0 1", put(0, 0, 0, 1)),
        ("put 0 0 1 1 ", Err(Malformed::BadPut)),
        ("put 0 0 1 1x", Err(Malformed::BadPut)),
        ("put 0 0 1 1 1", Err(Malformed::BadPut)),
        ("put 0 0 1 1\t", Err(Malformed::BadPut)),
        ("put 0 0 1 1\r", Err(Malformed::BadPut)),
        ("put 0 0 1 65536", Err(Malformed::TooBig { size: 65_536 })),
        // The size is judged before the junk.
        ("put 0 0 1 65536 junk", Err(Malformed::TooBig { size: 65_536 })),
        ("put 0 0 1 4294967295x", Err(Malformed::TooBig { size: u32::MAX })),
        ("put 0 0 1 4294967296", Err(Malformed::BadFormat)),
        ("put 0 0 1 -1", Err(Malformed::BadFormat)),
        ("put 0 0 1 x", Err(Malformed::BadFormat)),
        ("put 0 0 4294967296 65536", Err(Malformed::BadFormat)),
    ];
    for (line, expected) in table {
        assert_eq!(parse(line), expected, "{line:?}");
    }
}

#[test]
fn the_size_limit_is_the_servers() {
    let parse = |line: &[u8], max| parse_line(line, Dialect::V1_13, max);
    assert!(parse(b"put 0 0 1 0", 0).is_ok());
    assert_eq!(parse(b"put 0 0 1 1", 0), Err(Malformed::TooBig { size: 1 }));
    assert!(parse(b"put 0 0 1 1073741824", 1 << 30).is_ok());
    assert_eq!(
        parse(b"put 0 0 1 1073741825", 1 << 30),
        Err(Malformed::TooBig { size: (1 << 30) + 1 })
    );
}

#[test]
fn kick_reads_as_strtoul_does() {
    let table = [
        ("0", Some(0)),
        ("5", Some(5)),
        ("  5", Some(5)),
        ("\t5", Some(5)),
        ("\n\x0b\x0c\r 5", Some(5)),
        ("1 junk", Some(1)),
        ("1x", Some(1)),
        ("1 ", Some(1)),
        ("+3", Some(3)),
        ("  +3", Some(3)),
        ("-1", Some(u32::MAX)),
        ("0x10", Some(0)),
        ("4294967295", Some(u32::MAX)),
        ("4294967296", Some(0)),
        ("4294967299", Some(3)),
        ("18446744073709551615", Some(u32::MAX)),
        ("18446744073709551616", None),
        ("-18446744073709551615", Some(1)),
        ("-18446744073709551616", None),
        ("--1", None),
        ("+-1", None),
        ("- 1", None),
        ("-", None),
        ("x", None),
        ("x1", None),
        ("", None),
        (" ", None),
    ];
    for (argument, bound) in table {
        let expected =
            bound.map(|bound| Line::Command(Command::Kick(bound))).ok_or(Malformed::BadFormat);
        assert_eq!(parse(format!("kick {argument}")), expected, "{argument:?}");
    }
}

#[test]
fn the_timeout_of_a_reserve_in_both_dialects() {
    /// Waits for ever.
    const EVER: Option<Option<u32>> = Some(None);
    const BAD: Option<Option<u32>> = None;
    let wait = |seconds| Some(Some(seconds));
    // The argument, what 1.13 makes of it, what 1.12 does.
    let table = [
        ("0", wait(0), wait(0)),
        ("7", wait(7), wait(7)),
        ("   7", wait(7), wait(7)),
        ("007", wait(7), wait(7)),
        ("0 junk", wait(0), wait(0)),
        ("7x", wait(7), wait(7)),
        ("2147483647", wait(i32::MAX as u32), wait(i32::MAX as u32)),
        ("2147483648", BAD, EVER),
        ("4294967295", BAD, EVER),
        ("4294967296", BAD, wait(0)),
        ("4294967303", BAD, wait(7)),
        ("9223372036854775807", BAD, EVER),
        ("9223372036854775808", BAD, BAD),
        ("18446744073709551615", BAD, BAD),
        ("18446744073709551616", BAD, BAD),
        ("-0", BAD, wait(0)),
        ("-1", BAD, EVER),
        ("-2", BAD, EVER),
        ("-4294967296", BAD, wait(0)),
        ("-9223372036854775808", BAD, wait(0)),
        ("-9223372036854775809", BAD, BAD),
        ("+0", BAD, wait(0)),
        ("+7", BAD, wait(7)),
        ("\t7", BAD, wait(7)),
        (" \t 7", BAD, wait(7)),
        ("--1", BAD, wait(0)),
        ("-x", BAD, wait(0)),
        ("x", BAD, wait(0)),
        ("x7", BAD, wait(0)),
        ("", BAD, wait(0)),
        ("  ", BAD, wait(0)),
    ];
    for (argument, new, old) in table {
        let line = format!("reserve-with-timeout {argument}");
        for (dialect, expected) in [(Dialect::V1_13, new), (Dialect::V1_12, old)] {
            let expected = expected
                .map(|timeout| Line::Command(Command::ReserveWithTimeout(timeout)))
                .ok_or(Malformed::BadFormat);
            assert_eq!(parse_line(line.as_bytes(), dialect, MAX), expected, "{line:?} {dialect:?}");
        }
    }
}
