//! Valid and invalid jobs, and what the process reads.

use super::*;

const ID: &str = "13775310-8f59-412e-aa2c-549a20077664";

fn with(members: &str) -> String {
    format!(r#"{{"id":"{ID}","type":"sailor"{members}}}"#)
}

fn refused(body: &str) -> Box<BadJob> {
    Job::parse(body.as_bytes()).expect_err(body)
}

#[test]
fn the_whole_of_it() {
    let job = Job::parse(
        with(
            r#","input":{"url":"https://site.example/in/42.json","digest":"sha-256=:YQ==:"},
            "result":{"url":"https://site.example/results/42","method":"POST"},
            "args":{"steps":100},"created_at":"2026-11-22T12:00:00Z",
            "expires_at":"2026-11-23T00:00:00+01:00","timeout":600,"retry":5,
            "callback":{"successUri":"https://a.example/s","failedUri":"https://a.example/f"},
            "custom":{"trace":"x"},"unknown":[1]"#,
        )
        .as_bytes(),
    )
    .unwrap();
    assert_eq!(job.id.to_string(), ID);
    assert_eq!(job.kind.as_str(), "sailor");
    let input = job.input.unwrap();
    assert_eq!(input.url.as_str(), "https://site.example/in/42.json");
    assert_eq!(input.digest.as_deref(), Some("sha-256=:YQ==:"));
    assert_eq!(job.result.unwrap().method, Method::Post);
    assert_eq!(job.args.unwrap().get(), r#"{"steps":100}"#);
    assert_eq!(job.expires_at.unwrap().to_string(), "2026-11-22T23:00:00Z");
    assert_eq!(job.timeout, Some(Duration::from_secs(600)));
    assert_eq!(job.retry, Some(5));
    assert_eq!(job.callback.success.unwrap().as_str(), "https://a.example/s");
    assert_eq!(job.callback.failed.unwrap().as_str(), "https://a.example/f");
    assert_eq!(job.custom.unwrap().get(), r#"{"trace":"x"}"#);
}

#[test]
fn the_least_of_it() {
    let job = Job::parse(with("").as_bytes()).unwrap();
    assert!(job.input.is_none() && job.result.is_none() && job.args.is_none());
    assert_eq!((job.timeout, job.retry), (None, None));
    let nulls = with(r#","input":null,"result":null,"timeout":null,"callback":null"#);
    assert!(Job::parse(nulls.as_bytes()).unwrap().result.is_none());
}

#[test]
fn older_names_and_the_older_form() {
    for body in [
        format!(r#"{{"uuid":"{ID}","jobtype":"sailor","args":{{"steps":1}}}}"#),
        format!(r#" {{"jid":"{ID}","type":"sailor","args":{{"steps":1}}}}"#),
        format!(r#"[{{"uuid":"{ID}","type":"sailor"}},{{"steps":1}}]"#),
        format!(r#"[{{"uuid":"{ID}","type":"sailor","args":{{"steps":1}}}}]"#),
    ] {
        let job = Job::parse(body.as_bytes()).expect(&body);
        assert_eq!((job.id.to_string(), job.kind.as_str()), (ID.to_owned(), "sailor"));
        assert_eq!(job.args.unwrap().get(), r#"{"steps":1}"#);
    }
}

#[test]
fn what_is_wrong_is_named() {
    for (body, reason) in [
        (String::new(), "not JSON"),
        ("hello".into(), "not JSON"),
        ("7".into(), "a number: expected a JSON object"),
        ("\"x\"".into(), "a string: expected a JSON object"),
        ("[]".into(), "an array of 0 elements"),
        ("[1,2,3]".into(), "an array of 3 elements"),
        ("{}".into(), "missing field `id`"),
        (format!(r#"{{"id":"{ID}"}}"#), "missing field `type`"),
        (r#"{"id":"../../etc/passwd","type":"x"}"#.into(), "expected a UUID"),
        (r#"{"id":7,"type":"x"}"#.into(), "expected a string"),
        (format!(r#"{{"id":"{ID}","uuid":"{ID}","type":"x"}}"#), "duplicate field"),
        (format!(r#"{{"id":"{ID}","type":"../x"}}"#), "not a job type"),
        (format!(r#"{{"id":"{ID}","type":"a/b"}}"#), "not a job type"),
        (format!(r#"{{"id":"{ID}","type":"-rf"}}"#), "not a job type"),
        (format!(r#"{{"id":"{ID}","type":""}}"#), "not a job type"),
        (with(r#","input":7"#), "\"input\" must be a URL"),
        (with(r#","input":"42.json""#), "not an absolute URL"),
        (with(r#","input":"file:///etc/passwd""#), "expected http or https"),
        (with(r#","result":{"url":"https://x.example/","method":"GET"}"#), "\"PUT\" or \"POST\""),
        (with(r#","result":"//x.example/""#), "not an absolute URL"),
        (with(r#","timeout":0"#), "1 to 7776000 seconds"),
        (with(r#","timeout":"600""#), "expected a whole number"),
        (with(r#","timeout":60.5"#), "expected a whole number"),
        (with(r#","timeout":1e300"#), "expected a whole number"),
        (with(r#","retry":-1"#), "expected a whole number"),
        (with(r#","retry":1001"#), "0 to 1000"),
        (with(r#","expires_at":"tomorrow""#), "\"expires_at\" is \"tomorrow\""),
        (with(r#","expires_at":"2026-11-22""#), "\"expires_at\" is \"2026-11-22\""),
        (with(r#","args":{"a":NaN}"#), "NaN at line 1"),
        (with(r#","callback":{"failedUri":"mailto:me"}"#), "callback.failedUri"),
        (format!(r#"[{{"id":"{ID}","type":"x","args":1}},2]"#), "\"args\" is given twice"),
    ] {
        let refusal = refused(&body);
        assert!(refusal.reason.contains(reason), "{body}: {refusal}");
    }
}

#[test]
fn who_it_was_is_told_as_far_as_it_can_be_read() {
    let refusal = refused(&with(r#","timeout":0,"result":"https://x.example/r""#));
    assert_eq!(refusal.id.unwrap().to_string(), ID);
    assert_eq!(refusal.kind.unwrap().as_str(), "sailor");
    assert_eq!(refusal.result.unwrap().url.as_str(), "https://x.example/r");
    let refusal = refused(&format!(r#"[{{"uuid":"{ID}","type":"a/b"}},1]"#));
    assert_eq!((refusal.id.is_some(), refusal.kind), (true, None));
    let refusal = refused("{");
    assert_eq!((refusal.id, refusal.kind, refusal.result), (None, None, None));
}

#[test]
fn what_only_informs_refuses_nothing() {
    let parse = |members: &str| Job::parse(with(members).as_bytes()).expect(members);
    for (text, time) in [
        ("2026-11-22T12:00:00", "2026-11-22T12:00:00Z"),
        ("2026-11-22 12:00:00.5", "2026-11-22T12:00:00.5Z"),
        ("2026-11-22T12:00:00+01:00", "2026-11-22T11:00:00Z"),
        ("9999-12-31T23:59:59Z", "9999-12-30T22:00:00.999999999Z"),
        ("9999-12-31T23:59:59.999999+14:00", "9999-12-30T22:00:00.999999999Z"),
        ("9999-12-31T00:00:00", "9999-12-30T22:00:00.999999999Z"),
    ] {
        let job = parse(&format!(r#","created_at":"{text}","expires_at":"{text}""#));
        assert_eq!(job.created_at.unwrap().to_string(), time, "{text}");
        assert_eq!(job.expires_at, job.created_at, "{text}");
        assert!(job.notes.is_empty(), "{text}");
    }
    for value in ["\"yesterday\"", "1700000000", "[1]", "\"2026-02-30T00:00:00Z\""] {
        let job = parse(&format!(r#","created_at":{value}"#));
        assert_eq!(job.created_at, None);
        assert!(job.notes[0].starts_with("\"created_at\" is "), "{:?}", job.notes);
        assert!(job.notes[0].ends_with("it is left out"), "{:?}", job.notes);
    }
    let job = parse(r#","created_at":null,"timeout":60.0,"retry":3e0"#);
    assert_eq!((job.timeout, job.retry), (Some(Duration::from_secs(60)), Some(3)));
    assert!(job.notes.is_empty());
    let job = Job::parse(format!("\u{feff}{}", with("")).as_bytes()).unwrap();
    assert_eq!(job.id.to_string(), ID);
}

#[test]
fn nesting_without_end_is_refused() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{}1{}", open.repeat(500_000), close.repeat(500_000));
        for body in [deep.clone(), with(&format!(r#","args":{deep}"#))] {
            let Err(refusal) = Job::parse(body.as_bytes()) else { panic!("it is taken") };
            assert!(refusal.reason.contains("expected at most 100"), "{refusal}");
        }
    }
}

#[test]
fn the_process_reads_one_line_in_the_current_form() {
    let body = format!(
        "[{{\"uuid\":\"{ID}\",\"type\":\"sailor\",\"input\":\"https://x.example/in\"}},{{\n\"a\":\r\n\"b\\nc\"}}]"
    );
    let job = Job::parse(body.as_bytes()).unwrap();
    let data = RawValue::from_string("{\"x\":\n1}".to_owned()).unwrap();
    let text = String::from_utf8(job.document(2, Some(&data))).unwrap();
    assert_eq!(
        text,
        format!(
            "{{\"id\":\"{ID}\",\"type\":\"sailor\",\"attempt\":2,\
             \"input\":{{\"url\":\"https://x.example/in\",\"data\":{{\"x\": 1}}}},\
             \"args\":{{ \"a\":  \"b\\nc\"}}}}"
        )
    );
}

#[test]
fn methods_are_written_as_in_a_job() {
    assert_eq!(serde_json::from_str::<Method>("\"PUT\"").unwrap(), Method::default());
    assert_eq!(serde_json::to_string(&Method::Post).unwrap(), "\"POST\"");
    assert!(serde_json::from_str::<Method>("\"DELETE\"").is_err());
}

#[test]
fn who_has_the_same_content() {
    let id = "13775310-8f59-412e-aa2c-549a20077664";
    let digest = |members: &str| {
        let body = format!(r#"{{"id":"{id}","type":"t","args":{{"a":1}},"custom":2{members}}}"#);
        Job::parse(body.as_bytes()).unwrap().digest()
    };
    let same = digest("");
    for members in [
        r#","created_at":"2026-11-22T12:00:00Z""#,
        r#","created_at":"never""#,
        r#","of_no_meaning":1"#,
    ] {
        assert_eq!(digest(members), same, "{members}");
    }
    for members in [
        r#","timeout":60"#,
        r#","retry":0"#,
        r#","expires_at":"2026-11-22T12:00:00Z""#,
        r#","input":"http://a.example/""#,
        r#","result":"http://a.example/""#,
        r#","callback":{"successUri":"http://a.example/"}"#,
        r#","callback":{"failedUri":"http://a.example/"}"#,
    ] {
        assert_ne!(digest(members), same, "{members}");
    }
    // As they are written.
    let written = |args: &str, custom: &str| {
        let body = format!(r#"{{"id":"{id}","type":"t","args":{args},"custom":{custom}}}"#);
        Job::parse(body.as_bytes()).unwrap().digest()
    };
    assert_eq!(written(r#"{"a":1}"#, "2"), same);
    for (args, custom) in [(r#"{"a": 1}"#, "2"), (r#"{"a":1.0}"#, "2"), (r#"{"a":1}"#, "2.0")] {
        assert_ne!(written(args, custom), same, "{args} {custom}");
    }
}

#[test]
fn urls_have_a_limit() {
    let id = "13775310-8f59-412e-aa2c-549a20077664";
    for member in ["input", "result"] {
        let parse = |length: usize| {
            let url =
                format!("http://a.example/{}", "x".repeat(length - "http://a.example/".len()));
            Job::parse(format!(r#"{{"id":"{id}","type":"t","{member}":"{url}"}}"#).as_bytes())
        };
        assert!(parse(8192).is_ok(), "{member}");
        let reason = parse(8193).unwrap_err().reason;
        assert!(reason.contains("8193 bytes: expected at most 8192"), "{member}: {reason}");
    }
}
