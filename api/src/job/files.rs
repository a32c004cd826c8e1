//! Files of a job by their names: further inputs, and artifacts that are to be sent.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::wire::url;
use super::{Input, MAX_FILES, MAX_INPUT_NAME, Method, Target};
use crate::artifact::{ArtifactName, BadName};

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "each of \"inputs\" must be a URL, or an object with \"url\" and \"digest\""
)]
pub(super) enum WireFile {
    Url(String),
    Whole { url: String, digest: Option<String> },
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "each of \"artifacts\" must be a URL, or an object with \"url\" and \"method\": \"PUT\" \
                 or \"POST\""
)]
pub(super) enum WireArtifact {
    Url(String),
    Whole { url: String, method: Option<Method> },
}

/// By their names, which are those of files in one directory.
pub(super) fn inputs(
    wire: Option<BTreeMap<String, WireFile>>,
) -> Result<BTreeMap<String, Input>, String> {
    let wire = few("inputs", wire)?;
    let files = wire.into_iter().map(|(name, file)| {
        let path = shown("inputs", &name);
        if let Err(why) = input_name(&name) {
            return Err(format!("{path:?}: {why}"));
        }
        let (text, digest) = match file {
            WireFile::Url(url) => (url, None),
            WireFile::Whole { url, digest } => (url, digest),
        };
        Ok((name, Input { url: url(&path, &text)?, digest }))
    });
    files.collect()
}

/// By the names that they have in a result.
pub(super) fn artifacts(
    wire: Option<BTreeMap<String, WireArtifact>>,
) -> Result<BTreeMap<ArtifactName, Target>, String> {
    let wire = few("artifacts", wire)?;
    let targets = wire.into_iter().map(|(name, artifact)| {
        let path = shown("artifacts", &name);
        let (text, method) = match artifact {
            WireArtifact::Url(url) => (url, None),
            WireArtifact::Whole { url, method } => (url, method),
        };
        let name = name.parse().map_err(|why: BadName| format!("{path:?}: {why}"))?;
        Ok((name, Target { url: url(&path, &text)?, method: method.unwrap_or_default() }))
    });
    targets.collect()
}

fn few<T>(member: &str, wire: Option<BTreeMap<String, T>>) -> Result<BTreeMap<String, T>, String> {
    let wire = wire.unwrap_or_default();
    if wire.len() > MAX_FILES {
        return Err(format!("{member:?} has {} names: expected at most {MAX_FILES}", wire.len()));
    }
    Ok(wire)
}

/// A member of such an object, in messages.
fn shown(member: &str, name: &str) -> String {
    let name: String = name.chars().take(100).collect();
    format!("{member}.{name}")
}

fn input_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > MAX_INPUT_NAME {
        return Err(format!("expected a name of 1 to {MAX_INPUT_NAME} bytes"));
    }
    let is_plain = |it: char| !it.is_control() && it != '/' && it != '\\';
    if matches!(name, "." | "..") || !name.chars().all(is_plain) {
        return Err("expected the name of a file: neither \".\" nor \"..\", without slashes, \
                    backslashes and control characters"
            .to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Job;
    use super::*;

    const ID: &str = "13775310-8f59-412e-aa2c-549a20077664";

    fn job(members: &str) -> Result<Job, String> {
        let body = format!(r#"{{"id":"{ID}","type":"t",{members}}}"#);
        Job::parse(body.as_bytes()).map_err(|bad| bad.reason)
    }

    #[test]
    fn both_forms() {
        let job = job(concat!(
            r#""inputs":{"map":"http://h/m","table.csv":{"url":"http://h/t","digest":"sha-256=:x:"},"#,
            r#""log":"http://h/l"},"#,
            r#""artifacts":{"a/plot.png":"http://h/p","x":{"url":"http://h/x","method":"POST"}}"#,
        ))
        .unwrap();
        let inputs: Vec<_> = job.inputs.iter().map(|(name, it)| (&**name, it.url.path())).collect();
        assert_eq!(inputs, [("log", "/l"), ("map", "/m"), ("table.csv", "/t")]);
        assert_eq!(job.inputs["table.csv"].digest.as_deref(), Some("sha-256=:x:"));
        let sent: Vec<_> = job.artifacts.iter().map(|(it, to)| (it.as_str(), to.method)).collect();
        assert_eq!(sent, [("a/plot.png", Method::Put), ("x", Method::Post)]);
        let document = String::from_utf8(job.document(1, None)).unwrap();
        let expected = concat!(
            r#""inputs":{"log":{"url":"http://h/l"},"map":{"url":"http://h/m"},"#,
            r#""table.csv":{"url":"http://h/t","digest":"sha-256=:x:"}}"#,
        );
        assert!(document.contains(expected) && !document.contains("artifacts"), "{document}");
    }

    #[test]
    fn wrong_members_are_named() {
        let many: Vec<_> = (0..=MAX_FILES).map(|it| format!(r#""{it}":"http://h/"#)).collect();
        let long = format!(r#""inputs":{{"{}":"http://h/"}}"#, "a".repeat(MAX_INPUT_NAME + 1));
        for (members, expected) in [
            (r#""inputs":{"a/b":"http://h/"}"#, r#""inputs.a/b": expected the name of a file"#),
            (r#""inputs":{"..":"http://h/"}"#, r#""inputs...": expected the name of a file"#),
            (r#""inputs":{"a\nb":"http://h/"}"#, r#""inputs.a\nb": expected the name of a file"#),
            (r#""inputs":{"":"http://h/"}"#, "expected a name of 1 to 255 bytes"),
            (&*long, "expected a name of 1 to 255 bytes"),
            (r#""inputs":{"a":"file:///x"}"#, r#""inputs.a" has the scheme "file""#),
            (r#""inputs":{"a":7}"#, r#"each of "inputs" must be a URL"#),
            (&*format!(r#""inputs":{{{}"}}"#, many.join("\",")), "\"inputs\" has 101 names"),
            (r#""artifacts":{"/a":"http://h/"}"#, r#""artifacts./a": expected a relative path"#),
            (r#""artifacts":{"a/../b":"http://h/"}"#, "expected a relative path"),
            (r#""artifacts":{"a\u0000":"http://h/"}"#, "expected neither control characters"),
            (r#""artifacts":{"log":"http://h/"}"#, "have a meaning of their own"),
            (r#""artifacts":{"a":"nowhere"}"#, r#""artifacts.a" is "nowhere""#),
            (r#""artifacts":["a"]"#, "the body is not a job"),
        ] {
            let why = job(members).unwrap_err();
            assert!(why.contains(expected), "{members}: {why}");
        }
    }

    #[test]
    fn they_belong_to_what_a_job_asks_for() {
        let digest = |members: &str| job(members).unwrap().digest();
        let plain = digest(r#""args":1"#);
        assert_eq!(digest(r#""args":1,"inputs":{},"artifacts":{}"#), plain);
        let all = [
            plain,
            digest(r#""args":1,"inputs":{"a":"http://h/a"}"#),
            digest(r#""args":1,"inputs":{"a":"http://h/b"}"#),
            digest(r#""args":1,"inputs":{"a":{"url":"http://h/a","digest":"x"}}"#),
            digest(r#""args":1,"artifacts":{"a":"http://h/a"}"#),
            digest(r#""args":1,"artifacts":{"a":{"url":"http://h/a","method":"POST"}}"#),
        ];
        for (at, digest) in all.iter().enumerate() {
            assert!(!all[..at].contains(digest), "{at}");
        }
    }
}
