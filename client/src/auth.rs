//! Telling a server who one is, once a connection is made.

use std::io;

use beanstalk_protocol::{Reply, Token};

use crate::address::Address;
use crate::credentials::read_token;
use crate::error::ConnectError;
use crate::options::TokenSource;
use crate::transport::{Failure, Transport};

/// Sends the token, and waits for the reply.
pub(crate) async fn authenticate(
    transport: &mut Transport,
    address: &Address,
    token: &TokenSource,
) -> Result<(), ConnectError> {
    token_of(address, token).await?.encode(transport.output());
    let failed = |source| Err(ConnectError::Io { address: address.clone(), source });
    let failure = match transport.receive().await {
        // A server that does not know the command does not ask who its clients are: tokens are given to
        // clients before servers ask for them.
        Ok(Reply::Authenticated | Reply::UnknownCommand) => return Ok(()),
        Ok(Reply::NotAuthenticated) => {
            return Err(ConnectError::NotAuthenticated { address: address.clone() });
        }
        Ok(reply) => {
            let mut line = Vec::new();
            reply.encode_head(&mut line);
            let line = String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
            let text = format!("to \"auth\" it answered {line:?}");
            return failed(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Err(failure) => failure,
    };
    failed(match failure {
        Failure::Io(error) => error,
        Failure::Closed => io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection"),
        Failure::Reply(error) => io::Error::new(io::ErrorKind::InvalidData, error),
        Failure::Unsolicited => io::ErrorKind::InvalidData.into(),
    })
}

async fn token_of(address: &Address, token: &TokenSource) -> Result<Token, ConnectError> {
    let path = match token {
        TokenSource::Given(token) => return Ok(token.clone()),
        TokenSource::File(path) => path.clone(),
    };
    // A file system may take its time.
    let token = tokio::task::spawn_blocking(move || read_token(&path)).await;
    token
        .unwrap_or_else(|error| Err(error.to_string()))
        .map_err(|reason| ConnectError::Credentials { address: address.clone(), reason })
}
