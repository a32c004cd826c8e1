//! Both decoders: bytes in pieces must mean what they mean whole, and nothing may panic.

use beanstalk_protocol::{
    Command, Dialect, PutHeader, Rejection, Reply, ReplyDecoder, ReplyError, Request,
    RequestDecoder,
};
use bytes::{Bytes, BytesMut};

/// Largest body in bytes that the decoders here accept: more than a line or a piece, and little
/// enough for inputs to go beyond.
pub const MAX_BODY: u32 = 300;

/// The fuzz target. The first byte chooses the dialect (its lowest bit) and how many bytes behind
/// it are lengths of pieces; the stream follows.
pub fn run(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let dialect = if first & 1 == 0 { Dialect::V1_13 } else { Dialect::V1_12 };
    let lengths = usize::from(first >> 1) % 16;
    let Some((lengths, stream)) = rest.split_at_checked(lengths) else { return };
    check_requests(dialect, stream, lengths);
    check_replies(stream, lengths);
}

/// Decodes what a client sends, whole and in pieces of the given lengths (again and again).
pub fn check_requests(dialect: Dialect, stream: &[u8], lengths: &[u8]) {
    let whole = decode_requests(dialect, std::iter::once(stream));
    assert_eq!(decode_requests(dialect, pieces(stream, lengths)), whole);
    for (at, request) in whole.0.iter().enumerate() {
        match (request, whole.0.get(at + 1)) {
            (Request::Command(command), _) => check_command(command),
            (Request::Put(header), Some(Request::Body(body))) => check_put(header, body),
            _ => {}
        }
    }
}

/// Decodes what a server sends, whole and in pieces of the given lengths (again and again).
pub fn check_replies(stream: &[u8], lengths: &[u8]) {
    let whole = decode_replies(std::iter::once(stream));
    assert_eq!(decode_replies(pieces(stream, lengths)), whole);
    for reply in &whole.0 {
        check_reply(reply);
    }
}

/// A command that is written and read again is the same.
pub fn check_command(command: &Command) {
    let mut line = Vec::new();
    command.encode(&mut line);
    // What only the older dialect can say, the newer one refuses.
    let old_only = matches!(command, Command::ReserveWithTimeout(None));
    for dialect in [Dialect::V1_12, Dialect::V1_13] {
        let (requests, _) = decode_requests(dialect, std::iter::once(&line[..]));
        let same = requests == [Request::Command(command.clone())];
        assert_eq!(same, !(old_only && dialect == Dialect::V1_13), "{command:?} {dialect:?}");
    }
}

/// A put that is written and read again is the same.
pub fn check_put(header: &PutHeader, body: &[u8]) {
    let mut stream = Vec::new();
    header.encode(&mut stream);
    stream.extend_from_slice(body);
    stream.extend_from_slice(b"\r\n");
    for dialect in [Dialect::V1_12, Dialect::V1_13] {
        let (requests, _) = decode_requests(dialect, std::iter::once(&stream[..]));
        assert_eq!(requests, [Request::Put(*header), Request::Body(body.into())]);
    }
}

/// A reply that is written and read again is the same.
pub fn check_reply(reply: &Reply<Bytes>) {
    let mut stream = Vec::new();
    reply.encode(&mut stream);
    let (replies, error) = decode_replies(std::iter::once(&stream[..]));
    assert_eq!((replies.as_slice(), error), (std::slice::from_ref(reply), None));
}

/// The requests in the pieces, and whether nothing is left over.
fn decode_requests<'a>(
    dialect: Dialect,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (Vec<Request>, bool) {
    let mut decoder = RequestDecoder::new(dialect, MAX_BODY);
    let mut requests = Vec::new();
    // Bytes that have come since the last request was complete.
    let mut received = 0;
    for piece in pieces {
        let (mut at, mut before) = (0, 0);
        while let Some(request) = decoder.decode(piece, &mut at) {
            check_sequence(requests.last(), &request);
            requests.push(request);
            received = 0;
            before = at;
        }
        assert_eq!(at, piece.len(), "a decoder that wants more has used up what there is");
        received += at - before;
        let held = decoder.held_bytes();
        assert!(held <= (2 * received).max(16), "{held} bytes held of {received} received");
        assert!(held == 0 || !decoder.is_between_requests(), "{held} bytes held for nothing");
    }
    (requests, decoder.is_between_requests())
}

/// The body of a put, or what came of it, follows its line, and nothing else does.
fn check_sequence(before: Option<&Request>, request: &Request) {
    let fits = match (before, request) {
        (Some(Request::Put(header)), Request::Body(body)) => body.len() == header.size as usize,
        (Some(Request::Put(_)), Request::BrokenBody | Request::UnheldBody)
        | (Some(Request::OversizedPut), Request::Rejected(Rejection::JobTooBig)) => true,
        (Some(Request::Put(_) | Request::OversizedPut), _)
        | (
            _,
            Request::Body(_)
            | Request::BrokenBody
            | Request::UnheldBody
            | Request::Rejected(Rejection::JobTooBig),
        ) => false,
        _ => true,
    };
    assert!(fits, "{request:?} after {before:?}");
}

/// The replies in the pieces, up to the first thing that is none.
fn decode_replies<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (Vec<Reply<Bytes>>, Option<ReplyError>) {
    let mut decoder = ReplyDecoder::new(MAX_BODY as usize);
    let mut input = BytesMut::new();
    let mut replies = Vec::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut input) {
                Ok(Some(reply)) => replies.push(reply),
                Ok(None) => break,
                Err(error) => return (replies, Some(error)),
            }
        }
    }
    (replies, None)
}

/// The stream in pieces of these lengths, over and over; a length of 0 is an empty piece.
fn pieces<'a>(stream: &'a [u8], lengths: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let moves_on = lengths.iter().any(|length| *length > 0);
    let lengths = if moves_on { lengths } else { &[1] };
    let mut lengths = lengths.iter().cycle();
    let mut rest = stream;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let length = usize::from(*lengths.next()?).min(rest.len());
        let (piece, after) = rest.split_at(length);
        rest = after;
        Some(piece)
    })
}
