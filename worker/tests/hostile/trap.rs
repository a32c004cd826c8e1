//! Servers that do to whoever connects what no server should.

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::http::Message;
use crate::support::PATIENCE;

/// What is done to a connection, after its request was read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Harm {
    /// Nothing comes, and it stays open.
    Silence,
    /// It is closed at once, before the request is read.
    Close,
    /// Header lines that never end.
    Headers,
    /// One byte of a body now and then.
    Trickle,
    /// A body that is shorter than it was said to be.
    Short,
    /// What is no HTTP.
    Noise,
}

/// A server on a free loopback port, until dropped.
#[derive(Debug)]
pub(crate) struct Trap {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
}

impl Trap {
    pub(crate) fn set(harm: Harm) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
        let address = listener.local_addr().expect("a bound socket has an address");
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(stream), false) = (stream, over.load(Ordering::Relaxed)) else { return };
                let over = Arc::clone(&over);
                thread::spawn(move || harm.be_done(stream, &over));
            }
        });
        Self { address, is_over }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl Harm {
    fn be_done(self, stream: TcpStream, is_over: &AtomicBool) {
        let deadline = Instant::now() + PATIENCE;
        let goes_on = || !is_over.load(Ordering::Relaxed) && Instant::now() < deadline;
        let pause = || thread::sleep(Duration::from_millis(20));
        if matches!(self, Self::Close) {
            return;
        }
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let _ = stream.set_write_timeout(Some(PATIENCE));
        let mut reader = BufReader::new(stream);
        if !matches!(Message::read(&mut reader, false), Ok(Some(_))) {
            return;
        }
        let stream = reader.get_mut();
        let mut say = |text: &[u8]| stream.write_all(text).is_ok();
        match self {
            Self::Close => {}
            Self::Silence => {
                while goes_on() {
                    pause();
                }
            }
            Self::Headers => {
                say(b"HTTP/1.1 200 OK\r\n");
                while goes_on() && say(b"x-more: and more and more and more and more\r\n") {}
            }
            Self::Trickle => {
                say(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n");
                while goes_on() && say(b" ") {
                    pause();
                }
            }
            Self::Short => {
                say(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n[1]");
            }
            Self::Noise => {
                say(&[0xff; 4096]);
            }
        }
    }
}
