//! Sending a file, however long it is.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use http_body_util::StreamBody;
use jq_api::job::Method;
use reqwest::Body;
use reqwest::header::{CONTENT_LENGTH, HeaderMap, HeaderValue};
use url::Url;

use super::client::{BuildError, Options, Outbound};
use super::error::DeliverError;
use crate::pieces::pieces;

/// For so many bytes of a file, in addition, there is as much time as for a whole exchange otherwise.
const SLICE: u64 = 16 << 20;

/// Longest time that an upload may take.
const MAX_TIME: Duration = Duration::from_secs(7 * 24 * 3600);

impl Outbound {
    /// As [`new`](Self::new), for uploads: nothing is heard from the other side while a file is sent.
    ///
    /// # Errors
    /// As those.
    pub fn for_uploads(options: &Options) -> Result<Self, BuildError> {
        Self::new(&Options { idle_timeout: MAX_TIME, ..options.clone() })
    }

    /// Delivers a file of so many bytes, which is read as it is sent.
    ///
    /// # Errors
    /// As those of [`deliver`](Self::deliver), or the file cannot be read or is shorter.
    pub async fn upload(
        &self,
        method: Method,
        url: &Url,
        file: &Arc<File>,
        bytes: u64,
        mut headers: HeaderMap,
    ) -> Result<(), DeliverError> {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes));
        let body = || {
            let frames = pieces(Arc::clone(file), 0..bytes).map_ok(hyper::body::Frame::data);
            Body::wrap(StreamBody::new(frames))
        };
        let within = time_for(bytes, self.timeout);
        self.send(method, url, headers, body, Some(within)).await
    }
}

/// How long sending so many bytes may take, where `timeout` is for everything else.
fn time_for(bytes: u64, timeout: Duration) -> Duration {
    let slices = u32::try_from(bytes / SLICE).unwrap_or(u32::MAX).saturating_add(1);
    timeout.saturating_mul(slices).min(MAX_TIME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_has_longer() {
        let minute = Duration::from_secs(60);
        assert_eq!(time_for(0, minute), minute);
        assert_eq!(time_for(SLICE - 1, minute), minute);
        assert_eq!(time_for(SLICE, minute), 2 * minute);
        assert_eq!(time_for(100 * SLICE, minute), 101 * minute);
        assert_eq!(time_for(u64::MAX, minute), MAX_TIME);
    }
}
