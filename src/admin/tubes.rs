//! Lists of tubes, filtered and sorted, from a snapshot that is a few seconds old at most.
//!
//! Sorting needs all tubes, and a page must not cost that. So a snapshot of all is taken, in short
//! looks, when somebody asks and the last one is older than [`FRESH`]; and each order that is asked for
//! is made once for each snapshot.

use std::cmp::{Ordering, Reverse};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use jq_api::server::{Tube, TubeList, TubeQuery, TubeSort};
use jq_engine::{Cursor, Nanos};
use tokio::sync::Mutex as AsyncMutex;

use crate::admin::answer::Failure;
use crate::admin::cursor::{self, Listing};
use crate::admin::routes::documents;
use crate::admin::walk::walk;
use crate::server::hub::Hub;

/// A snapshot is used for so many seconds.
const FRESH: u32 = 2;

/// Orders that are kept of a snapshot; each takes 4 bytes for each tube.
const ORDERS: usize = 16;

/// The tubes at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    taken: Nanos,
    at: Timestamp,
    tubes: Vec<Tube>,
    /// The orders that were asked for, from the oldest.
    orders: Mutex<Vec<Order>>,
}

/// The tubes that match, in an order.
#[derive(Debug, Clone)]
struct Order {
    name: Option<String>,
    sort: TubeSort,
    tubes: Arc<[u32]>,
}

/// The last snapshot.
#[derive(Debug, Default)]
pub(crate) struct Snapshots(AsyncMutex<Option<Arc<Snapshot>>>);

impl Snapshots {
    /// A snapshot that is fresh. Whoever asks while one is taken waits for that.
    pub(crate) async fn get(&self, hub: &Hub) -> Arc<Snapshot> {
        let mut last = self.0.lock().await;
        let now = hub.clock().now();
        if let Some(snapshot) = last.as_ref().filter(|last| now < last.taken.after(FRESH)) {
            return Arc::clone(snapshot);
        }
        let mut tubes = Vec::new();
        let mut from = Some(Cursor::default());
        while let Some(at) = from {
            let page = walk(at, usize::MAX, |from, size| {
                Some(hub.read(|engine, now| engine.tubes_page(now, from, size)))
            });
            let Some(page) = page.await else { break };
            tubes.extend(page.items.into_iter().map(documents::tube));
            from = page.next;
        }
        let snapshot = Snapshot::new(now, tubes);
        Arc::clone(last.insert(Arc::new(snapshot)))
    }
}

impl Snapshot {
    fn new(taken: Nanos, tubes: Vec<Tube>) -> Self {
        Self { taken, at: documents::timestamp(taken), tubes, orders: Mutex::default() }
    }

    /// A page of at most `limit` tubes.
    pub(crate) fn list(&self, query: &TubeQuery, limit: usize) -> Result<TubeList, Failure> {
        let sort = query.sort.unwrap_or_default();
        let order = self.order(query.name.as_deref(), sort);
        let begin = match query.cursor.as_deref() {
            None => 0,
            Some(cursor) => {
                let (value, name) = last_of(cursor, sort)?;
                // Behind the last tube of the page before, whether it is still there or not.
                order.partition_point(|ix| {
                    let tube = &self.tubes[*ix as usize];
                    in_order(value_of(tube, sort), &tube.name, value, &name) != Ordering::Greater
                })
            }
        };
        let rest = &order[begin..];
        let tubes: Vec<Tube> =
            rest.iter().take(limit).map(|ix| self.tubes[*ix as usize].clone()).collect();
        let next = tubes.last().filter(|_| rest.len() > limit).map(|last| cursor_after(last, sort));
        Ok(TubeList { tubes, next, total: order.len() as u64, at: self.at })
    }

    /// The tubes whose name contains this, in whatever case, in this order.
    fn order(&self, name: Option<&str>, sort: TubeSort) -> Arc<[u32]> {
        let name = name.filter(|name| !name.is_empty()).map(str::to_ascii_lowercase);
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(order) = orders.iter().find(|order| order.sort == sort && order.name == name) {
            return Arc::clone(&order.tubes);
        }
        let matches = |tube: &Tube| {
            name.as_ref().is_none_or(|name| tube.name.to_ascii_lowercase().contains(name))
        };
        let tubes = self.tubes.iter().enumerate().filter(|(_, tube)| matches(tube));
        let mut tubes: Vec<u32> = tubes.map(|(ix, _)| ix as u32).collect();
        tubes.sort_unstable_by(|one, other| {
            let (one, other) = (&self.tubes[*one as usize], &self.tubes[*other as usize]);
            in_order(value_of(one, sort), &one.name, value_of(other, sort), &other.name)
        });
        let tubes: Arc<[u32]> = tubes.into();
        if orders.len() == ORDERS {
            orders.remove(0);
        }
        orders.push(Order { name, sort, tubes: Arc::clone(&tubes) });
        tubes
    }
}

/// Larger values come first, equal ones by name.
fn in_order(one: f64, name: &str, other: f64, other_name: &str) -> Ordering {
    Reverse(Total(one)).cmp(&Reverse(Total(other))).then_with(|| name.cmp(other_name))
}

/// A number with a total order.
#[derive(PartialEq)]
struct Total(f64);

impl Eq for Total {}

