//! Framing: where lines and bodies end, at any split of the bytes.

use super::*;
use crate::types::TubeName;

const MAX: u32 = 20;

const BAD_FORMAT: Request = Request::Rejected(Rejection::BadFormat);
const UNKNOWN: Request = Request::Rejected(Rejection::UnknownCommand);
const TOO_BIG: Request = Request::Rejected(Rejection::JobTooBig);
const STATS: Request = Request::Command(Command::Stats);
const RESERVE: Request = Request::Command(Command::Reserve);

/// Decodes the pieces one after the other.
fn decode_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Request>, bool) {
    let mut decoder = RequestDecoder::new(Dialect::default(), MAX);
    let mut requests = Vec::new();
    for piece in pieces {
        let mut at = 0;
        while let Some(request) = decoder.decode(piece, &mut at) {
            requests.push(request);
        }
        assert_eq!(at, piece.len(), "a decoder that wants more has used up all of its input");
    }
    (requests, decoder.is_between_requests())
}

/// Decodes the bytes whole, in two pieces cut anywhere, and byte by byte, with the same result.
fn decode_all(bytes: impl AsRef<[u8]>) -> (Vec<Request>, bool) {
    let bytes = bytes.as_ref();
    let whole = decode_pieces([bytes]);
    assert_eq!(decode_pieces(bytes.chunks(1)), whole, "byte by byte");
    for cut in 0..=bytes.len() {
        let (left, right) = bytes.split_at(cut);
        assert_eq!(decode_pieces([left, right]), whole, "cut at {cut}");
    }
    whole
}

/// As [`decode_all`], for bytes that end where a request does.
fn decode(bytes: impl AsRef<[u8]>) -> Vec<Request> {
    let (requests, complete) = decode_all(bytes);
    assert!(complete, "the last request is complete");
    requests
}

fn put(size: u32) -> Request {
    Request::Put(PutHeader { priority: 0, delay: 0, ttr: 1, size })
}

fn body(bytes: &[u8]) -> Request {
    Request::Body(bytes.into())
}

#[test]
fn only_crlf_ends_a_line() {
    let table: [(&[u8], &[Request]); 12] = [
        (b"\r\n", &[UNKNOWN]),
        (b"stats\r\nreserve\r\n", &[STATS, RESERVE]),
        (b"\n\r\n", &[UNKNOWN]),
        (b"\r\r\n", &[UNKNOWN]),
        (b"stats\n\r\n", &[BAD_FORMAT]),
        (b"stats\r\r\nstats\r\n", &[BAD_FORMAT, STATS]),
        (b"stats\nreserve\r\n", &[BAD_FORMAT]),
        (b"use x\n\r\n", &[BAD_FORMAT]),
        (b"foo\rbar\r\nstats\r\n", &[UNKNOWN, STATS]),
        (b"foo\nbar\r\nstats\r\n", &[UNKNOWN, STATS]),
        (b"\n\r\r\n\r\n", &[UNKNOWN, UNKNOWN]),
        (b"kick 1\n\r\n", &[Request::Command(Command::Kick(1))]),
    ];
    for (bytes, expected) in table {
        assert_eq!(decode(bytes), expected, "{:?}", bytes.escape_ascii().to_string());
    }
}

#[test]
fn what_has_no_end_yet_waits() {
    for bytes in [&b"stats"[..], b"stats\r", b"stats\n", b"stats\r\r", b"\n", b"\r", b"\0"] {
        assert_eq!(decode_all(bytes), (vec![], false), "{:?}", bytes.escape_ascii().to_string());
    }
    assert_eq!(decode_all(b""), (vec![], true));
    assert_eq!(decode_all(b"stats\r\nput 0 0 1 3\r\nab"), (vec![STATS, put(3)], false));
    assert_eq!(decode_all(b"put 0 0 1 0\r\n\r"), (vec![put(0)], false));
    assert_eq!(decode_all(b"put 0 0 1 21\r\nabc"), (vec![Request::OversizedPut], false));
    assert_eq!(decode_all([b'x'; MAX_LINE + 50]), (vec![], false));
}

/// A command that tolerates any padding, in a line of `length` bytes with its CRLF.
fn padded_kick(length: usize) -> Vec<u8> {
    let mut line = b"kick 1".to_vec();
    line.resize(length - 2, b'x');
    line.extend_from_slice(b"\r\n");
    line
}

