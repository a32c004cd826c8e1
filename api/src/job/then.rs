//! Jobs that are queued when a job is successful, and what is filled in of it.
//!
//! A template is checked when the job is read, so that a mistake shows before hours of computing. What depends on
//! the output can only be told when that is there.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

use super::{Job, JobType};

/// Most jobs that follow a job, those that follow them included.
pub const MAX_THEN: usize = 20;

/// How deep they can be nested: a job, those that follow it, and so on.
pub const MAX_THEN_DEPTH: usize = 5;

/// A job that is queued when another is successful.
#[derive(Debug, Clone, PartialEq)]
pub struct Follower {
    /// Where it is queued. `None`: in the tube of the job that it follows.
    pub tube: Option<String>,
    /// Its members, with what is to be filled in.
    template: Map<String, Value>,
}

/// One that is ready to be queued.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Following {
    /// See [`Follower::tube`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tube: Option<String>,
    /// Its body.
    pub job: Box<RawValue>,
}

/// What of a job can be filled in.
#[derive(Clone, Copy)]
pub struct Filling<'a> {
    /// The job's.
    pub id: Uuid,
    /// When it was over.
    pub finished: Timestamp,
    /// Its output.
    pub output: Option<&'a RawValue>,
    /// The URL of an artifact. `Err`: why there is none.
    pub artifact: &'a dyn Fn(&str) -> Result<String, String>,
}

