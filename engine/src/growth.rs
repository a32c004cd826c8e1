//! How a table grows, so that there is memory for it.
//!
//! A `Vec` that doubles asks for as much as it has. When memory runs short, what a server has kept back is
//! enough for a few megabytes at a time.

/// A table grows by this many bytes at most.
const MOST: usize = 4 << 20;

/// Makes room for more entries: for as many as there are, up to a limit, which keeps what a large table asks
/// for at a time in proportion to what it is asked for. The allocator moves large tables without a copy.
#[cold]
fn make_room<T>(table: &mut Vec<T>) {
    let most = (MOST / size_of::<T>().max(1)).max(1);
    table.reserve_exact(table.len().clamp(4, most.max(4)));
}

/// Appends an entry, and makes room for it by [`make_room`].
#[inline]
pub(crate) fn push<T>(table: &mut Vec<T>, entry: T) {
    if table.len() == table.capacity() {
        make_room(table);
    }
    table.push(entry);
}

#[cfg(test)]
mod tests {
    use super::*;

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