#[test]
fn a_line_has_at_most_224_bytes() {
    for (length, fits) in [(222, true), (223, true), (224, true), (225, false), (226, false)] {
        let first = if fits { Request::Command(Command::Kick(1)) } else { BAD_FORMAT };
        let mut bytes = padded_kick(length);
        bytes.extend_from_slice(b"stats\r\n");
        assert_eq!(decode(&bytes), [first.clone(), STATS], "{length} bytes");
        bytes.splice(0..0, *b"reserve\r\n");
        assert_eq!(decode(&bytes), [RESERVE, first, STATS], "{length} bytes, not the first line");
    }
}

#[test]
fn the_longest_name_fits_the_longest_command() {
    let name = "n".repeat(200);
    let tube = TubeName::new(name.as_bytes()).expect("200 bytes are allowed");
    let expected = Request::Command(Command::PauseTube(tube, u32::MAX));
    let line = format!("pause-tube {name} 4294967295\r\n");
    assert_eq!(line.len(), MAX_LINE);
    assert_eq!(decode(line), [expected]);
}

#[test]
fn an_overlong_line_is_discarded_up_to_its_crlf() {
    // The lengths at which beanstalkd's CRLF straddles its buffer, and what surrounds them.
    for length in [225, 226, 446, 447, 448, 449, 450, 673] {
        for filler in [b'x', b' ', b'\n', b'\r', b'\0', b'0'] {
            let mut bytes = b"quit".to_vec();
            bytes.resize(length - 2, filler);
            bytes.extend_from_slice(b"\r\nstats\r\n");
            assert_eq!(decode(&bytes), [BAD_FORMAT, STATS], "{length} bytes of {filler}");
        }
    }
}

#[test]
fn bare_cr_and_lf_around_the_cap_end_nothing() {
    for at in 218..230 {
        for byte in [b'\r', b'\n'] {
            let mut bytes = padded_kick(300);
            bytes[at] = byte;
            bytes.extend_from_slice(b"stats\r\n");
            assert_eq!(decode(&bytes), [BAD_FORMAT, STATS], "{byte} at {at}");
        }
    }
    // But CRLF does, wherever it stands.
    for at in 221..226 {
        let mut bytes = padded_kick(300);
        bytes[at..at + 2].copy_from_slice(b"\r\n");
        let first = if at <= 222 { Request::Command(Command::Kick(1)) } else { BAD_FORMAT };
        assert_eq!(decode(&bytes), [first, UNKNOWN], "CRLF at {at}");
    }
}

#[test]
fn an_overlong_line_longer_than_any_buffer() {
    let mut bytes = vec![b'x'; 1_000_000];
    bytes.extend_from_slice(b"\r\nstats\r\n");
    let whole = decode_pieces([&bytes[..]]);
    assert_eq!(whole, (vec![BAD_FORMAT, STATS], true));
    for size in [1, 223, 224, 225, 4096] {
        assert_eq!(decode_pieces(bytes.chunks(size)), whole, "in pieces of {size}");
    }
}

#[test]
fn a_nul_is_bad_format_and_ends_with_its_line() {
    assert_eq!(decode(b"\0\r\nstats\r\n"), [BAD_FORMAT, STATS]);
    assert_eq!(decode(b"foo\0\r\nquit\0\r\n"), [BAD_FORMAT, BAD_FORMAT]);
    // The body of a put whose line is malformed is commands.
    assert_eq!(decode(b"put 0 0 1 5\0\r\nstats\r\n"), [BAD_FORMAT, STATS]);
}

#[test]
fn bodies() {
    let table: [(&[u8], &[Request]); 6] = [
        (b"put 0 0 1 3\r\nabc\r\nstats\r\n", &[put(3), body(b"abc"), STATS]),
        (b"put 0 0 1 0\r\n\r\nstats\r\n", &[put(0), body(b""), STATS]),
        (b"put 0 0 1 1\r\n\0\r\n", &[put(1), body(b"\0")]),
        // Nothing inside a body means anything.
        (b"put 0 0 1 9\r\nquit\r\n\r\n\r\r\n", &[put(9), body(b"quit\r\n\r\n\r")]),
        (b"put 0 0 1 20\r\n12345678901234567890\r\n", &[put(20), body(b"12345678901234567890")]),
        (b"put 0 0 1 1\r\na\r\nput 0 0 1 2\r\nbc\r\n", &[put(1), body(b"a"), put(2), body(b"bc")]),
    ];
    for (bytes, expected) in table {
        assert_eq!(decode(bytes), expected, "{:?}", bytes.escape_ascii().to_string());
    }
}

