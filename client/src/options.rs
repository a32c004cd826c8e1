//! Which server a connection goes to, how it is made, and what it bears.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use beanstalk_protocol::Token;

use crate::address::Address;
#[cfg(feature = "tls")]
use crate::credentials::TlsOptions;
use crate::endpoint::Endpoint;
use crate::error::ConnectError;

/// Which server to connect to, and how.
///
/// Built once and then shared, never copied: clients and connections that go to one server can have
/// the same options, in an [`Arc`].
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use jq_client::{Client, ClientOptions, ConnectOptions};
///
/// let options = ConnectOptions::new("queue.example:11300".parse()?).timeout(Duration::from_secs(1));
/// let options = Arc::new(options);
/// let producer = Client::new(Arc::clone(&options), ClientOptions::default());
/// let worker = Client::new(options, ClientOptions::default());
/// assert_eq!(producer.address(), worker.address());
/// # Ok::<(), jq_client::BadAddress>(())
/// ```
#[derive(Debug)]
pub struct ConnectOptions {
    address: Address,
    pub(crate) timeout: Duration,
    pub(crate) limits: ConnectionLimits,
    pub(crate) token: Option<TokenSource>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<TlsOptions>,
}

/// Where the token comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TokenSource {
    Given(Token),
    /// Read at each connect.
    File(PathBuf),
}

impl ConnectOptions {
    /// This server, and the default for everything else.
    pub fn new(address: Address) -> Self {
        Self {
            address,
            timeout: Duration::from_secs(5),
            limits: ConnectionLimits::default(),
            token: None,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Says with this token who the program is, before anything else is sent. A server that has no
    /// command for that is used all the same. Over TCP without TLS, whoever sees the packets sees it.
    #[must_use]
    pub fn token(self, token: Token) -> Self {
        Self { token: Some(TokenSource::Given(token)), ..self }
    }

    /// The same with the token on the first line of this file, which is read at each connect: the token
    /// can be exchanged while the program runs.
    #[must_use]
    pub fn token_file(self, path: impl AsRef<Path>) -> Self {
        Self { token: Some(TokenSource::File(path.as_ref().to_owned())), ..self }
    }

    /// Connects by TLS, in this way. The server must have a certificate for the host of the address. Has
    /// no effect on a Unix domain socket.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(self, options: TlsOptions) -> Self {
        Self { tls: Some(options), ..self }
    }

    /// Longest time that connecting may take, with name resolution, the handshake of TLS, and the reply to
    /// the token. A handshake has at most 5 seconds of it; whether a server that has not answered that speaks
    /// without TLS is then found out within half a second more. Default: 5 seconds.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// What the connection bears once it is made.
    #[must_use]
    pub fn limits(self, limits: ConnectionLimits) -> Self {
        Self { limits, ..self }
    }

    /// The server.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// It took too long.
    pub(crate) fn timed_out(&self) -> ConnectError {
        ConnectError::TimedOut { address: self.address.clone(), after: self.timeout }
    }
}

/// With the token of the endpoint. By TLS if it says so, then with the authorities that the system trusts.
impl From<Endpoint> for ConnectOptions {
    fn from(endpoint: Endpoint) -> Self {
        let (address, is_tls, token) = endpoint.into_parts();
        let options = Self { token: token.map(TokenSource::Given), ..Self::new(address) };
        #[cfg(feature = "tls")]
        let options = if is_tls { options.tls(TlsOptions::default()) } else { options };
        #[cfg(not(feature = "tls"))]
        debug_assert!(!is_tls, "there is no such endpoint");
        options
    }
}

impl From<Address> for ConnectOptions {
    fn from(address: Address) -> Self {
        Self::new(address)
    }
}

impl From<Address> for Arc<ConnectOptions> {
    fn from(address: Address) -> Self {
        Self::new(ConnectOptions::new(address))
    }
}

/// What a connection bears, however it was made.
///
/// ```
/// use jq_client::ConnectionLimits;
///
/// let patient = ConnectionLimits { reply_timeout: None, ..ConnectionLimits::default() };
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Longest time without the reply to a command; a reserve's own waiting comes on top of it, and
    /// a reserve without a time limit has none here either. `None` waits for ever. Not for
    /// pipelines. Default: 30 seconds.
    pub reply_timeout: Option<Duration>,
    /// Largest body that is accepted, in bytes: of a job, and of the texts of the stats and list
    /// commands. A larger one ends the connection, with
    /// [`ReplyError::BodyTooBig`](crate::ReplyError::BodyTooBig). The default is
    /// [`MAX_JOB_SIZE`](crate::MAX_JOB_SIZE), the most that any server is set to: with less, a job
    /// that is too large would come back at every reserve.
    pub max_body: usize,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            reply_timeout: Some(Duration::from_secs(30)),
            max_body: beanstalk_protocol::MAX_JOB_SIZE as usize,
        }
    }
}
