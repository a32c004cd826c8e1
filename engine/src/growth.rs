//! How a table grows, so that there is memory for it.
//!
//! A `Vec` that doubles asks for as much as it has. When memory runs short, what a server has kept back is
//! enough for a few megabytes at a time.

use std::collections::VecDeque;

/// A table grows by this many bytes at most.
const MOST: usize = 4 << 20;

/// For how many more entries there should be room in a table that has so many: for as many as there are, up
/// to a limit, which keeps what a large table asks for at a time in proportion to what it is asked for. The
/// allocator moves large tables without a copy.
fn more<T>(len: usize) -> usize {
    let most = (MOST / size_of::<T>().max(1)).max(1);
    len.clamp(4, most.max(4))
}

/// Makes room for more entries.
#[cold]
fn make_room<T>(table: &mut Vec<T>) {
    table.reserve_exact(more::<T>(table.len()));
}

#[cold]
fn make_room_in_queue<T>(queue: &mut VecDeque<T>) {
    queue.reserve_exact(more::<T>(queue.len()));
}

/// Appends an entry to a table that grows by 4 MiB at most.
#[inline]
pub fn push<T>(table: &mut Vec<T>, entry: T) {
    if table.len() == table.capacity() {
        make_room(table);
    }
    table.push(entry);
}

/// Appends an entry to a queue that grows by 4 MiB at most.
#[inline]
pub fn push_back<T>(queue: &mut VecDeque<T>, entry: T) {
    if queue.len() == queue.capacity() {
        make_room_in_queue(queue);
    }
    queue.push_back(entry);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_never_asks_for_much_more_than_it_has() {
        let mut queue = VecDeque::new();
        let mut before = 0;
        for number in 0..3_000_000_u64 {
            if number % 5 == 4 {
                queue.pop_front();
            }
            push_back(&mut queue, number);
            let bytes = queue.capacity() * 8;
            assert!(bytes <= before + MOST.min(before.max(32)), "{before}, then {bytes}");
            before = bytes;
        }
        assert!(queue.iter().copied().eq(600_000..3_000_000));
    }

    #[test]
    fn a_table_never_asks_for_much_more_than_it_has() {
        let mut table = Vec::new();
        let mut before = 0;
        for number in 0..3_000_000_u64 {
            push(&mut table, number);
            let bytes = table.capacity() * 8;
            assert!(bytes <= before + MOST.min(before.max(32)), "{before}, then {bytes}");
            before = bytes;
        }
        assert!(table.iter().copied().eq(0..3_000_000));
    }
}
