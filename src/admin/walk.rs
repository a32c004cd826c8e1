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

#[cfg(test)]
mod tests {
    use beanstalk_protocol::TubeName;
    use jq_engine::{Answer, ConnId, Engine, Nanos, NewJob, Sink};

    use super::*;

    struct Nobody;

    impl Sink for Nobody {
        fn answer(&mut self, _: ConnId, _: Answer<'_>) {}
    }

    fn queue(jobs: usize) -> Engine {
        let (mut engine, tube) = (Engine::new(), TubeName::new(b"t").unwrap());
        let new = NewJob { priority: 0, delay: 0, ttr: 1 };
        for _ in 0..jobs {
            engine.put(Nanos(1), &tube, new, Box::default(), &mut Nobody).unwrap();
        }
        engine
    }

    async fn jobs_page(
        engine: &Engine,
        state: Option<beanstalk_protocol::JobState>,
        from: Cursor,
        limit: usize,
    ) -> Walked<u64> {
        let page = walk(from, limit, |from, size| {
            assert!(size.items <= ITEMS && size.looks <= LOOKS);
            let page = engine.jobs_page("t", state, from, size)?;
            Some(Page { items: page.items.iter().map(|job| job.id).collect(), next: page.next })
        });
        page.await.unwrap()
    }

    #[tokio::test]
    async fn pages_of_a_million_jobs_cost_the_same_at_both_ends() {
        const JOBS: usize = 1_000_000;
        let engine = queue(JOBS);
        let first = jobs_page(&engine, None, Cursor(0), 1000).await;
        let last = jobs_page(&engine, None, Cursor(JOBS as u32 - 1000), 1000).await;
        assert_eq!((first.items.len(), last.items.len()), (1000, 1000));
        assert_eq!((first.locks, last.locks), (1000_usize.div_ceil(ITEMS), first.locks));
        assert_eq!((first.items[0], last.items[999]), (1, JOBS as u64));
        assert_eq!(first.next, Some(Cursor(1000)));
        if let Some(next) = last.next {
            // Free places at the end of the table.
            let end = jobs_page(&engine, None, next, 1000).await;
            assert_eq!((end.items.len(), end.locks, end.next), (0, 1, None));
        }
    }

    /// A page that finds nothing ends too, and the next goes on where it was.
    #[tokio::test]
    async fn a_page_looks_at_so_many_places_at_most() {
        const FEW: usize = 4096;
        let mut engine = queue(2 * LOCKS * LOOKS / 10);
        let delayed = beanstalk_protocol::JobState::Delayed;
        let set = jq_engine::JobChange { priority: None, delay: Some(100) };
        let last = engine.job_count() as u64;
        // Too many to be listed by themselves, and all at the end.
        for id in last - FEW as u64 - 10..=last {
            engine.act(Nanos(1), id, &jq_engine::Action::Set(set), &mut Nobody).unwrap();
        }
        let page = jobs_page(&engine, Some(delayed), Cursor(0), 10).await;
        assert!(page.locks <= LOCKS && page.locks >= engine.job_count() / LOOKS, "{page:?}");
        assert_eq!(page.items.len(), 10);
        let none = walk(Cursor(0), 10, |from, size| {
            let next = Some(Cursor(from.0 + size.looks as u32));
            Some(Page::<u64> { items: Vec::new(), next })
        });
        let none = none.await.unwrap();
        assert_eq!((none.locks, none.items.len()), (LOCKS, 0));
        assert_eq!(none.next, Some(Cursor((LOCKS * LOOKS) as u32)));
    }
}
