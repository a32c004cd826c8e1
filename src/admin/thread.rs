//! The thread of `--http`, from before the log is read until the server ends.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use jq_http::{Limits, Server, Streams, Tls};
use tokio::runtime::Runtime;
use tokio::sync::{Notify, oneshot};
use tracing::{error, info};

use crate::admin::access::Access;
use crate::admin::app::{App, Front, max_content};
use crate::admin::socket::HttpListener;
use crate::config::{Config, HttpConfig};
use crate::server::hub::Hub;
use crate::server::{Bound, Certificates, ListenError};
use crate::settings_file::FileError;

/// Connections at the same time. Each may have a request in memory.
const CONNECTIONS: usize = 128;

/// Streams of events at the same time.
const STREAMS: usize = 32;

/// A body may take a second more for so many bytes.
const BYTES_PER_SECOND: usize = 1 << 20;

/// Serves HTTP on a thread of its own, so that nothing that it does holds up the queue's threads, until
/// it is dropped.
///
/// The thread has the priority of all others. With a lower one it would keep the lock of the queue whenever it
/// loses the processor while it has it, until all others have had their turn: on two busy cores, the longest wait
/// of others grew from 12 to 51 ms (medians of 8 rounds, nice 19).
#[derive(Debug)]
pub struct Admin {
    app: Arc<App>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// HTTP cannot be served.
#[derive(Debug)]
pub enum AdminError {
    /// The listener.
    Listen(ListenError),
    /// The file of tokens.
    Tokens(FileError),
    /// The thread.
    Io(io::Error),
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(error) => error.fmt(f),
            Self::Tokens(error) => error.fmt(f),
            Self::Io(error) => write!(f, "cannot serve HTTP: {error}"),
        }
    }
}

impl std::error::Error for AdminError {}

impl From<io::Error> for AdminError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The file of tokens, to be read again.
pub(crate) struct Tokens(Arc<App>);

impl Admin {
    /// Begins to serve on this socket. Until [`Admin::serve`] has a queue, it says that the server is
    /// not ready.
    ///
    /// Over TLS, it shows the certificate of these; they are not used otherwise.
    pub fn start(
        bound: Bound,
        http: &HttpConfig,
        config: &Config,
        certificates: Option<&Arc<Certificates>>,
    ) -> Result<Self, AdminError> {
        let access = Access::open(http.token_file.clone()).map_err(AdminError::Tokens)?;
        let observe = http.observe.clone();
        let app = Arc::new(App::new(access, observe, config.dialect, config.max_job_size));
        let front = Front::new(&app, &http.cors);
        let listener = bound.listen().map_err(AdminError::Listen)?;
        let address = listener.address();
        let runtime = crate::server::runtime()?;
        // All descriptors that it needs it has now, before clients of the queue can take them.
        let listener = {
            let _entered = runtime.enter();
            HttpListener::new(listener)?
        };
        let limits = limits(config.max_job_size as usize);
        let (stop, stopped) = oneshot::channel();
        let serve = {
            let app = Arc::clone(&app);
            let certificates = certificates.filter(|_| http.tls).map(Arc::clone);
            move || run(&runtime, (listener, certificates), limits, &app, front, stopped)
        };
        let thread = thread::Builder::new().name("jq-http".to_owned()).spawn(serve)?;
        let tls = http.tls.then_some(true);
        info!(address, tls, tokens = !app.access.is_open(), "serving HTTP");
        Ok(Self { app, stop: Some(stop), thread: Some(thread) })
    }

    /// The queue is there.
    pub(crate) fn serve(&self, hub: &Arc<Hub>) {
        self.app.set_hub(hub);
    }

    /// The file of tokens, if there is one.
    pub(crate) fn tokens(&self) -> Option<Tokens> {
        (!self.app.access.is_open()).then(|| Tokens(Arc::clone(&self.app)))
    }
}

impl Tokens {
    /// Reads the file again whenever `asked` is notified. Never returns.
    pub(crate) async fn run(self, asked: Arc<Notify>) {
        loop {
            asked.notified().await;
            match self.0.access.reload().await {
                Ok(tokens) => info!(tokens, "the file of tokens was read again"),
                Err(failure) => error!("{failure}: the tokens of before stay"),
            }
        }
    }
}

impl Drop for Admin {
    /// Ends requests that are being answered, for at most two seconds, and the thread.
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("the thread that serves HTTP has panicked");
        }
    }
}

fn limits(max_job_size: usize) -> Limits {
    let defaults = Limits::default();
    let body_bytes = max_content(max_job_size);
    let more = Duration::from_secs((body_bytes / BYTES_PER_SECOND) as u64);
    Limits {
        connections: CONNECTIONS,
        body_time: defaults.body_time + more,
        body_bytes,
        ..defaults
    }
}

fn run(
    runtime: &Runtime,
    (listener, certificates): (HttpListener, Option<Arc<Certificates>>),
    limits: Limits,
    app: &Arc<App>,
    front: Front,
    stopped: oneshot::Receiver<()>,
) {
    let stopped = async {
        // Dropping the sender counts as well.
        let _ = stopped.await;
    };
    runtime.block_on(async {
        let server = Server::new(limits);
        // Nobody has set it before.
        let _ = app.streams.set(Streams::new(STREAMS, server.ending()));
        let observing = Arc::clone(app);
        tokio::spawn(async move { observing.observe().await });
        match listener {
            HttpListener::Tcp(socket, _listener) => match certificates {
                None => server.serve(socket, front, stopped).await,
                Some(certificates) => {
                    let tls = Tls::new(socket, move || Ok(certificates.http_config()));
                    server.serve(tls, front, stopped).await;
                }
            },
            HttpListener::Unix(socket, _listener) => server.serve(socket, front, stopped).await,
        }
    });
}
