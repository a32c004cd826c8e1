//! Members of requests: whole numbers as JSON Schema has them (`60.0` is one too, as some languages
//! write it), and members that may be left out, but are not null.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected, Visitor};

struct Whole<T>(PhantomData<T>);

impl<T: TryFrom<u64>> Visitor<'_> for Whole<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = if size_of::<T>() == 4 { u64::from(u32::MAX) } else { u64::MAX };
        write!(f, "a whole number from 0 to {most}")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        T::try_from(number).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        let positive = u64::try_from(number).ok().and_then(|number| T::try_from(number).ok());
        positive.ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        // Up to here each whole number is one of its own.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        let is_whole = number.fract() == 0.0 && (0.0..=EXACT).contains(&number);
        let whole = is_whole.then_some(number as u64).and_then(|whole| T::try_from(whole).ok());
        whole.ok_or_else(|| E::invalid_value(Unexpected::Float(number), &self))
    }
}

/// A whole number.
pub(super) fn number<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    deserializer.deserialize_u64(Whole(PhantomData))
}

/// A whole number; not null.
pub(super) fn some<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    number(deserializer).map(Some)
}

/// A value that is there: not null.
pub(super) fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::super::{BulkRequest, Pause};

    #[test]
    fn whole_numbers_however_they_are_written() {
        let pause = |text: &str| serde_json::from_str::<Pause>(&format!(r#"{{"seconds":{text}}}"#));
        for (text, expected) in [("0", 0), ("60.0", 60), ("6e1", 60), ("4294967295", u32::MAX)] {
            assert_eq!(pause(text).unwrap().seconds, expected);
        }
        for text in ["-1", "1.5", "4294967296", "4294967296.0", "1e300", "null", "\"1\"", "true"] {
            let error = pause(text).unwrap_err().to_string();
            assert!(error.contains("expected a whole number from 0 to 4294967295"), "{error}");
        }
        let bulk = |text: &str| {
            let text = format!(r#"{{"action":"kick","tube":"a","older_than":{text}}}"#);
            serde_json::from_str::<BulkRequest>(&text)
        };
        assert_eq!(bulk("18446744073709551615").unwrap().older_than, Some(u64::MAX));
        assert_eq!(bulk("9007199254740992.0").unwrap().older_than, Some(1 << 53));
        for text in ["9007199254740994.0", "null", "-1"] {
            assert!(bulk(text).is_err(), "{text}");
        }
    }
}