/// A text within braces that refers to something of the job before.
#[derive(Debug, PartialEq, Eq)]
enum Reference<'a> {
    Id,
    /// A member of the output, by the names on the way to it.
    Output(Vec<&'a str>),
    Artifact(&'a str),
}

const BEGIN: &str = "{{";
const END: &str = "}}";

/// Reads the member `then`.
pub(super) fn followers(then: Option<Value>) -> Result<Vec<Follower>, String> {
    let mut left = MAX_THEN;
    level("then", then.unwrap_or_default(), MAX_THEN_DEPTH, &mut left)
}

fn level(path: &str, then: Value, depth: usize, left: &mut usize) -> Result<Vec<Follower>, String> {
    let jobs = match then {
        Value::Null => return Ok(Vec::new()),
        Value::Array(jobs) => jobs,
        // One job need not be in a list.
        Value::Object(job) => vec![Value::Object(job)],
        _ => return Err(format!("{path:?} must be a job, or a list of jobs")),
    };
    if depth == 0 && !jobs.is_empty() {
        return Err(format!(
            "{path:?} is nested too deep: expected at most {MAX_THEN_DEPTH} levels"
        ));
    }
    let followers = jobs.into_iter().enumerate().map(|(index, job)| {
        let path = format!("{path}[{index}]");
        *left = left.checked_sub(1).ok_or_else(|| {
            format!("{path:?} is one job too many: expected at most {MAX_THEN} in all of \"then\"")
        })?;
        follower(&path, job, depth, left)
    });
    followers.collect()
}

fn follower(path: &str, job: Value, depth: usize, left: &mut usize) -> Result<Follower, String> {
    let Value::Object(mut template) = job else {
        return Err(format!("{path:?} must be a job: an object with a \"type\""));
    };
    let tube = match template.remove("tube") {
        None => None,
        Some(Value::String(tube)) => Some(tube),
        Some(_) => return Err(format!("\"{path}.tube\" must be the name of a tube")),
    };
    for (name, other) in [("id", &["uuid", "jid"][..]), ("type", &["jobtype"])] {
        if let Some(other) = other.iter().find(|other| template.contains_key(**other)) {
            return Err(format!("\"{path}.{other}\" must be called {name:?} here"));
        }
    }
    let kind = template.get("type").and_then(Value::as_str);
    let kind =
        kind.ok_or_else(|| format!("\"{path}.type\" is missing: expected the name of a type"))?;
    kind.parse::<JobType>().map_err(|error| format!("\"{path}.type\": {error}"))?;
    if let Some(id) = template.get("id") {
        let is_one = id.as_str().is_some_and(|id| Uuid::try_parse(id).is_ok());
        if !is_one {
            return Err(format!("\"{path}.id\" must be a UUID, or left out"));
        }
    }
    for (name, value) in &template {
        let path = format!("{path}.{name}");
        if name == "then" {
            level(&path, value.clone(), depth - 1, left)?;
        } else {
            check(&path, value)?;
        }
    }
    Ok(Follower { tube, template })
}

/// Whether all that is within braces refers to something that there can be.
fn check(path: &str, value: &Value) -> Result<(), String> {
    match value {
        Value::String(text) => pieces(text).try_for_each(|piece| match piece {
            Piece::Reference(inner) => {
                Reference::of(inner).map(drop).map_err(|why| format!("{path:?}: {why}"))
            }
            Piece::Text(_) => Ok(()),
        }),
        Value::Array(values) => {
            let mut values = values.iter().enumerate();
            values.try_for_each(|(index, value)| check(&format!("{path}[{index}]"), value))
        }
        Value::Object(members) => members
            .iter()
            .try_for_each(|(name, value)| check(&format!("{path}.{}", short(name)), value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

fn short(text: &str) -> String {
    text.chars().take(100).collect()
}

enum Piece<'a> {
    Text(&'a str),
    /// What is within the braces.
    Reference(&'a str),
}

/// A text, cut where references begin and end. Braces that are not closed are text.
fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let found = rest.find(BEGIN).and_then(|at| {
            let inner = &rest[at + BEGIN.len()..];
            inner.find(END).map(|end| (at, &inner[..end], &inner[end + END.len()..]))
        });
        Some(match found {
            Some((0, inner, behind)) => {
                rest = behind;
                Piece::Reference(inner)
            }
            Some((at, ..)) => {
                let text = &rest[..at];
                rest = &rest[at..];
                Piece::Text(text)
            }
            None => Piece::Text(std::mem::take(&mut rest)),
        })
    })
}

impl<'a> Reference<'a> {
    fn of(inner: &'a str) -> Result<Self, String> {
        let name = inner.trim();
        let unknown = || {
            let name = short(name);
            format!(
                "{{{{{name}}}}} refers to nothing: expected {{{{id}}}}, {{{{output}}}}, \
                 {{{{output.MEMBER}}}} or {{{{artifacts.NAME}}}}"
            )
        };
        if name == "id" {
            return Ok(Self::Id);
        }
        if name == "output" {
            return Ok(Self::Output(Vec::new()));
        }
        if let Some(path) = name.strip_prefix("output.") {
            let names: Vec<&str> = path.split('.').collect();
            return if names.contains(&"") { Err(unknown()) } else { Ok(Self::Output(names)) };
        }
        let artifact = name.strip_prefix("artifacts.").filter(|name| !name.is_empty());
        artifact.map(Self::Artifact).ok_or_else(unknown)
    }

    fn value(&self, filling: Filling<'_>, output: Option<&Value>) -> Result<Value, String> {
        match self {
            Self::Id => Ok(filling.id.to_string().into()),
            Self::Output(names) => {
                let mut value = output.ok_or("there is no output")?;
                for name in names {
                    let next = match value {
                        Value::Object(members) => members.get(*name),
                        Value::Array(values) => {
                            name.parse().ok().and_then(|at: usize| values.get(at))
                        }
                        _ => None,
                    };
                    value = next.ok_or_else(|| format!("the output has no {}", names.join(".")))?;
                }
                Ok(value.clone())
            }
            Self::Artifact(name) => (filling.artifact)(name).map(Value::from),
        }
    }
}

impl Follower {
    /// Its members as JSON, in a fixed order.
    pub(super) fn text(&self) -> String {
        Value::Object(self.template.clone()).to_string()
    }

    /// The job, with what it gets from the one before. `index`: which of the jobs that follow it is.
    ///
    /// Without an id, it gets one that follows from the job before, the index and all of its members. So it has the
    /// same id if it is queued again because a worker has died in between, and another one if the job before is run
    /// again with another output.
    ///
    /// # Errors
    ///
    /// What it refers to is not there, or the result is no job.
    pub fn fill(&self, index: usize, filling: Filling<'_>) -> Result<Following, String> {
        let output = filling.output.map(|raw| serde_json::from_str::<Value>(raw.get()));
        let output = output.transpose().map_err(|error| format!("the output: {error}"))?;
        let mut job = Map::new();
        for (name, value) in &self.template {
            // What follows this job gets its own.
            let filled = match name.as_str() {
                "then" => value.clone(),
                _ => fill(value, filling, output.as_ref())?,
            };
            job.insert(name.clone(), filled);
        }
        if !job.contains_key("id") {
            let members = Value::Object(job.clone()).to_string();
            job.insert("id".to_owned(), derived_id(filling.id, index, &members).to_string().into());
        }
        let created = || format!("{:.3}", filling.finished).into();
        job.entry("created_at").or_insert_with(created);
        let job = serde_json::value::to_raw_value(&job).map_err(|error| error.to_string())?;
        match Job::parse(job.get().as_bytes()) {
            Ok(_) => Ok(Following { tube: self.tube.clone(), job }),
            Err(bad) => Err(bad.reason),
        }
    }
}

fn fill(value: &Value, filling: Filling<'_>, output: Option<&Value>) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => fill_text(text, filling, output)?,
        Value::Array(values) => {
            let filled = values.iter().map(|value| fill(value, filling, output));
            Value::Array(filled.collect::<Result<_, _>>()?)
        }
        Value::Object(members) => {
            let filled = members
                .iter()
                .map(|(name, value)| Ok((name.clone(), fill(value, filling, output)?)));
            Value::Object(filled.collect::<Result<_, String>>()?)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    })
}

/// A text that is nothing but one reference becomes what it refers to, whatever that is.
fn fill_text(text: &str, filling: Filling<'_>, output: Option<&Value>) -> Result<Value, String> {
    let of = |inner| Reference::of(inner)?.value(filling, output);
    let mut filled = String::new();
    let mut pieces = pieces(text).peekable();
    if let Some(Piece::Reference(inner)) = pieces.peek() {
        let value = of(inner)?;
        pieces.next();
        if pieces.peek().is_none() {
            return Ok(value);
        }
        filled = as_text(value);
    }
    for piece in pieces {
        match piece {
            Piece::Text(text) => filled.push_str(text),
            Piece::Reference(inner) => filled.push_str(&as_text(of(inner)?)),
        }
    }
    Ok(filled.into())
}

fn as_text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// Of version 8 (RFC 9562): a digest of what it stands for.
fn derived_id(before: Uuid, index: usize, members: &str) -> Uuid {
    let mut hasher = Sha256::new();
    hasher.update(before.as_bytes());
    hasher.update((index as u64).to_le_bytes());
    hasher.update(members);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hasher.finalize()[..16]);
    Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PARENT: &str = "13775310-8f59-412e-aa2c-549a20077664";

    fn job(then: &Value) -> Result<Job, String> {
        let body = json!({"id": PARENT, "type": "first", "then": then}).to_string();
        Job::parse(body.as_bytes()).map_err(|bad| bad.reason)
    }

    fn filled(then: &Value, output: &Value) -> Result<Value, String> {
        let job = job(then)?;
        let output = serde_json::value::to_raw_value(output).unwrap();
        let artifact = |name: &str| match name {
            "a/plot.png" => Ok("https://w.example/a/plot.png".to_owned()),
            _ => Err(format!("there is no artifact {name}")),
        };
        let filling = Filling {
            id: job.id,
            finished: "2026-12-01T00:00:00Z".parse().unwrap(),
            output: Some(&output),
            artifact: &artifact,
        };
        let following = job.then[0].fill(0, filling)?;
        Ok(serde_json::from_str(following.job.get()).unwrap())
    }

    #[test]
    fn what_it_refers_to_is_filled_in() {
        let output = json!({"n": 3, "list": [{"x": "y"}], "text": "t"});
        let args = json!({
            "whole": "{{output}}", "number": "{{ output.n }}", "deep": "{{output.list.0.x}}",
            "text": "{{output.n}} of {{output.text}}, {{id}}", "url": "{{artifacts.a/plot.png}}",
            "not closed": "{{output", "plain": [1.5, null, true, {"a": "{{output.n}}"}],
        });
        let job = filled(&json!([{"type": "next", "args": args}]), &output).unwrap();
        assert_eq!(
            job["args"],
            json!({
                "whole": output, "number": 3, "deep": "y", "text": format!("3 of t, {PARENT}"),
                "url": "https://w.example/a/plot.png", "not closed": "{{output",
                "plain": [1.5, null, true, {"a": 3}],
            })
        );
        assert_eq!(job["created_at"], "2026-12-01T00:00:00.000Z");
    }

    #[test]
    fn ids_follow_from_what_is_queued() {
        let then = json!({"type": "next", "args": "{{output}}"});
        let id = |output: &Value| filled(&then, output).unwrap()["id"].clone();
        assert_eq!(id(&json!(1)), id(&json!(1)));
        assert_ne!(id(&json!(1)), id(&json!(2)));
        let uuid: Uuid = id(&json!(1)).as_str().unwrap().parse().unwrap();
        assert_eq!(uuid.get_version_num(), 8);
        let own = json!({"type": "next", "id": "23775310-8f59-412e-aa2c-549a20077664"});
        assert_eq!(filled(&own, &json!(1)).unwrap()["id"], own["id"]);
    }

    #[test]
    fn a_chain_is_filled_in_job_by_job() {
        let then = json!({"type": "b", "args": "{{output}}",
                          "then": {"type": "c", "args": "{{output}}"}});
        let second = filled(&then, &json!(7)).unwrap();
        assert_eq!((&second["args"], &second["then"]["args"]), (&json!(7), &json!("{{output}}")));
    }

    #[test]
    fn what_is_not_there_is_told() {
        for (args, why) in [
            ("{{output.no}}", "the output has no no"),
            ("{{output.n.deeper}}", "the output has no n.deeper"),
            ("x{{artifacts.none}}", "there is no artifact none"),
        ] {
            let told = filled(&json!({"type": "next", "args": args}), &json!({"n": 1}));
            assert_eq!(told.unwrap_err(), why);
        }
        let told = filled(&json!({"type": "next", "timeout": "{{output}}"}), &json!("soon"));
        assert!(told.unwrap_err().contains("not a job"));
    }

    #[test]
    fn mistakes_name_the_member() {
        let deep =
            (0..=MAX_THEN_DEPTH).fold(json!([]), |then, _| json!({"type": "x", "then": then}));
        for (then, why) in [
            (json!(5), "\"then\" must be a job, or a list of jobs"),
            (json!([5]), "\"then[0]\" must be a job: an object with a \"type\""),
            (json!([{"type": "a"}, {"args": 1}]), "\"then[1].type\" is missing"),
            (json!([{"type": "a/b"}]), "\"then[0].type\": \"a/b\" is not a job type"),
            (json!([{"jobtype": "a"}]), "\"then[0].jobtype\" must be called \"type\" here"),
            (json!([{"type": "a", "id": "{{id}}"}]), "\"then[0].id\" must be a UUID"),
            (json!([{"type": "a", "tube": 5}]), "\"then[0].tube\" must be the name of a tube"),
            (
                json!([{"type": "a", "args": [{"b": "{{putout}}"}]}]),
                "\"then[0].args[0].b\": {{putout}} refers",
            ),
            (json!([{"type": "a", "args": "{{output.}}"}]), "{{output.}} refers to nothing"),
            (json!([{"type": "a", "args": "{{artifacts.}}"}]), "{{artifacts.}} refers to nothing"),
            (
                json!([{"type": "a", "then": [{"type": "b", "args": "{{x}}"}]}]),
                "\"then[0].then[0].args\"",
            ),
            (deep, "is nested too deep: expected at most 5 levels"),
            (vec![json!({"type": "a"}); MAX_THEN + 1].into(), "\"then[20]\" is one job too many"),
        ] {
            let told = job(&then).map(drop).unwrap_err();
            assert!(told.contains(why), "{told} does not say {why}");
        }
        assert!(job(&json!(null)).unwrap().then.is_empty());
    }
}
