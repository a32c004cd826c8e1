//! The listener of `--http`, as `jq-http` takes connections from it.

use std::io;

use tokio::net::{TcpListener, UnixListener};

use crate::server::{Listener, ListeningSocket};

/// The listener, registered with the runtime of the thread that serves it. The second part closes it, and
/// removes the file of a Unix socket, when it is dropped.
#[derive(Debug)]
pub(crate) enum HttpListener {
    Tcp(TcpListener, Listener),
    Unix(UnixListener, Listener),
}

impl HttpListener {
    pub(crate) fn new(listener: Listener) -> io::Result<Self> {
        Ok(match listener.socket() {
            ListeningSocket::Tcp(socket) => {
                Self::Tcp(TcpListener::from_std(socket.try_clone()?)?, listener)
            }
            ListeningSocket::Unix(socket) => {
                Self::Unix(UnixListener::from_std(socket.try_clone()?)?, listener)
            }
        })
    }
}
