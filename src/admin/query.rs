//! The parameters of a request's query, each checked, and none ignored.

use std::fmt;
use std::ops::RangeInclusive;

use jq_api::server::{HistoryQuery, JobQuery, PageQuery, ProblemKind, PutQuery, TubeQuery};
use jq_api::text::escaped;
use percent_encoding::percent_decode;
use serde::de::DeserializeOwned;
use serde::de::value::{Error, StrDeserializer};

use crate::admin::answer::Failure;
use crate::observe::{COARSE, FINE};

/// What is shown of a value that is wrong, in bytes.
const SHOWN: usize = 100;

/// The parameters of a query, by name.
#[derive(Debug)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// Decodes a query. Each parameter may be given once.
    pub(crate) fn parse(query: &str) -> Result<Self, Failure> {
        let mut params: Vec<(String, String)> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decoded(name).map_err(|shown| not_utf8("query", &shown))?;
            let value = decoded(value).map_err(|shown| not_utf8(&name, &shown).of(name.clone()))?;
            if params.iter().any(|(other, _)| *other == name) {
                return Err(Failure::field(name.clone(), format!("{name} was given twice")));
            }
            params.push((name, value));
        }
        Ok(Self(params))
    }

    /// Takes a parameter.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(other, _)| other == name)?;
        Some(self.0.remove(at).1)
    }

    /// Takes a text of at most this many bytes.
    fn text(&mut self, name: &'static str, most: usize) -> Result<Option<String>, Failure> {
        let Some(text) = self.take(name) else { return Ok(None) };
        if text.len() > most {
            return Err(wrong(name, &format!("at most {most} bytes"), &text));
        }
        Ok(Some(text))
    }

    /// Takes a whole number within a range.
    fn number(
        &mut self,
        name: &'static str,
        range: RangeInclusive<u32>,
    ) -> Result<Option<u32>, Failure> {
        let Some(text) = self.take(name) else { return Ok(None) };
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| digits && range.contains(number));
        let expected = || format!("a whole number from {} to {}", range.start(), range.end());
        number.map(Some).ok_or_else(|| wrong(name, &expected(), &text))
    }

    /// Takes one of the words of a type.
    fn word<T: DeserializeOwned>(&mut self, name: &'static str) -> Result<Option<T>, Failure> {
        let Some(text) = self.take(name) else { return Ok(None) };
        let word = T::deserialize(StrDeserializer::<Error>::new(&text));
        word.map(Some).map_err(|error| Failure::field(name, format!("{name}: {error}")))
    }

    /// There may be no others.
    fn end(self, expected: &[&str]) -> Result<(), Failure> {
        let Some((name, _)) = self.0.into_iter().next() else { return Ok(()) };
        let shown = escaped(&name, SHOWN);
        let detail = match expected {
            [] => format!("there is no parameter {shown}: expected none"),
            _ => format!("there is no parameter {shown}: expected {}", expected.join(", ")),
        };
        Err(Failure::field(shown, detail))
    }
}

/// The value of a parameter is not what was expected.
fn wrong(name: &'static str, expected: &str, text: &str) -> Failure {
    Failure::field(name, format!("{name}: expected {expected}, not \"{}\"", escaped(text, SHOWN)))
}

fn not_utf8(name: &str, shown: &str) -> Failure {
    let detail = format!("{}: expected UTF-8, not \"{shown}\"", escaped(name, SHOWN));
    Failure::new(ProblemKind::BadRequest, detail)
}

/// Decodes a name or a value; if it is not UTF-8, returns what is shown of it.
fn decoded(text: &str) -> Result<String, String> {
    let spaced = text.replace('+', " ");
    let decoded = percent_decode(spaced.as_bytes()).decode_utf8();
    decoded.map(String::from).map_err(|_| escaped(text, SHOWN))
}

/// A query that is read from parameters.
pub(crate) trait FromParams: fmt::Debug + Sized {
    /// Reads and checks it.
    fn from_params(params: Params) -> Result<Self, Failure>;
}

/// The most items of a page.
fn limit(params: &mut Params) -> Result<Option<u32>, Failure> {
    params.number("limit", 1..=PageQuery::MAX_LIMIT)
}

/// No parameter at all.
#[derive(Debug)]
pub(crate) struct Nothing;

impl FromParams for Nothing {
    fn from_params(params: Params) -> Result<Self, Failure> {
        params.end(&[]).map(|()| Self)
    }
}

impl FromParams for PageQuery {
    fn from_params(mut params: Params) -> Result<Self, Failure> {
        let query = Self { cursor: params.take("cursor"), limit: limit(&mut params)? };
        params.end(&["cursor", "limit"]).map(|()| query)
    }
}

