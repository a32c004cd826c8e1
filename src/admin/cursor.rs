//! Cursors as clients see them: opaque, and of no use for another listing.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jq_engine::Cursor;

use crate::admin::answer::Failure;

/// The listing that a cursor belongs to. The bytes may change from one version of the server to the
/// next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listing {
    Jobs = 1,
    Connections = 2,
    Tubes = 3,
}

/// The longest cursor that is looked at: that of a page of tubes has a name.
const MAX: usize = 512;

/// The cursor for a place in the table of jobs or connections.
pub(crate) fn of_place(listing: Listing, place: Cursor) -> String {
    encode(listing, &place.0.to_le_bytes())
}

/// The place that a cursor stands for; the first one without a cursor.
pub(crate) fn place(listing: Listing, cursor: Option<&str>) -> Result<Cursor, Failure> {
    let Some(cursor) = cursor else { return Ok(Cursor::default()) };
    let place = decode(listing, cursor)?;
    let place = <[u8; 4]>::try_from(&place[..]).map_err(|_| wrong())?;
    Ok(Cursor(u32::from_le_bytes(place)))
}

pub(crate) fn encode(listing: Listing, content: &[u8]) -> String {
    BASE64.encode([&[listing as u8], content].concat())
}

pub(crate) fn decode(listing: Listing, cursor: &str) -> Result<Vec<u8>, Failure> {
    if cursor.len() > MAX {
        return Err(wrong());
    }
    let mut bytes = BASE64.decode(cursor).map_err(|_| wrong())?;
    if bytes.first() != Some(&(listing as u8)) {
        return Err(wrong());
    }
    bytes.remove(0);
    Ok(bytes)
}

/// It is no cursor of this listing.
pub(crate) fn wrong() -> Failure {
    Failure::field("cursor", "expected the \"next\" of the page before, of the same listing")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_back_to_its_place() {
        for at in [0, 1, 1 << 20, u32::MAX] {
            let cursor = of_place(Listing::Jobs, Cursor(at));
            assert_eq!(place(Listing::Jobs, Some(&cursor)).unwrap(), Cursor(at));
            assert!(place(Listing::Connections, Some(&cursor)).is_err());
        }
        assert_eq!(place(Listing::Jobs, None).unwrap(), Cursor(0));
        let long = "A".repeat(MAX + 1);
        for wrong in ["", "x", "AQ", "AQAAAA", "AQAAAAAA", "AQ==", "\u{e9}", &long] {
            assert!(place(Listing::Jobs, Some(wrong)).is_err(), "{wrong}");
        }
    }
}
