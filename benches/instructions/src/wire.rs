//! Bytes to requests, replies to bytes.

use std::hint::black_box;

use beanstalk_protocol::{
    Command, DEFAULT_MAX_JOB_SIZE, Dialect, PutHeader, Reply, Request, RequestDecoder,
};

use crate::{BATCH, TIMES};

/// Bytes of a body.
const BODY: usize = 128;

/// Batches of commands that have been read.
#[derive(Debug)]
pub struct Decoding {
    decoder: RequestDecoder,
    bytes: Vec<u8>,
}

impl Decoding {
    fn of(bytes: Vec<u8>) -> Self {
        Self { decoder: RequestDecoder::new(Dialect::default(), DEFAULT_MAX_JOB_SIZE), bytes }
    }

    /// Batches of puts.
    pub fn puts() -> Self {
        let header = PutHeader { priority: 1000, delay: 0, ttr: 60, size: BODY as u32 };
        let mut bytes = Vec::new();
        for _ in 0..BATCH {
            header.encode(&mut bytes);
            bytes.extend_from_slice(&[b'x'; BODY]);
            bytes.extend_from_slice(b"\r\n");
        }
        Self::of(bytes)
    }

    /// Batches of reserves and deletes in turn.
    pub fn takes() -> Self {
        let mut bytes = Vec::new();
        for id in 0..BATCH as u64 / 2 {
            Command::Reserve.encode(&mut bytes);
            Command::Delete(1_000_000 + id).encode(&mut bytes);
        }
        Self::of(bytes)
    }

    /// Decodes about as many commands as operations are run elsewhere. The requests are kept until
    /// the batch is decoded, as a connection does.
    #[must_use]
    pub fn run(mut self) -> Self {
        let mut requests: Vec<Request> = Vec::with_capacity(2 * BATCH);
        for _ in 0..TIMES as usize / BATCH {
            let mut at = 0;
            while let Some(request) = self.decoder.decode(black_box(&self.bytes), &mut at) {
                requests.push(request);
            }
            assert!(requests.len() >= BATCH);
            requests.clear();
        }
        self
    }
}

/// A buffer for replies.
#[derive(Debug)]
pub struct Encoding {
    out: Vec<u8>,
}

impl Encoding {
    /// A buffer that has room for a batch.
    pub fn new() -> Self {
        Self { out: Vec::with_capacity(BATCH * 256) }
    }

    /// Encodes the replies of jobs' lives.
    #[must_use]
    pub fn run(mut self) -> Self {
        let body = [b'x'; BODY];
        for job in 0..u64::from(TIMES) {
            if job % BATCH as u64 == 0 {
                self.out.clear();
            }
            let id = 1_000_000 + job;
            let [put, taken, gone] =
                [Reply::Inserted(id), Reply::Reserved(id, &body[..]), Reply::Deleted];
            black_box(put).encode(&mut self.out);
            black_box(taken).encode(&mut self.out);
            black_box(gone).encode(&mut self.out);
        }
        self
    }
}

impl Default for Encoding {
    fn default() -> Self {
        Self::new()
    }
}
