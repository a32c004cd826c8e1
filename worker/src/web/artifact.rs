//! Artifacts: files that a process left, whatever is in them. A browser that shows one must not run it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use bytes::Bytes;
use futures_util::Stream;
use jiff::Timestamp;
use jq_http::reply::{Reply, empty};
use jq_http::{Validators, Wanted};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use uuid::Uuid;

use super::answer::unavailable;
use super::failure;
use crate::artifact::{Artifact, ArtifactName};
use crate::pieces::pieces;

/// Nothing runs, nothing is loaded from elsewhere, and nothing of this origin is read.
const POLICY: &str = "default-src 'none'; img-src 'self' data:; media-src 'self'; \
                      style-src 'unsafe-inline'; sandbox";

/// Beginnings of the types that browsers show. Others are to be saved: pages of HTML, above all, which would seem
/// to be ours, and what a browser does not show in a sandbox.
const SHOWN: [&str; 7] =
    ["image/", "audio/", "video/", "text/plain", "text/csv", "text/markdown", "application/json"];

const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// What is known of an artifact.
pub enum FoundArtifact {
    /// It is there.
    Here(ArtifactContent),
    /// It was there, and has been removed.
    Gone,
    /// Nothing.
    Unknown,
    /// It cannot be told at present, for this reason.
    Unavailable(String),
}

/// An artifact that can be read.
pub struct ArtifactContent {
    /// What its result tells of it.
    pub artifact: Artifact,
    /// When the job was over.
    pub modified: Timestamp,
    /// Reads a part of it.
    pub read: Box<dyn FnOnce(Range<u64>) -> Pieces + Send>,
}

/// Content as it is read, in order.
pub type Pieces = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

impl ArtifactContent {
    /// One that is in a file.
    pub fn in_file(artifact: Artifact, modified: Timestamp, file: File) -> Self {
        let read = |range| Box::pin(pieces(Arc::new(file), range)) as Pieces;
        Self { artifact, modified, read: Box::new(read) }
    }
}

/// The name behind a job's id in a path. `None`: no artifact can have it.
pub(super) fn name_in_path(path: &str) -> Option<ArtifactName> {
    percent_decode_str(path).decode_utf8().ok()?.parse().ok()
}

pub(super) fn answer(id: Uuid, found: FoundArtifact, request: &HeaderMap) -> Reply {
    match found {
        FoundArtifact::Here(content) => here(content, request),
        FoundArtifact::Gone => {
            failure(StatusCode::GONE, "the artifact has been removed after its time", Some(id))
        }
        FoundArtifact::Unknown => {
            failure(StatusCode::NOT_FOUND, "the job has no such artifact here", Some(id))
        }
        FoundArtifact::Unavailable(why) => unavailable(id, &why),
    }
}

/// An artifact, a part of it, or word that the asker has it already.
fn here(content: ArtifactContent, request: &HeaderMap) -> Reply {
    let ArtifactContent { artifact, modified, read } = content;
    let length = artifact.bytes;
    let tag = artifact.digest.split(':').nth(1).unwrap_or_default();
    let validators = Validators::new(tag, modified);
    let mut reply = if validators.are_known(request) {
        empty(StatusCode::NOT_MODIFIED)
    } else {
        match validators.wanted(request, length) {
            Wanted::Whole => part(read, 0..length, StatusCode::OK),
            Wanted::Part(range) => {
                let place = format!("bytes {}-{}/{length}", range.start, range.end - 1);
                let mut reply = part(read, range, StatusCode::PARTIAL_CONTENT);
                set(&mut reply, CONTENT_RANGE, &place);
                reply
            }
            Wanted::Nothing => {
                let mut reply = empty(StatusCode::RANGE_NOT_SATISFIABLE);
                set(&mut reply, CONTENT_RANGE, &format!("bytes */{length}"));
                reply
            }
        }
    };
    validators.write(reply.headers_mut());
    set(&mut reply, ACCEPT_RANGES, "bytes");
    set(&mut reply, CONTENT_SECURITY_POLICY, POLICY);
    // It may be kept, and has to be asked for: a job that is run again gets others.
    set(&mut reply, CACHE_CONTROL, "no-cache");
    if reply.status().is_success() {
        set(&mut reply, CONTENT_TYPE, &artifact.media_type);
        set(&mut reply, CONTENT_DISPOSITION, &disposition(&artifact));
        set(&mut reply, REPR_DIGEST, &artifact.digest);
    }
    reply
}

fn part(
    read: Box<dyn FnOnce(Range<u64>) -> Pieces + Send>,
    range: Range<u64>,
    status: StatusCode,
) -> Reply {
    let length = range.end - range.start;
    let mut reply = Reply::new(Body::from_stream(read(range)));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    reply
}

/// Leaves the header out if it cannot have this value.
fn set(reply: &mut Reply, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().insert(name, value);
    }
}

/// Whether it is shown or saved, and under which name (RFC 6266).
fn disposition(artifact: &Artifact) -> String {
    let is_shown = SHOWN.iter().any(|shown| artifact.media_type.starts_with(shown));
    let how = if is_shown { "inline" } else { "attachment" };
    let name = artifact.name.as_str().rsplit('/').next().unwrap_or_default();
    let is_plain = |it: char| (it.is_ascii_graphic() || it == ' ') && !matches!(it, '"' | '%');
    let plain: String = name.chars().map(|it| if is_plain(it) { it } else { '_' }).collect();
    if plain == name {
        return format!("{how}; filename=\"{plain}\"");
    }
    let encoded = utf8_percent_encode(name, NON_ALPHANUMERIC);
    format!("{how}; filename=\"{plain}\"; filename*=UTF-8''{encoded}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(name: &str, media_type: &str) -> Artifact {
        Artifact {
            name: name.parse().unwrap(),
            media_type: media_type.to_owned(),
            bytes: 0,
            digest: String::new(),
            url: None,
        }
    }

    #[test]
    fn what_runs_is_saved() {
        for (name, media_type, expected) in [
            ("plot.png", "image/png", r#"inline; filename="plot.png""#),
            ("a/t.csv", "text/csv; charset=utf-8", r#"inline; filename="t.csv""#),
            ("x.html", "text/html; charset=utf-8", r#"attachment; filename="x.html""#),
            ("x.js", "text/javascript", r#"attachment; filename="x.js""#),
            ("x.pdf", "application/pdf", r#"attachment; filename="x.pdf""#),
            (
                "Grö\"ße.bin",
                "application/octet-stream",
                r#"attachment; filename="Gr___e.bin"; filename*=UTF-8''Gr%C3%B6%22%C3%9Fe%2Ebin"#,
            ),
        ] {
            assert_eq!(disposition(&artifact(name, media_type)), expected);
        }
    }
}
