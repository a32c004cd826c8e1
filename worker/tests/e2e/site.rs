//! A website: it gives inputs, takes results, and misbehaves as it is told.

use std::collections::{HashMap, VecDeque};
use std::io::{BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::http::Message;
use crate::support::{PATIENCE, eventually};

/// What is answered to one request.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// A status and a body.
    Body(u16, Vec<u8>),
    /// A body in this encoding.
    Encoded(&'static str, &'static [u8]),
    /// A redirect to this URL.
    Redirect(String),
    /// 204, so much later.
    Slow(Duration),
    /// 204, when the site is told to go on.
    Hold,
    /// A body that never ends.
    Endless,
}

#[derive(Debug, Default)]
struct State {
    requests: Vec<Message>,
    scripts: HashMap<String, VecDeque<Answer>>,
    /// The answer to what nobody has scripted, if it is not 204.
    always: Option<Answer>,
    /// Whether what is held may be answered.
    goes_on: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Site {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Bound and not listening: connections to it are refused, and nobody else gets its port.
    down: Option<Socket>,
}

impl Site {
    /// One that is up. To what nobody has scripted it answers 204.
    pub(crate) fn start() -> Self {
        let mut site = Self::down();
        site.go_up();
        site
    }

    /// One that refuses connections.
    pub(crate) fn down() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("there are sockets");
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(&any.into()).expect("a loopback port is free");
        let address = socket.local_addr().ok().and_then(|address| address.as_socket());
        let address = address.expect("a bound socket has an address");
        Self { address, shared: Arc::default(), down: Some(socket) }
    }

    /// Takes connections from now on.
    pub(crate) fn go_up(&mut self) {
        let socket = self.down.take().expect("it is down");
        socket.listen(128).expect("a bound socket can listen");
        let (listener, shared) = (TcpListener::from(socket), Arc::downgrade(&self.shared));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(stream), Some(shared)) = (stream, shared.upgrade()) else { return };
                thread::spawn(move || shared.serve(stream));
            }
        });
    }

    /// A URL on it.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The answers to the next requests of this path.
    pub(crate) fn script(&self, path: &str, answers: impl IntoIterator<Item = Answer>) {
        let mut state = self.shared.state();
        state.scripts.entry(path.to_owned()).or_default().extend(answers);
    }

    /// No more scripted answers to requests of this path.
    pub(crate) fn clear(&self, path: &str) {
        self.shared.state().scripts.remove(path);
    }

    /// What is answered from now on to what nobody has scripted.
    pub(crate) fn always(&self, answer: Answer) {
        self.shared.state().always = Some(answer);
    }

    /// All requests of this path so far.
    pub(crate) fn requests(&self, path: &str) -> Vec<Message> {
        let state = self.shared.state();
        state.requests.iter().filter(|request| request.path() == path).cloned().collect()
    }

    /// How many requests there were.
    pub(crate) fn count(&self) -> usize {
        self.shared.state().requests.len()
    }

    /// The bodies of all requests so far, by their paths.
    pub(crate) fn bodies(&self) -> HashMap<String, Vec<Vec<u8>>> {
        let mut bodies: HashMap<_, Vec<_>> = HashMap::new();
        for request in &self.shared.state().requests {
            bodies.entry(request.path().to_owned()).or_default().push(request.body.clone());
        }
        bodies
    }

    /// Waits for the first request of this path.
    pub(crate) fn await_request(&self, path: &str) -> Message {
        let mut requests = Vec::new();
        eventually(&format!("{path} is asked for"), || {
            requests = self.requests(path);
            !requests.is_empty()
        });
        requests.swap_remove(0)
    }

    /// Answers what is held, and whatever is held later.
    pub(crate) fn go_on(&self) {
        self.shared.state().goes_on = true;
        self.shared.changed.notify_all();
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.go_on();
        // Wakes the thread that accepts, which then finds that the site is gone.
        self.shared = Arc::default();
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it")
    }

    fn serve(&self, stream: TcpStream) {
        // An idle connection must not keep its thread for ever.
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let mut reader = BufReader::new(stream);
        while let Ok(Some(request)) = Message::read(&mut reader, false) {
            let path = request.path().to_owned();
            let answer = {
                let mut state = self.state();
                state.requests.push(request);
                let scripted = state.scripts.get_mut(&path).and_then(VecDeque::pop_front);
                scripted.or_else(|| state.always.clone())
            };
            let answer = answer.unwrap_or_else(|| Answer::Body(204, Vec::new()));
            if self.answer(reader.get_mut(), answer).is_err() {
                return;
            }
        }
    }

    fn answer(&self, stream: &mut TcpStream, answer: Answer) -> std::io::Result<()> {
        const NOTHING: &str = "HTTP/1.1 204 x\r\n\r\n";
        match answer {
            Answer::Body(204, _) => stream.write_all(NOTHING.as_bytes()),
            Answer::Body(status, body) => {
                let length = body.len();
                write!(stream, "HTTP/1.1 {status} x\r\ncontent-length: {length}\r\n\r\n")?;
                stream.write_all(&body)
            }
            Answer::Encoded(encoding, body) => {
                let length = body.len();
                let head = format!("content-encoding: {encoding}\r\ncontent-length: {length}");
                write!(stream, "HTTP/1.1 200 x\r\n{head}\r\n\r\n")?;
                stream.write_all(body)
            }
            Answer::Redirect(to) => {
                write!(stream, "HTTP/1.1 307 x\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
            }
            Answer::Slow(time) => {
                thread::sleep(time);
                stream.write_all(NOTHING.as_bytes())
            }
            Answer::Hold => {
                let held = self.changed.wait_while(self.state(), |state| !state.goes_on);
                drop(held.expect("nobody panics with it"));
                stream.write_all(NOTHING.as_bytes())
            }
            Answer::Endless => {
                stream.write_all(b"HTTP/1.1 200 x\r\nconnection: close\r\n\r\n")?;
                loop {
                    stream.write_all(&[b' '; 16 * 1024])?;
                }
            }
        }
    }
}