impl FromParams for TubeQuery {
    fn from_params(mut params: Params) -> Result<Self, Failure> {
        let query = Self {
            name: params.text("name", 200)?,
            sort: params.word("sort")?,
            cursor: params.take("cursor"),
            limit: limit(&mut params)?,
        };
        params.end(&["name", "sort", "cursor", "limit"]).map(|()| query)
    }
}

impl FromParams for JobQuery {
    fn from_params(mut params: Params) -> Result<Self, Failure> {
        let query = Self {
            state: params.word("state")?,
            cursor: params.take("cursor"),
            limit: limit(&mut params)?,
        };
        params.end(&["state", "cursor", "limit"]).map(|()| query)
    }
}

impl FromParams for PutQuery {
    fn from_params(mut params: Params) -> Result<Self, Failure> {
        let query = Self {
            priority: params.number("priority", 0..=u32::MAX)?,
            delay: params.number("delay", 0..=u32::MAX)?,
            ttr: params.number("ttr", 0..=u32::MAX)?,
        };
        params.end(&["priority", "delay", "ttr"]).map(|()| query)
    }
}

impl FromParams for HistoryQuery {
    fn from_params(mut params: Params) -> Result<Self, Failure> {
        let step = params.number("step", 5..=60)?;
        if let Some(step) = step.filter(|step| ![FINE, COARSE].contains(step)) {
            return Err(wrong("step", "5 or 60", &step.to_string()));
        }
        let query = Self { tube: params.text("tube", 200)?, step };
        params.end(&["tube", "step"]).map(|()| query)
    }
}

#[cfg(test)]
mod tests {
    use jq_api::server::{JobState, TubeSort};

    use super::*;

    fn parse<T: FromParams>(query: &str) -> Result<T, Failure> {
        Params::parse(query).and_then(T::from_params)
    }

    #[test]
    fn parameters_that_are_right() {
        let query: TubeQuery =
            parse("name=a%2Fb+c%c3%a9&sort=total_jobs&limit=1000&cursor=x&").unwrap();
        assert_eq!(query.name.as_deref(), Some("a/b c\u{e9}"));
        assert_eq!((query.sort, query.limit), (Some(TubeSort::TotalJobs), Some(1000)));
        let query: JobQuery = parse("state=buried").unwrap();
        assert_eq!(query, JobQuery { state: Some(JobState::Buried), ..JobQuery::default() });
        assert_eq!(parse::<PageQuery>("").unwrap(), PageQuery::default());
        let query: PutQuery = parse("priority=0&delay=4294967295&ttr=007").unwrap();
        assert_eq!((query.priority, query.delay, query.ttr), (Some(0), Some(u32::MAX), Some(7)));
        assert_eq!(parse::<HistoryQuery>("step=60").unwrap().step, Some(60));
    }

    #[test]
    fn each_mistake_names_the_parameter_and_what_was_expected() {
        let mistakes: [(Result<(), Failure>, &str, &str); 15] = [
            (parse::<PageQuery>("limit=0").map(drop), "limit", "from 1 to 1000, not \"0\""),
            (parse::<PageQuery>("limit=1001").map(drop), "limit", "1001"),
            (parse::<PageQuery>("limit=").map(drop), "limit", "not \"\""),
            (parse::<PageQuery>("limit=%2b5").map(drop), "limit", "not \"+5\""),
            (parse::<PageQuery>("limit=-1").map(drop), "limit", "not \"-1\""),
            (parse::<PageQuery>("limit=1&limit=2").map(drop), "limit", "twice"),
            (parse::<PageQuery>("limit=%ff").map(drop), "limit", "UTF-8"),
            (parse::<PageQuery>("li%1bmit=1").map(drop), "li\\u{1b}mit", "cursor, limit"),
            (parse::<Nothing>("x").map(drop), "x", "expected none"),
            (parse::<TubeQuery>("sort=size").map(drop), "sort", "`oldest_ready`"),
            (parse::<JobQuery>("state=Ready").map(drop), "state", "`ready`"),
            (
                parse::<TubeQuery>(&format!("name={}", "a".repeat(201))).map(drop),
                "name",
                "at most 200 bytes",
            ),
            (parse::<PutQuery>("ttr=4294967296").map(drop), "ttr", "to 4294967295"),
            (parse::<HistoryQuery>("step=7").map(drop), "step", "5 or 60"),
            (parse::<HistoryQuery>("step=61").map(drop), "step", "from 5 to 60"),
        ];
        for (result, field, text) in mistakes {
            let failure = format!("{:?}", result.unwrap_err());
            let named = format!("field: Some({field:?})");
            assert!(
                failure.contains(&named) && failure.contains(&text.replace('"', "\\\"")),
                "{failure}"
            );
        }
    }
}