#[test]
fn a_wrong_trailer_takes_exactly_two_bytes() {
    let table: [(&[u8], &[Request]); 8] = [
        (b"put 0 0 1 3\r\nabcxystats\r\n", &[put(3), Request::BrokenBody, STATS]),
        (b"put 0 0 1 3\r\nabcde\r\nstats\r\n", &[put(3), Request::BrokenBody, UNKNOWN, STATS]),
        (b"put 0 0 1 3\r\nabc\n\rstats\r\n", &[put(3), Request::BrokenBody, STATS]),
        (b"put 0 0 1 3\r\nabc\r\rstats\r\n", &[put(3), Request::BrokenBody, STATS]),
        (b"put 0 0 1 3\r\nabc\n\nstats\r\n", &[put(3), Request::BrokenBody, STATS]),
        (b"put 0 0 1 3\r\nabc\r\0stats\r\n", &[put(3), Request::BrokenBody, STATS]),
        (b"put 0 0 1 0\r\nxystats\r\n", &[put(0), Request::BrokenBody, STATS]),
        // One byte short: the CR is taken for the body's last byte.
        (b"put 0 0 1 3\r\nab\r\nxstats\r\n", &[put(3), Request::BrokenBody, STATS]),
    ];
    for (bytes, expected) in table {
        assert_eq!(decode(bytes), expected, "{:?}", bytes.escape_ascii().to_string());
    }
}

#[test]
fn a_body_over_the_limit_is_discarded_before_the_answer() {
    let mut bytes = b"put 0 0 1 21\r\n".to_vec();
    bytes.extend_from_slice(b"123456789\r\n23456789\r");
    bytes.extend_from_slice(b"\r\n");
    assert_eq!(decode_all(&bytes), (vec![Request::OversizedPut], false));
    bytes.push(b'\n');
    assert_eq!(decode(&bytes), [Request::OversizedPut, TOO_BIG]);
    bytes.extend_from_slice(b"stats\r\n");
    assert_eq!(decode(&bytes), [Request::OversizedPut, TOO_BIG, STATS]);
    // Its trailer is not looked at, nor is what stands behind the size.
    let junk = b"put 0 0 1 21 junk\r\n12345678901234567890123stats\r\n";
    assert_eq!(decode(junk), [Request::OversizedPut, TOO_BIG, STATS]);
}

#[test]
fn the_largest_announcement_is_discarded_without_being_held() {
    let mut decoder = RequestDecoder::new(Dialect::default(), MAX);
    let line = b"put 0 0 1 4294967295\r\n";
    assert_eq!(decoder.decode(line, &mut 0), Some(Request::OversizedPut));
    let piece = vec![b'x'; 1 << 20];
    let mut left = (1u64 << 32) + 1;
    while left > piece.len() as u64 {
        assert_eq!(decoder.decode(&piece, &mut 0), None);
        assert_eq!(decoder.held_bytes(), 0);
        left -= piece.len() as u64;
    }
    let mut at = 0;
    assert_eq!(decoder.decode(&piece, &mut at), Some(TOO_BIG));
    assert_eq!(at as u64, left);
}

#[test]
fn a_refused_put_leaves_its_body_to_be_read_as_commands() {
    assert_eq!(decode(b"put 0 0 1\r\nstats\r\n"), [BAD_FORMAT, STATS]);
    assert_eq!(decode(b"put 0 0 1 4294967296\r\nstats\r\n"), [BAD_FORMAT, STATS]);
    let bad_put = Request::Rejected(Rejection::BadPut);
    assert_eq!(decode(b"put 0 0 1 5 \r\nstats\r\n"), [bad_put, STATS]);
    assert_eq!(decode(b"put-unique 0 0 1 5\r\nstats\r\n"), [UNKNOWN, STATS]);
    let overlong = format!("put 0 0 1 {:0>220}\r\nstats\r\n", 5);
    assert_eq!(decode(overlong), [BAD_FORMAT, STATS]);
}

