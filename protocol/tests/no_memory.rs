//! A decoder that gets no memory: nothing but the body that was to be held is lost.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use beanstalk_protocol::{Command, Dialect, PutHeader, Request, RequestDecoder};

thread_local! {
    /// Allocations from this size on fail on this thread.
    static MOST: Cell<usize> = const { Cell::new(usize::MAX) };
    /// What the decoder is told.
    static HAS_ROOM: Cell<bool> = const { Cell::new(true) };
}

/// The system's, which fails when it is told to.
struct Failing;

fn fails(size: usize) -> bool {
    MOST.with(|most| size >= most.get())
}

// SAFETY: blocks are the system allocator's, with the caller's own arguments; to fail is allowed.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        if fails(layout.size()) { std::ptr::null_mut() } else { unsafe { System.alloc(layout) } }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        if fails(size) {
            std::ptr::null_mut()
        } else {
            unsafe { System.realloc(block, layout, size) }
        }
    }
}

#[global_allocator]
static ALLOCATOR: Failing = Failing;

/// A put of so many bytes, and a command behind it.
fn stream(size: usize) -> Vec<u8> {
    let mut stream = format!("put 1 2 3 {size}\r\n").into_bytes();
    stream.extend(vec![b'x'; size]);
    stream.extend_from_slice(b"\r\nstats\r\n");
    stream
}

/// What comes of the stream in pieces of this length, with this much memory.
fn decode(stream: &[u8], piece: usize, most: usize, has_room: bool) -> Vec<Request> {
    let decoder = RequestDecoder::new(Dialect::default(), 1 << 20);
    let mut decoder = decoder.with_room(|| HAS_ROOM.get());
    let mut requests = Vec::with_capacity(100);
    MOST.set(most);
    HAS_ROOM.set(has_room);
    for piece in stream.chunks(piece) {
        let mut at = 0;
        while let Some(request) = decoder.decode(piece, &mut at) {
            requests.push(request);
        }
        assert!(decoder.held_bytes() < most);
    }
    MOST.set(usize::MAX);
    HAS_ROOM.set(true);
    assert!(decoder.is_between_requests() && decoder.held_bytes() == 0);
    requests
}

fn put(size: usize, outcome: Request) -> [Request; 3] {
    let header = PutHeader { priority: 1, delay: 2, ttr: 3, size: size as u32 };
    [Request::Put(header), outcome, Request::Command(Command::Stats)]
}

/// From the start or in the middle of it, at any split.
#[test]
fn a_body_that_cannot_be_held_is_read_and_forgotten() {
    for size in [5000, 70_000, 1 << 20] {
        let stream = stream(size);
        let body = Request::Body(vec![b'x'; size].into_boxed_slice());
        for piece in [1000, 4097, 65_536, size + 18, stream.len() - 8, stream.len()] {
            for most in [4096, size / 2, size] {
                assert_eq!(decode(&stream, piece, most, true), put(size, Request::UnheldBody));
            }
            assert_eq!(decode(&stream, piece, usize::MAX, false), put(size, Request::UnheldBody));
            assert_eq!(decode(&stream, piece, usize::MAX, true), put(size, body.clone()));
        }
    }
}

/// For these there is nobody to ask.
#[test]
fn small_bodies_are_held_anyway() {
    let body = Request::Body(vec![b'x'; 4095].into_boxed_slice());
    let stream = stream(4095);
    for piece in [1, 1000, stream.len()] {
        assert_eq!(decode(&stream, piece, usize::MAX, false), put(4095, body.clone()));
    }
}
