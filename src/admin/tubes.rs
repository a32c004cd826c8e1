//! Lists of tubes, filtered and sorted, from the last snapshot.
//!
//! Sorting needs all tubes, and a page must not cost that. So the snapshot keeps the orders that were
//! asked for; see [`Snapshot::page`].

use jq_api::server::{TubeList, TubeQuery, TubeSort};

use crate::admin::answer::Failure;
use crate::admin::cursor::{self, Listing};
use crate::admin::routes::documents;
use crate::observe::{Position, Snapshot};

/// A page of at most `limit` tubes.
pub(crate) fn list(
    snapshot: &Snapshot,
    query: &TubeQuery,
    limit: usize,
) -> Result<TubeList, Failure> {
    let sort = query.sort.unwrap_or_default();
    let after = query.cursor.as_deref().map(|cursor| position(cursor, sort)).transpose()?;
    let page = snapshot.page(query.name.as_deref(), sort, after.as_ref(), limit);
    Ok(TubeList {
        tubes: page.tubes.iter().map(|row| row.document(snapshot.at)).collect(),
        next: page.next.map(|position| cursor_for(&position, sort)),
        total: page.total as u64,
        at: documents::timestamp(snapshot.at),
    })
}

/// The cursor for the tubes behind a position: the order, the value, the name.
fn cursor_for(position: &Position, sort: TubeSort) -> String {
    let value = position.value.to_le_bytes();
    cursor::encode(Listing::Tubes, &[&[sort as u8], &value[..], position.name.as_bytes()].concat())
}

/// The position that a cursor is for.
fn position(cursor: &str, sort: TubeSort) -> Result<Position, Failure> {
    let bytes = cursor::decode(Listing::Tubes, cursor)?;
    let (head, name) = bytes.split_at_checked(9).ok_or_else(cursor::wrong)?;
    let value = <[u8; 8]>::try_from(&head[1..]).map_err(|_| cursor::wrong())?;
    if head[0] != sort as u8 {
        return Err(cursor::wrong());
    }
    let name = String::from_utf8(name.to_vec()).map_err(|_| cursor::wrong())?;
    Ok(Position { value: u64::from_le_bytes(value), name })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(tubes: &[(&str, u64)]) -> Snapshot {
        Snapshot::of_ready(tubes)
    }

    fn all(snapshot: &Snapshot, query: &TubeQuery, limit: usize) -> Vec<String> {
        let (mut names, mut query) = (Vec::new(), query.clone());
        loop {
            let page = list(snapshot, &query, limit).unwrap();
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
        let page = list(&snapshot, &query(None, "a"), 1).unwrap();
        assert_eq!((page.total, page.tubes.len()), (3, 1));
    }

    #[test]
    fn a_cursor_goes_on_in_another_snapshot() {
        let before = snapshot(&[("a", 1), ("b", 2), ("c", 3)]);
        let by_ready = TubeQuery { sort: Some(TubeSort::Ready), ..TubeQuery::default() };
        let next = list(&before, &by_ready, 2).unwrap().next;
        let after = snapshot(&[("a", 1), ("c", 3), ("d", 2), ("e", 7)]);
        let page = list(&after, &TubeQuery { cursor: next.clone(), ..by_ready }, 9).unwrap();
        let names: Vec<_> = page.tubes.iter().map(|tube| &*tube.name).collect();
        assert_eq!((names, page.next), (vec!["d", "a"], None));
        // It is of another order.
        assert!(list(&after, &TubeQuery { cursor: next, ..TubeQuery::default() }, 9).is_err());
        for wrong in ["", "A", "AwA", "x"] {
            let query = TubeQuery { cursor: Some(wrong.into()), ..TubeQuery::default() };
            assert!(list(&after, &query, 9).is_err());
        }
    }
}