#[test]
fn a_pause_of_an_impossible_name_is_told_apart() {
    let bad = Request::Rejected(Rejection::BadPauseTube);
    assert_eq!(decode(b"pause-tube -x 0\r\nstats\r\n"), [bad, STATS]);
}

#[test]
fn requests_are_handed_out_one_by_one() {
    let input = b"stats\r\nreserve\r\nput 0 0 1 1\r\na\r\nst";
    let mut decoder = RequestDecoder::new(Dialect::default(), MAX);
    let mut at = 0;
    let steps = [(7, STATS), (16, RESERVE), (29, put(1)), (32, body(b"a"))];
    for (end, request) in steps {
        assert_eq!(decoder.decode(input, &mut at), Some(request));
        assert_eq!(at, end);
    }
    assert_eq!(decoder.decode(input, &mut at), None);
    assert_eq!(at, input.len());
}

#[test]
fn a_reset_forgets_half_a_request() {
    for half in [&b"sta"[..], b"put 0 0 1 3\r\na", b"put 0 0 1 3\r\nabc\r", b"put 0 0 1 99\r\na"] {
        let mut decoder = RequestDecoder::new(Dialect::default(), MAX);
        let mut at = 0;
        while decoder.decode(half, &mut at).is_some() {}
        assert!(!decoder.is_between_requests());
        decoder.reset();
        assert!(decoder.is_between_requests());
        assert_eq!(decoder.held_bytes(), 0);
        assert_eq!(decoder.decode(b"stats\r\n", &mut 0), Some(STATS));
    }
    let mut decoder = RequestDecoder::new(Dialect::default(), MAX);
    assert_eq!(decoder.decode(&[b'x'; 300], &mut 0), None);
    decoder.reset();
    assert_eq!(decoder.decode(b"stats\r\n", &mut 0), Some(STATS));
}

#[test]
fn nothing_is_held_between_requests() {
    let mut decoder = RequestDecoder::new(Dialect::default(), MAX);
    for piece in [&b"sta"[..], b"ts\r\nput 0 0", b" 1 3\r\na", b"bc\r", b"\n"] {
        let mut at = 0;
        while decoder.decode(piece, &mut at).is_some() {}
        assert_eq!(decoder.held_bytes() > 0, !decoder.is_between_requests());
    }
    assert!(decoder.is_between_requests());
}

/// Wherever the pieces are cut, a body that arrives in several is set aside, what comes before it is decoded
/// before, and what comes behind it when it is taken.
#[test]
fn a_large_body_is_set_aside_until_it_is_taken() {
    const LEN: usize = 9;
    let bytes = b"stats\r\nput 0 0 1 9\r\n123456789\r\nput 0 0 1 1\r\na\r\nreserve\r\n";
    let start = bytes.windows(LEN).position(|window| window == b"123456789").expect("it is there");
    for cut in start + 1..start + LEN + 2 {
        let mut decoder = RequestDecoder::new(Dialect::default(), MAX).with_aside(LEN);
        let (left, right) = bytes.split_at(cut);
        let mut at = 0;
        assert_eq!(decoder.decode(left, &mut at), Some(STATS));
        assert_eq!(decoder.decode(left, &mut at), Some(put(9)));
        assert_eq!((decoder.decode(left, &mut at), decoder.take_aside()), (None, None));
        let mut at = 0;
        assert_eq!(decoder.decode(right, &mut at), None);
        assert!(!decoder.is_between_requests() && decoder.held_bytes() >= LEN);
        assert_eq!(at, start + LEN + 2 - cut, "nothing behind it is used up");
        assert_eq!(decoder.decode(right, &mut at), None, "nor before it is taken");
        assert_eq!(decoder.take_aside().as_deref(), Some(&b"123456789"[..]));
        assert_eq!(decoder.take_aside(), None);
        for request in [put(1), body(b"a"), RESERVE] {
            assert_eq!(decoder.decode(right, &mut at), Some(request), "cut at {cut}");
        }
    }
    // What arrives in one piece, or is shorter, or broken, is not.
    let cases: [(&[&[u8]], Request); 3] = [
        (&[b"put 0 0 1 9\r\n123456789\r\n"], body(b"123456789")),
        (&[b"put 0 0 1 8\r\n1234", b"5678\r\n"], body(b"12345678")),
        (&[b"put 0 0 1 9\r\n1234", b"56789xx"], Request::BrokenBody),
    ];
    for (pieces, expected) in cases {
        let mut decoder = RequestDecoder::new(Dialect::default(), MAX).with_aside(LEN);
        let mut last = None;
        for piece in pieces {
            let mut at = 0;
            while let Some(request) = decoder.decode(piece, &mut at) {
                last = Some(request);
            }
        }
        assert_eq!((last, decoder.take_aside()), (Some(expected), None));
    }
}

