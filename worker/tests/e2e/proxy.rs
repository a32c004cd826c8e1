//! A proxy for HTTP: it passes requests on, makes tunnels by CONNECT, and knows who may.

use std::collections::HashMap;
use std::io::{self, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::http::Message;
use crate::support::PATIENCE;

/// See the module.
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Names that only it knows.
    names: Mutex<HashMap<String, SocketAddr>>,
    /// Method, target and `Proxy-Authorization` of each request.
    asked: Mutex<Vec<String>>,
    refuses: Mutex<bool>,
}

impl Proxy {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::<Shared>::default();
        let serving = Arc::downgrade(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(stream), Some(shared)) = (stream, serving.upgrade()) else { return };
                thread::spawn(move || shared.serve(stream));
            }
        });
        Self { address, shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// This `HOST:PORT` is there.
    pub(crate) fn leads(&self, name: &str, to: SocketAddr) {
        self.shared.names.lock().unwrap().insert(name.to_owned(), to);
    }

    /// Nobody may use it any more.
    pub(crate) fn refuse(&self) {
        *self.shared.refuses.lock().unwrap() = true;
    }

    /// Method, target and `Proxy-Authorization` of each request so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.shared.asked.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Wakes the thread that accepts, which then finds that the proxy is gone.
        self.shared = Arc::default();
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut reader = BufReader::new(stream);
        while let Some(request) = Message::read(&mut reader, false)? {
            let (method, target) = (request.method(), request.path());
            let shown = request.header("proxy-authorization").unwrap_or("nobody");
            self.asked.lock().unwrap().push(format!("{method} {target} {shown}"));
            if *self.refuses.lock().unwrap() {
                reader.get_mut().write_all(b"HTTP/1.1 407 x\r\ncontent-length: 0\r\n\r\n")?;
            } else if method == "CONNECT" {
                let there = TcpStream::connect(target)?;
                reader.get_mut().write_all(b"HTTP/1.1 200 x\r\n\r\n")?;
                return tunnel(reader.into_inner(), there);
            } else {
                let target = target.strip_prefix("http://").unwrap_or(target);
                let (host, path) = target.split_once('/').unwrap_or((target, ""));
                let host = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
                let to = self.names.lock().unwrap().get(&host).copied();
                let answer = ask(to.ok_or(io::ErrorKind::NotFound)?, method, path, &request.body)?;
                let length = answer.body.len();
                let head =
                    format!("HTTP/1.1 {} x\r\ncontent-length: {length}\r\n\r\n", answer.status());
                reader.get_mut().write_all(&[head.as_bytes(), &answer.body].concat())?;
            }
        }
        Ok(())
    }
}

fn ask(to: SocketAddr, method: &str, path: &str, body: &[u8]) -> io::Result<Message> {
    let mut stream = TcpStream::connect(to)?;
    let length = body.len();
    write!(stream, "{method} /{path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n")?;
    stream.write_all(body)?;
    Message::read(&mut BufReader::new(stream), false)?
        .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

fn tunnel(mut here: TcpStream, mut there: TcpStream) -> io::Result<()> {
    here.set_read_timeout(None)?;
    let (mut from_there, mut to_here) = (there.try_clone()?, here.try_clone()?);
    thread::spawn(move || {
        let _ = io::copy(&mut from_there, &mut to_here);
        let _ = to_here.shutdown(Shutdown::Both);
    });
    let _ = io::copy(&mut here, &mut there);
    there.shutdown(Shutdown::Both)
}
