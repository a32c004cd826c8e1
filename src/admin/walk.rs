//! Looking at much of the queue without holding up anybody: in several short looks under the lock.

use jq_engine::{Cursor, Page, PageSize};

/// The most items that are copied under one lock. A job takes up to about 200 nanoseconds.
const ITEMS: usize = 256;

/// The most places that are looked at under one lock: about 50 microseconds.
const LOOKS: usize = 10_000;

/// The most locks that are taken for one page. Then it is sent as it is, even if it is empty.
const LOCKS: usize = 100;

/// Items of a listing, and how they were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Walked<T> {
    pub(crate) items: Vec<T>,
    /// Where the next page begins; `None` on the last page.
    pub(crate) next: Option<Cursor>,
    /// How often the queue was locked.
    pub(crate) locks: usize,
}

/// Fills a page with up to `limit` items. `look` takes the lock and looks at a part; `None`: what is
/// listed does not exist. Others on this thread have their turn in between.
pub(crate) async fn walk<T>(
    from: Cursor,
    limit: usize,
    mut look: impl FnMut(Cursor, PageSize) -> Option<Page<T>>,
) -> Option<Walked<T>> {
    let mut walked = Walked { items: Vec::new(), next: Some(from), locks: 0 };
    while let Some(from) = walked.next {
        let room = limit - walked.items.len();
        if room == 0 || walked.locks == LOCKS {
            break;
        }
        if walked.locks > 0 {
            tokio::task::yield_now().await;
        }
        let page = look(from, PageSize { items: room.min(ITEMS), looks: LOOKS })?;
        walked.locks += 1;
        walked.next = page.next;
        walked.items.extend(page.items);
    }
    Some(walked)
}