/// Who has a way to free large bodies is given those that nobody else gets.
#[test]
fn a_body_that_nobody_gets_is_freed_by_whoever_says_how() {
    std::thread_local! {
        static FREED: std::cell::RefCell<Vec<Vec<u8>>> = const { std::cell::RefCell::new(Vec::new()) };
    }
    let free = |body| FREED.with_borrow_mut(|freed| freed.push(body));
    let mut decoder = RequestDecoder::new(Dialect::default(), MAX).with_free(free);
    for piece in [&b"put 0 0 1 3\r\na"[..], b"bcxx", b"put 0 0 1 3\r\nd"] {
        let mut at = 0;
        while decoder.decode(piece, &mut at).is_some() {}
    }
    assert_eq!(FREED.take(), [b"abc"]);
    assert_eq!(decoder.take_partial(), b"d");
}

/// The requests that a decoder which knows `auth` makes of these bytes.
fn decode_knowing(mut decoder: RequestDecoder, bytes: &[u8]) -> Vec<Request> {
    let mut at = 0;
    let mut requests = Vec::new();
    while at < bytes.len() {
        requests.extend(std::iter::from_fn(|| decoder.decode(bytes, &mut at)));
        // Otherwise only an `auth` leaves anything.
        assert!(at == bytes.len() || matches!(requests.last(), Some(Request::Auth(_))));
        decoder.reset();
    }
    requests
}

#[test]
fn auth_is_a_command_where_it_is_to_be_known() {
    let longest = "t".repeat(Token::MAX);
    let too_long = "t".repeat(Token::MAX + 1);
    let auth = |token: &str| Request::Auth(Token::new(token.as_bytes()).unwrap());
    for (line, known) in [
        ("auth site.0123", auth("site.0123")),
        (&format!("auth {longest}"), auth(&longest)),
        (&format!("auth {too_long}"), BAD_FORMAT),
        ("auth ", BAD_FORMAT),
        ("auth a b", BAD_FORMAT),
        ("auth  a", BAD_FORMAT),
        ("auth \u{e9}", BAD_FORMAT),
        ("auth", UNKNOWN),
        ("authx", UNKNOWN),
        ("a", UNKNOWN),
    ] {
        let decoder = RequestDecoder::new(Dialect::default(), MAX).with_auth();
        let bytes = format!("{line}\r\nstats\r\n");
        assert_eq!(decode_knowing(decoder, bytes.as_bytes()), [known.clone(), STATS], "{line}");
        let unknown = if known == BAD_FORMAT && line.len() > 222 { BAD_FORMAT } else { UNKNOWN };
        assert_eq!(decode(&bytes), [unknown, STATS], "{line}");
    }
    assert!(!format!("{:?}", auth("secret7")).contains("secret7"));
}

#[test]
fn a_body_that_is_not_wanted_is_not_held() {
    let bytes = b"put 0 0 1 20\r\n01234567890123456789\r\nput 0 0 1 3\r\nabcxyput 0 0 1 21\r\n\
                  012345678901234567890\r\nput 0 0 1 0\r\n\r\nstats\r\n";
    for pieces in [bytes.len(), 1, 7] {
        let mut decoder = RequestDecoder::new(Dialect::default(), MAX);
        decoder.hold_nothing(true);
        let mut requests = Vec::new();
        for piece in bytes.chunks(pieces) {
            let mut at = 0;
            while let Some(request) = decoder.decode(piece, &mut at) {
                requests.push(request);
            }
            assert!(decoder.held_bytes() <= MAX_LINE, "{}", decoder.held_bytes());
        }
        let expected = [
            Request::OversizedPut,
            TOO_BIG,
            Request::OversizedPut,
            TOO_BIG,
            Request::OversizedPut,
            TOO_BIG,
            put(0),
            body(b""),
            STATS,
        ];
        assert_eq!(requests, expected);
    }
}
