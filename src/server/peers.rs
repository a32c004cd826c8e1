//! Who is connected, for those who look from outside: where from, since when, and how busy.
//!
//! The hot path pays nothing for it. What a connection does is asked of the kernel when somebody wants
//! to know it: how long ago the client sent something, and how many bytes wait in either direction. A
//! connection itself only notes what it has to keep because its client does not read, or because a
//! request blocks.
//!
//! The table is locked after the hub, if both are: it never calls the hub.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jq_engine::{ConnId, Nanos, growth};
use nix::libc;

/// The connections of a server.
#[derive(Debug, Default)]
pub(crate) struct Peers(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    last: u64,
    /// By the id of the connection.
    peers: Vec<Option<Peer>>,
    ids: HashMap<u64, ConnId>,
}

#[derive(Debug)]
struct Peer {
    number: u64,
    address: String,
    since: Nanos,
    /// Open for as long as the peer is in the table. `None` if the stream is no socket of its own.
    descriptor: Option<RawFd>,
    backlog: Arc<Backlog>,
}

/// What a connection holds in bytes, as it last noted.
#[derive(Debug, Default)]
struct Backlog {
    /// Replies that the socket does not take.
    unsent: AtomicU64,
    /// Requests behind one that blocks.
    unhandled: AtomicU64,
    /// Who the connection acts for.
    principal: Mutex<Option<Arc<str>>>,
}

/// A connection's place in the table. It must leave before its socket is closed.
#[derive(Debug)]
pub(crate) struct Entry {
    conn: ConnId,
    backlog: Arc<Backlog>,
}

/// What is known of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PeerInfo {
    /// Counted from 1; no other connection gets it.
    pub(crate) number: u64,
    /// For people.
    pub(crate) address: String,
    pub(crate) since: Nanos,
    /// Since something came from it, if that is known.
    pub(crate) idle: Option<Duration>,
    /// Bytes of replies that have not reached it.
    pub(crate) unsent: u64,
    /// Bytes of requests that are not carried out.
    pub(crate) unread: u64,
    /// Who it acts for, if that is known.
    pub(crate) principal: Option<Arc<str>>,
}

impl Peers {
    /// A connection is there. `descriptor` must stay open until [`Peers::leave`].
    pub(crate) fn enter(
        &self,
        conn: ConnId,
        address: String,
        descriptor: Option<BorrowedFd<'_>>,
        since: Nanos,
    ) -> Entry {
        let descriptor = descriptor.map(|descriptor| descriptor.as_raw_fd());
        let backlog = Arc::new(Backlog::default());
        let mut table = self.lock();
        table.last += 1;
        let number = table.last;
        let index = conn.0 as usize;
        while table.peers.len() <= index {
            growth::push(&mut table.peers, None);
        }
        let peer = Peer { number, address, since, descriptor, backlog: Arc::clone(&backlog) };
        table.peers[index] = Some(peer);
        table.ids.insert(number, conn);
        Entry { conn, backlog }
    }

    /// A connection is about to go.
    pub(crate) fn leave(&self, entry: &Entry) {
        let mut table = self.lock();
        if let Some(peer) = table.peers.get_mut(entry.conn.0 as usize).and_then(Option::take) {
            table.ids.remove(&peer.number);
        }
    }

    /// What is known of a connection; `None` if it is gone, or about to go.
    pub(crate) fn get(&self, conn: ConnId) -> Option<PeerInfo> {
        // The lock is held while the kernel is asked, so that the descriptor stays the peer's.
        self.lock().peers.get(conn.0 as usize)?.as_ref().map(Peer::info)
    }

    /// The number of a connection.
    pub(crate) fn number(&self, conn: ConnId) -> Option<u64> {
        Some(self.lock().peers.get(conn.0 as usize)?.as_ref()?.number)
    }

