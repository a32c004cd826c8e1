//! Documents that say what is set for a tube, and the policies that they mean.

use beanstalk_protocol::TubeName;
use jq_api::server::{Policy, PolicySource};

/// The lowest and the highest rate of reserves per second. It is kept in thousandths, as a number of 32
/// bits.
const RATES: std::ops::RangeInclusive<f64> = 0.001..=4_294_967.0;

/// What is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// The member, as the API writes it.
    pub(crate) member: &'static str,
    /// The value is a good one, but not for this tube.
    pub(crate) is_about_tube: bool,
    /// What was expected.
    pub(crate) expected: String,
}

impl Mistake {
    fn new(member: &'static str, expected: impl Into<String>) -> Self {
        Self { member, is_about_tube: false, expected: expected.into() }
    }
}

/// The policy that a document for this tube says. Where the document says that it is from does not
/// count.
pub(crate) fn checked(
    tube: &TubeName,
    document: &Policy,
) -> Result<jq_engine::Policy<TubeName>, Mistake> {
    let Policy {
        max_jobs,
        max_bytes,
        max_reserves,
        max_timeouts,
        max_disconnects,
        ref dead_letter,
        expires,
        unique,
        default_ttr,
        reserve_rate,
        source: _,
    } = *document;
    let numbers = [
        ("max_jobs", max_jobs),
        ("max_bytes", max_bytes),
        ("max_reserves", max_reserves.map(u64::from)),
        ("max_timeouts", max_timeouts.map(u64::from)),
        ("max_disconnects", max_disconnects.map(u64::from)),
        ("expires", expires.map(u64::from)),
        ("default_ttr", default_ttr.map(u64::from)),
    ];
    if let Some((member, _)) = numbers.into_iter().find(|(_, number)| *number == Some(0)) {
        return Err(Mistake::new(member, "expected at least 1"));
    }
    let dead_letter = dead_letter.as_deref().map(|name| TubeName::new(name.as_bytes()));
    let dead_letter =
        dead_letter.transpose().map_err(|error| Mistake::new("dead_letter", error.to_string()))?;
    if dead_letter.as_ref() == Some(tube) {
        let mistake = Mistake::new("dead_letter", "expected another tube");
        return Err(Mistake { is_about_tube: true, ..mistake });
    }
    if reserve_rate.is_some_and(|rate| !RATES.contains(&rate)) {
        let expected = format!("expected a number from {} to {}", RATES.start(), RATES.end());
        return Err(Mistake::new("reserve_rate", expected));
    }
    Ok(jq_engine::Policy {
        max_jobs,
        max_bytes,
        max_reserves,
        max_timeouts,
        max_disconnects,
        dead_letter,
        expires,
        unique,
        default_ttr,
        reserve_rate: reserve_rate.map(|rate| (rate * 1000.0).round() as u32),
        from_file: false,
    })
}

/// The document that says this policy; without a member if there is none.
pub(crate) fn document(
    policy: Option<&jq_engine::Policy<TubeName>>,
    source: PolicySource,
) -> Policy {
    let Some(policy) = policy else {
        // A file may say that nothing is set.
        let source = Some(source).filter(|source| *source == PolicySource::File);
        return Policy { source, ..Policy::default() };
    };
    let jq_engine::Policy {
        max_jobs,
        max_bytes,
        max_reserves,
        max_timeouts,
        max_disconnects,
        ref dead_letter,
        expires,
        unique,
        default_ttr,
        reserve_rate,
        // It may be that of a file that is not used any more.
        from_file: _,
    } = *policy;
    Policy {
        max_jobs,
        max_bytes,
        max_reserves,
        max_timeouts,
        max_disconnects,
        dead_letter: dead_letter.as_ref().map(|name| name.as_str().to_owned()),
        expires,
        unique,
        default_ttr,
        reserve_rate: reserve_rate.map(|rate| f64::from(rate) / 1000.0),
        source: Some(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_the_same_after_a_document() {
        let tube = TubeName::default_tube();
        for rate in [1, 2500, 333, 4_294_967_000] {
            let policy = jq_engine::Policy {
                max_jobs: Some(u64::MAX),
                max_bytes: Some(1),
                max_reserves: Some(2),
                max_timeouts: Some(u32::MAX),
                max_disconnects: Some(3),
                dead_letter: Some(TubeName::new(b"dead").unwrap()),
                expires: Some(4),
                unique: true,
                default_ttr: Some(5),
                reserve_rate: Some(rate),
                from_file: false,
            };
            for source in [PolicySource::File, PolicySource::Api] {
                let document = document(Some(&policy), source);
                assert_eq!(document.source, Some(source));
                assert_eq!(checked(&tube, &document).as_ref(), Ok(&policy));
            }
        }
        assert_eq!(document(None, PolicySource::Api), Policy::default());
    }
}
