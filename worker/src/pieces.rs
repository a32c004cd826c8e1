//! Files that are read piece by piece, as somebody takes them.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::task::spawn_blocking;

/// So much is read at a time, in bytes.
const PIECE: u64 = 64 << 10;

/// What is in this part of a file. It fails if the file is shorter.
pub(crate) fn pieces(
    file: Arc<File>,
    range: Range<u64>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + Sync {
    unfold(range, move |range| {
        let file = Arc::clone(&file);
        async move {
            if range.is_empty() {
                return None;
            }
            let start = range.start;
            let length = PIECE.min(range.end - start);
            let read = spawn_blocking(move || {
                let mut piece = vec![0; usize::try_from(length).map_err(io::Error::other)?];
                file.read_exact_at(&mut piece, start).map(|()| Bytes::from(piece))
            });
            let piece = read.await.unwrap_or_else(|error| Err(error.into()));
            let rest = if piece.is_ok() { start + length..range.end } else { 0..0 };
            Some((piece, rest))
        }
    })
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;

    use super::*;

    #[tokio::test]
    async fn up_to_the_end_of_the_part() {
        let path = std::env::temp_dir().join(format!("jq-pieces-{}", uuid::Uuid::new_v4()));
        let text: Vec<u8> = (0..200_000_u32).map(|it| it as u8).collect();
        std::fs::write(&path, &text).unwrap();
        let file = Arc::new(File::open(&path).unwrap());
        for part in [0..200_000, 0..0, 70_001..150_002, 199_999..200_000] {
            let read: Vec<Bytes> =
                pieces(Arc::clone(&file), part.clone()).try_collect().await.unwrap();
            assert_eq!(read.concat(), text[part.start as usize..part.end as usize]);
        }
        let short: io::Result<Vec<Bytes>> = pieces(file, 0..200_001).try_collect().await;
        assert!(short.is_err());
        std::fs::remove_file(path).unwrap();
    }
}
