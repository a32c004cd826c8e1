//! What is written is read back the same, and bytes mean the same however they are cut up. The
//! properties are those of the fuzz target, played here with random streams and with its corpus.

#[path = "../../../fuzz/src/corpus.rs"]
pub mod corpus;
#[path = "../../../fuzz/src/decoder.rs"]
pub mod decoder;
mod strategies;

use proptest::prelude::*;

use strategies::{command, dialect, lengths, put, reply, reply_stream, request_stream};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_command_is_read_as_it_was_written(command in command()) {
        decoder::check_command(&command);
    }

    #[test]
    fn a_put_is_read_as_it_was_written((header, body) in put()) {
        decoder::check_put(&header, &body);
    }

    #[test]
    fn a_reply_is_read_as_it_was_written(reply in reply()) {
        decoder::check_reply(&reply);
    }

    #[test]
    fn requests_mean_the_same_at_any_split(
        dialect in dialect(),
        stream in request_stream(),
        lengths in lengths(),
    ) {
        decoder::check_requests(dialect, &stream, &lengths);
    }

    #[test]
    fn replies_mean_the_same_at_any_split(stream in reply_stream(), lengths in lengths()) {
        decoder::check_replies(&stream, &lengths);
    }
}

#[test]
fn the_fuzzers_corpus() {
    corpus::replay("decoder", decoder::run);
}