impl PartialOrd for Total {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Total {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// What a tube is sorted by; the same for all if it is the name. What is not known comes last.
fn value_of(tube: &Tube, sort: TubeSort) -> f64 {
    let count = |count: u64| count as f64;
    let rates = tube.rates.unwrap_or_default();
    match sort {
        TubeSort::Name => 0.0,
        TubeSort::Ready => count(tube.jobs.ready),
        TubeSort::Urgent => count(tube.jobs.urgent),
        TubeSort::Reserved => count(tube.jobs.reserved),
        TubeSort::Delayed => count(tube.jobs.delayed),
        TubeSort::Buried => count(tube.jobs.buried),
        TubeSort::TotalJobs => count(tube.total_jobs),
        TubeSort::Using => count(tube.using),
        TubeSort::Watching => count(tube.watching),
        TubeSort::Waiting => count(tube.waiting),
        TubeSort::OldestReady => tube.oldest_ready.unwrap_or(-1.0),
        TubeSort::Put => rates.put,
        TubeSort::Reserve => rates.reserve,
        TubeSort::Delete => rates.delete,
        TubeSort::Bury => rates.bury,
        TubeSort::Timeout => rates.timeout,
    }
}

/// The cursor for the tubes behind this one: its value, the order, its name.
fn cursor_after(tube: &Tube, sort: TubeSort) -> String {
    let value = value_of(tube, sort).to_le_bytes();
    cursor::encode(Listing::Tubes, &[&[sort as u8], &value[..], tube.name.as_bytes()].concat())
}

/// The value and the name of the tube that a cursor is behind.
fn last_of(cursor: &str, sort: TubeSort) -> Result<(f64, String), Failure> {
    let bytes = cursor::decode(Listing::Tubes, cursor)?;
    let (head, name) = bytes.split_at_checked(9).ok_or_else(cursor::wrong)?;
    let value = <[u8; 8]>::try_from(&head[1..]).map_err(|_| cursor::wrong())?;
    if head[0] != sort as u8 {
        return Err(cursor::wrong());
    }
    let name = String::from_utf8(name.to_vec()).map_err(|_| cursor::wrong())?;
    Ok((f64::from_le_bytes(value), name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(tubes: &[(&str, u64)]) -> Snapshot {
        let tube = |(name, ready): &(&str, u64)| {
            let mut tube = documents::tube(beanstalk_protocol::TubeStats {
                name: beanstalk_protocol::TubeName::new(name.as_bytes()).unwrap(),
                urgent: 0,
                ready: *ready,
                reserved: 0,
                delayed: 0,
                buried: 0,
                total_jobs: 0,
                using: 0,
                watching: 0,
                waiting: 0,
                deletes: 0,
                pauses: 0,
                pause: 0,
                pause_time_left: 0,
            });
            tube.oldest_ready = (*ready > 0).then_some(1.5);
            tube
        };
        Snapshot::new(Nanos::from_secs(5), tubes.iter().map(tube).collect())
    }

    fn all(snapshot: &Snapshot, query: &TubeQuery, limit: usize) -> Vec<String> {
        let (mut names, mut query) = (Vec::new(), query.clone());
        loop {
            let page = snapshot.list(&query, limit).unwrap();
            assert!(page.tubes.len() <= limit);
            names.extend(page.tubes.into_iter().map(|tube| tube.name));
            match page.next {
                Some(next) => query.cursor = Some(next),
                None => return names,
            }
        }
    }

    #[test]
    fn sorted_and_filtered_page_by_page() {
        let snapshot = snapshot(&[("b", 5), ("a", 5), ("Mail/x", 0), ("c", 9), ("mail/y", 7)]);
        let query = |sort, name: &str| TubeQuery {
            sort,
            name: Some(name.to_owned()).filter(|name| !name.is_empty()),
            ..TubeQuery::default()
        };
        for limit in 1..7 {
            let all = |sort, name| all(&snapshot, &query(sort, name), limit);
            assert_eq!(all(None, ""), ["Mail/x", "a", "b", "c", "mail/y"]);
            assert_eq!(all(Some(TubeSort::Ready), ""), ["c", "mail/y", "a", "b", "Mail/x"]);
            assert_eq!(all(Some(TubeSort::OldestReady), ""), ["a", "b", "c", "mail/y", "Mail/x"]);
            assert_eq!(all(Some(TubeSort::Ready), "MAIL/"), ["mail/y", "Mail/x"]);
            assert!(all(None, "nothing").is_empty());
        }
        let page = snapshot.list(&query(None, "a"), 1).unwrap();
        assert_eq!((page.total, page.tubes.len()), (3, 1));
    }

    #[test]
    fn a_cursor_goes_on_in_another_snapshot() {
        let before = snapshot(&[("a", 1), ("b", 2), ("c", 3)]);
        let by_ready = TubeQuery { sort: Some(TubeSort::Ready), ..TubeQuery::default() };
        let next = before.list(&by_ready, 2).unwrap().next;
        let after = snapshot(&[("a", 1), ("c", 3), ("d", 2), ("e", 7)]);
        let page = after.list(&TubeQuery { cursor: next.clone(), ..by_ready }, 9).unwrap();
        let names: Vec<_> = page.tubes.iter().map(|tube| &*tube.name).collect();
        assert_eq!((names, page.next), (vec!["d", "a"], None));
        // It is of another order.
        assert!(after.list(&TubeQuery { cursor: next, ..TubeQuery::default() }, 9).is_err());
        for wrong in ["", "A", "AwA", "x"] {
            let query = TubeQuery { cursor: Some(wrong.into()), ..TubeQuery::default() };
            assert!(after.list(&query, 9).is_err());
        }
    }

    #[test]
    fn the_orders_that_are_kept_are_few() {
        let snapshot = snapshot(&[("a", 1)]);
        for number in 0..ORDERS + 5 {
            let query = TubeQuery { name: Some(number.to_string()), ..TubeQuery::default() };
            assert!(snapshot.list(&query, 1).unwrap().tubes.is_empty());
        }
        assert_eq!(snapshot.orders.lock().unwrap().len(), ORDERS);
    }
}
