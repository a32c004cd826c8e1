//! A server with `--http`, and a minimal HTTP client.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Conn, PATIENCE, Server, scratch_path};

/// A server that answers HTTP at a free port.
pub(crate) struct Http {
    pub(crate) server: Server,
    pub(crate) address: SocketAddr,
    /// With the token that each request shows, if it has any.
    pub(crate) token: Option<String>,
    tokens: Option<TokenFile>,
}

/// A file of tokens, removed when dropped.
pub(crate) struct TokenFile(pub(crate) PathBuf);

impl TokenFile {
    /// One token for each role, with the role as its name: see [`token`].
    pub(crate) fn of_each_role() -> Self {
        let entry = |role| {
            format!(
                "[[token]]\nname = \"{role}\"\nrole = \"{role}\"\ntoken = \"{}\"\n",
                token(role)
            )
        };
        Self::new(&["read", "submit", "operate"].map(entry).concat())
    }

    pub(crate) fn new(text: &str) -> Self {
        let path = scratch_path("toml");
        fs::write(&path, text).expect("the temporary folder is writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
        Self(path)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().expect("it is UTF-8")
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The token with this role.
pub(crate) fn token(role: &str) -> String {
    format!("the-token-to-{role}")
}

impl Http {
    /// Without tokens, so for reading only.
    pub(crate) fn reading(flags: &[&str]) -> Self {
        Self::start(flags, None)
    }

    /// With a token for each role; requests show that of `operate`.
    pub(crate) fn operating(flags: &[&str]) -> Self {
        Self::start(flags, Some(TokenFile::of_each_role()))
    }

    pub(crate) fn start(flags: &[&str], tokens: Option<TokenFile>) -> Self {
        let mut all = vec!["--http", "127.0.0.1:0"];
        if let Some(tokens) = &tokens {
            all.extend(["--http-token-file", tokens.path()]);
        }
        all.extend(flags);
        Self::of(Server::jq(&all), tokens)
    }

    /// As [`Http::operating`], by a shell command that becomes the server with `exec "$@"`.
    pub(crate) fn by_shell(script: &str, flags: &[&str]) -> Self {
        let tokens = TokenFile::of_each_role();
        let mut all = vec!["--http", "127.0.0.1:0", "--http-token-file", tokens.path()];
        all.extend(flags);
        let server = Server::jq_by_shell(script, &all);
        Self::of(server, Some(tokens))
    }

    fn of(mut server: Server, tokens: Option<TokenFile>) -> Self {
        let address = address(&mut server);
        let token = tokens.is_some().then(|| token("operate"));
        Self { server, address, token, tokens }
    }

    /// The file of tokens, if there is one.
    pub(crate) fn token_file(&self) -> &Path {
        &self.tokens.as_ref().expect("it was asked for").0
    }

    /// A connection to the queue.
    pub(crate) fn queue(&self) -> Conn {
        self.server.connect()
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], b"")
    }

    pub(crate) fn delete(&self, path: &str) -> Reply {
        self.send("DELETE", path, &[], b"")
    }

    /// Posts JSON, or nothing if it is empty.
    pub(crate) fn post(&self, path: &str, json: &str) -> Reply {
        self.json("POST", path, json)
    }

    pub(crate) fn json(&self, method: &str, path: &str, json: &str) -> Reply {
        let header: &[(&str, &str)] =
            if json.is_empty() { &[] } else { &[("Content-Type", "application/json")] };
        self.send(method, path, header, json.as_bytes())
    }

    /// Sends a request with the token, if there is one.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        self.send_as(self.token.as_deref(), method, path, headers, body)
    }

    pub(crate) fn send_as(
        &self,
        token: Option<&str>,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "Host") {
            head += "Host: localhost\r\n";
        }
        if let Some(token) = token {
            head += &format!("Authorization: Bearer {token}\r\n");
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() || method != "GET" {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        self.raw(&[head.as_bytes(), b"\r\n", body].concat())
    }

    /// Sends these bytes, and reads until the server closes.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Reply {
        let mut stream = self.connect();
        // The server may have answered and closed before it has read everything.
        let _ = stream.write_all(bytes);
        let answer = read_all(&mut stream).expect("it answers in time");
        Reply::parse(&answer)
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is a socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("it is a socket");
        stream
    }
}

/// Where a server answers HTTP, as it logs.
pub(crate) fn address(server: &mut Server) -> SocketAddr {
    let line = server.process().await_output("serving HTTP");
    let address = line.split("address=\"").nth(1).and_then(|rest| rest.split('"').next());
    address.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{line}"))
}

fn read_all(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return Ok(answer),
            Ok(count) => answer.extend_from_slice(&piece[..count]),
            // It has closed without reading all that was sent.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(answer),
            Err(error) => return Err(error),
        }
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let Some(end) = end else { panic!("no answer: {:?}", String::from_utf8_lossy(bytes)) };
        let head = String::from_utf8(bytes[..end].to_vec()).expect("a head is ASCII");
        let status = head.split(' ').nth(1).and_then(|text| text.parse().ok());
        Self { status: status.expect("a status"), head, body: bytes[end + 4..].to_vec() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (other, value) = line.split_once(": ")?;
            other.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// The document.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The document of an answer with this status.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{}\n{text}", self.head);
        if status >= 400 {
            assert_eq!(self.header("content-type"), Some("application/problem+json"), "{text}");
            assert_eq!(self.json()["status"], status, "{text}");
        }
        if self.body.is_empty() { Value::Null } else { self.json() }
    }

    /// Asserts that it is a problem of this kind.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, kind: &str) -> Value {
        let problem = self.expect(status);
        assert_eq!(problem["type"], format!("/problems/{kind}"), "{problem}");
        problem
    }
}
