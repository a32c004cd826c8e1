//! Questions to machines that the configuration names: any answer is one.

use std::io;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use reqwest::header::HeaderMap;
use url::Url;

use super::Outbound;
use super::error::ExchangeError;

/// An answer, whatever its status. Its body has not been read.
#[derive(Debug)]
pub struct Response(reqwest::Response);

impl Outbound {
    /// Sends a GET.
    ///
    /// # Errors
    /// If the URL is refused, or the exchange fails or takes too long.
    pub async fn ask(&self, url: &Url, headers: HeaderMap) -> Result<Response, ExchangeError> {
        let request = self.client_for(url, None)?.get(url.clone()).headers(headers);
        let answer = request.send().await;
        answer.map(Response).map_err(|error| ExchangeError::from_reqwest(url, &error))
    }
}

impl Response {
    /// The status.
    pub fn status(&self) -> u16 {
        self.0.status().as_u16()
    }

    /// The body, if it is no longer than this, in bytes.
    ///
    /// # Errors
    /// If it is longer, or breaks off.
    pub async fn bytes(self, most: usize) -> io::Result<Bytes> {
        let mut content = BytesMut::new();
        let mut pieces = Box::pin(self.into_stream());
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            if content.len() + piece.len() > most {
                return Err(io::Error::other(format!("it is longer than {most} bytes")));
            }
            content.extend_from_slice(&piece);
        }
        Ok(content.freeze())
    }

    /// The body, as it comes.
    pub fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        stream::unfold(Some(self.0), |response| async move {
            let mut response = response?;
            match response.chunk().await {
                Ok(Some(piece)) => Some((Ok(piece), Some(response))),
                Ok(None) => None,
                // Without the URL, which the caller knows.
                Err(error) => Some((Err(io::Error::other(error.without_url())), None)),
            }
        })
    }
}
