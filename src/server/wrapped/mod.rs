//! That a socket may wrap another: the real connection over streams that have a handshake and a
//! buffer on either side, in the same sessions as over a plain one. One is a toy, the others are TLS.

mod below;
mod by_hand;
mod cipher;
mod handshake;
mod keys;
mod peer;
pub(super) mod secure;
mod sessions;
mod turns;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use self::cipher::Cipher;
use self::peer::Peer;
use self::secure::{Secrets, Version};
use super::connection::Connection;
use super::hub::Hub;
use super::workers;
use crate::clock::Clock;
use crate::config::Config;
use crate::log::Opened;

/// What there is between the protocol and TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Between {
    Nothing,
    Cipher,
    Tls(Version),
}

/// A hub of its own for each test. Its time stands still.
fn hub() -> Arc<Hub> {
    let config = Config::from_args(["jq-server".into()]).expect("there are no wrong flags");
    Hub::new(&config, Clock::told(Arc::default()), Opened::in_memory(0))
}

/// Serves real sockets on a thread of its own.
struct Server {
    address: SocketAddr,
    between: Between,
    secrets: Arc<Secrets>,
    hub: Arc<Hub>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(between: Between) -> Self {
        Self::start_with(between, Secrets::new())
    }

    fn start_with(between: Between, secrets: Arc<Secrets>) -> Self {
        let hub = hub();
        let runtime = workers::runtime().expect("the system has room for it");
        let (stop, told) = oneshot::channel::<()>();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let served = Arc::clone(&hub);
        let shown = Arc::clone(&secrets);
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                tokio::spawn(accept_all(listener, between, shown, served));
                let _ = told.await;
            });
        });
        Self { address, between, secrets, hub, stop: Some(stop), thread: Some(thread) }
    }

    fn connect(&self) -> Peer {
        match self.between {
            Between::Nothing => Peer::plain(self.address),
            Between::Cipher => Peer::wrapped(self.address),
            Between::Tls(version) => Peer::secure(self.address, self.secrets.client(version)),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the server panicked");
        }
    }
}

async fn accept_all(listener: TcpListener, between: Between, secrets: Arc<Secrets>, hub: Arc<Hub>) {
    for number in 1_u64.. {
        let (stream, _) = listener.accept().await.expect("there is room for another");
        let hub = Arc::clone(&hub);
        match between {
            Between::Nothing => drop(tokio::spawn(Connection::new(stream, hub))),
            Between::Cipher => drop(tokio::spawn(serve(stream, number, hub))),
            Between::Tls(_) => {
                let secrets = Arc::clone(&secrets);
                drop(tokio::spawn(async move {
                    if let Ok(socket) = secrets.accept(stream).await {
                        Connection::new(socket, hub).await;
                    }
                }));
            }
        }
    }
}

/// As a listener with a handshake serves: who fails at it is gone, and the hub never heard of it.
async fn serve(stream: TcpStream, number: u64, hub: Arc<Hub>) {
    if let Ok(socket) = Cipher::accept(stream, number.to_be_bytes()).await {
        Connection::new(socket, hub).await;
    }
}