    /// The connection with this number.
    pub(crate) fn find(&self, number: u64) -> Option<ConnId> {
        self.lock().ids.get(&number).copied()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Consistent between any two statements that can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Notes how many bytes of replies wait for the client.
    pub(crate) fn note_unsent(&self, bytes: usize) {
        self.backlog.unsent.store(bytes as u64, Ordering::Relaxed);
    }

    /// Notes how many bytes of requests wait for their turn.
    pub(crate) fn note_unhandled(&self, bytes: usize) {
        self.backlog.unhandled.store(bytes as u64, Ordering::Relaxed);
    }
}

impl Entry {
    /// Notes who the connection acts for.
    pub(crate) fn note_principal(&self, principal: Option<&Arc<str>>) {
        let mut noted = self.backlog.principal.lock().unwrap_or_else(PoisonError::into_inner);
        *noted = principal.cloned();
    }
}

impl Peer {
    fn info(&self) -> PeerInfo {
        let queued = |request| self.descriptor.and_then(|fd| queued(fd, request)).unwrap_or(0);
        PeerInfo {
            number: self.number,
            address: self.address.clone(),
            since: self.since,
            idle: self.descriptor.and_then(idle),
            unsent: self.backlog.unsent.load(Ordering::Relaxed) + queued(libc::TIOCOUTQ),
            unread: self.backlog.unhandled.load(Ordering::Relaxed) + queued(libc::FIONREAD),
            principal: {
                let noted = self.backlog.principal.lock();
                noted.unwrap_or_else(PoisonError::into_inner).clone()
            },
        }
    }
}

/// Since data came from the peer of a TCP socket; `None` for other sockets.
#[allow(unsafe_code)]
fn idle(descriptor: RawFd) -> Option<Duration> {
    // SAFETY: all bytes of the structure may be zero. The kernel writes at most `length` bytes of it.
    // The descriptor is open: see `Peer::descriptor`.
    let info = unsafe {
        let mut info: libc::tcp_info = std::mem::zeroed();
        let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
        let result = libc::getsockopt(
            descriptor,
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        );
        (result == 0).then_some(info)
    };
    info.map(|info| Duration::from_millis(u64::from(info.tcpi_last_data_recv)))
}

/// How many bytes wait in a socket.
#[allow(unsafe_code)]
fn queued(descriptor: RawFd, request: libc::Ioctl) -> Option<u64> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: both requests write one integer. The descriptor is open: see `Peer::descriptor`.
    let result = unsafe { libc::ioctl(descriptor, request, &raw mut bytes) };
    (result == 0).then(|| u64::try_from(bytes).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_the_kernel_knows_of_a_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let peers = Peers::default();
        let (since, conn) = (Nanos(5), ConnId(2));
        let entry = peers.enter(conn, "there".to_owned(), Some(server.as_fd()), since);
        assert_eq!((peers.number(conn), peers.find(1)), (Some(1), Some(conn)));

        client.write_all(b"hello").unwrap();
        server.read_exact(&mut [0; 1]).unwrap();
        // The rest has come with the first byte.
        let info = peers.get(conn).unwrap();
        assert_eq!((info.unread, info.unsent, info.since), (4, 0, since));
        assert!(info.idle.is_some_and(|idle| idle < Duration::from_secs(60)), "{info:?}");

        entry.note_unhandled(10);
        entry.note_unsent(3);
        let info = peers.get(conn).unwrap();
        assert_eq!((info.unread, info.unsent), (14, 3));

        // A client that does not read.
        server.set_nonblocking(true).unwrap();
        while server.write(&[0; 1 << 16]).is_ok() {}
        assert!(peers.get(conn).unwrap().unsent > 1 << 16);

        peers.leave(&entry);
        assert_eq!((peers.get(conn), peers.number(conn), peers.find(1)), (None, None, None));
        let again = peers.enter(conn, "there".to_owned(), Some(server.as_fd()), since);
        assert_eq!((peers.number(conn), peers.find(2)), (Some(2), Some(conn)));
        peers.leave(&again);
    }

    #[test]
    fn a_unix_socket_does_not_tell_when_it_was_used() {
        let (mut client, server) = UnixStream::pair().unwrap();
        let peers = Peers::default();
        let entry = peers.enter(ConnId(0), "unix".into(), Some(server.as_fd()), Nanos(0));
        client.write_all(b"hello").unwrap();
        let info = peers.get(ConnId(0)).unwrap();
        assert_eq!((info.idle, info.unread), (None, 5));
        peers.leave(&entry);
        assert_eq!((peers.get(ConnId(0)), peers.get(ConnId(9))), (None, None));
    }
}
