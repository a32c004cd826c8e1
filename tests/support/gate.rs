//! A gate in front of a server: it speaks TLS, and lets in only who has its token. To programs it looks like a
//! server that has both.

#![allow(dead_code)]

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use jq_tls::{Identity, ServerFiles};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// See the module. Dropping it closes all connections.
pub(crate) struct Gate {
    port: u16,
    shared: Arc<Shared>,
    /// Counts up when all connections are to end.
    cut: watch::Sender<u32>,
}

struct Shared {
    to: SocketAddr,
    tls: Option<jq_tls::Server>,
    token: Mutex<Option<String>>,
    /// How many were let in, and how many tokens were wrong.
    counts: Mutex<(u32, u32)>,
}

impl Gate {
    /// Without TLS, for those who have this token.
    pub(crate) fn with_token(to: SocketAddr, token: &str) -> Self {
        Self::start(to, None, Some(token.to_owned()))
    }

    /// With TLS and this certificate and key; `clients` is the authority of those who are let in.
    pub(crate) fn secure(
        to: SocketAddr,
        (certificate, key): (PathBuf, PathBuf),
        clients: Option<PathBuf>,
    ) -> Self {
        let identity = Identity { certificate, key };
        let files = ServerFiles { identity, client_authorities: clients };
        let tls = jq_tls::Server::open(files, &["beanstalk", "http/1.1"]).expect("good files");
        Self::start(to, Some(tls), None)
    }

    fn start(to: SocketAddr, tls: Option<jq_tls::Server>, token: Option<String>) -> Self {
        let token = Mutex::new(token);
        let shared = Arc::new(Shared { to, tls, token, counts: Mutex::default() });
        let (cut, is_cut) = watch::channel(0);
        let (tell, port) = mpsc::channel();
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
                tell.send(listener.local_addr().expect("it is bound").port()).expect("it waits");
                serve(listener, serving, is_cut).await;
            });
        });
        Self { port: port.recv().expect("it listens"), shared, cut }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// As `--server` takes it.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.shared.tls.is_some() { "beanstalks" } else { "beanstalk" };
        format!("{scheme}://localhost:{}", self.port)
    }

    /// From now on this is the token; connections stay.
    pub(crate) fn set_token(&self, token: Option<&str>) {
        *self.shared.token.lock().unwrap() = token.map(str::to_owned);
    }

    /// Closes all connections.
    pub(crate) fn cut(&self) {
        self.cut.send_modify(|count| *count += 1);
    }

    /// How many connections were let in.
    pub(crate) fn let_in(&self) -> u32 {
        self.shared.counts.lock().unwrap().0
    }

    /// How many wrong tokens there were.
    pub(crate) fn turned_away(&self) -> u32 {
        self.shared.counts.lock().unwrap().1
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>, mut is_cut: watch::Receiver<u32>) {
    loop {
        // When the gate is dropped, that ends the runtime, and with it all connections.
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Err(_) = dropped(is_cut.clone()) => return,
        };
        let Ok((stream, _)) = accepted else { continue };
        is_cut.mark_unchanged();
        let (shared, mut cut) = (Arc::clone(&shared), is_cut.clone());
        tokio::spawn(async move {
            tokio::select! {
                _ = attend(&shared, stream) => {}
                _ = cut.changed() => {}
            }
        });
    }
}

async fn dropped(mut cut: watch::Receiver<u32>) -> Result<(), watch::error::RecvError> {
    loop {
        cut.changed().await?;
    }
}

async fn attend(shared: &Shared, stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match &shared.tls {
        None => admit(shared, stream).await,
        Some(tls) => {
            let config = tls.config().map_err(io::Error::other)?;
            admit(shared, TlsAcceptor::from(config).accept(stream).await?).await
        }
    }
}

async fn admit(shared: &Shared, mut client: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let expected = shared.token.lock().unwrap().clone();
    if let Some(expected) = expected {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.push(client.read_u8().await?);
        }
        if line != format!("auth {expected}\r\n").into_bytes() {
            let answer: &[u8] = if line.starts_with(b"auth ") {
                shared.counts.lock().unwrap().1 += 1;
                b"NOT_AUTHENTICATED\r\n"
            } else {
                b"INTERNAL_ERROR\r\n"
            };
            client.write_all(answer).await?;
            return client.shutdown().await;
        }
        client.write_all(b"AUTHENTICATED\r\n").await?;
        client.flush().await?;
    }
    shared.counts.lock().unwrap().0 += 1;
    let mut server = TcpStream::connect(shared.to).await?;
    server.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
