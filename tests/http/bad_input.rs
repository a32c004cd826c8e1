//! Everything that can be wrong with a request: the answer names it, and nothing happens.

use crate::client::Http;

const JSON: &str = "application/json";

/// Method, path, content type and content; the status, the kind of problem, the field, and what the
/// detail says.
type Case<'a> = (&'a str, &'a str, &'a str, &'a [u8], u16, &'a str, &'a str, &'a str);

const CASES: &[Case<'_>] = &[
    ("GET", "/", "", b"", 404, "not-found", "", "nothing at this path"),
    ("GET", "/api/v1/nothing", "", b"", 404, "not-found", "", ""),
    ("GET", "/api/v1/server/", "", b"", 404, "not-found", "", ""),
    ("PUT", "/api/v1/server", "", b"", 405, "method", "", "PUT"),
    ("POST", "/healthz", "", b"", 405, "method", "", "POST"),
    ("GET", "/api/v1/tubes/t/pause", "", b"", 405, "method", "", "GET"),
    ("OPTIONS", "/api/v1/server", "", b"", 405, "method", "", ""),
    ("EAT", "/api/v1/server", "", b"", 405, "method", "", "EAT"),
    ("GET", "/version?x=1", "", b"", 422, "bad-field", "x", "expected none"),
    ("GET", "/api/v1/tubes?sort=size", "", b"", 422, "bad-field", "sort", "`ready`"),
    ("GET", "/api/v1/tubes?limit=0", "", b"", 422, "bad-field", "limit", "from 1 to 1000"),
    ("GET", "/api/v1/tubes?limit=1&limit=2", "", b"", 422, "bad-field", "limit", "twice"),
    ("GET", "/api/v1/tubes?name=%ff", "", b"", 400, "bad-request", "name", "UTF-8"),
    ("GET", "/api/v1/tubes?cursor=x", "", b"", 422, "bad-field", "cursor", "\"next\""),
    ("GET", "/api/v1/connections?cursor=AQAAAAA", "", b"", 422, "bad-field", "cursor", ""),
    ("GET", "/api/v1/connections?state=ready", "", b"", 422, "bad-field", "state", "cursor, limit"),
    ("GET", "/api/v1/tubes/t/jobs?state=gone", "", b"", 422, "bad-field", "state", "`buried`"),
    ("GET", "/api/v1/tubes/-t", "", b"", 422, "bad-field", "tube", "may not begin with"),
    ("GET", "/api/v1/tubes/a%20b", "", b"", 422, "bad-field", "tube", "may not contain"),
    ("GET", "/api/v1/tubes/%ff", "", b"", 400, "bad-request", "tube", "UTF-8"),
    ("GET", "/api/v1/tubes/%00", "", b"", 422, "bad-field", "tube", "may not contain"),
    ("GET", "/api/v1/jobs/x", "", b"", 422, "bad-field", "id", "a whole number"),
    ("GET", "/api/v1/jobs/-1", "", b"", 422, "bad-field", "id", "a whole number"),
    ("GET", "/api/v1/jobs/+1", "", b"", 422, "bad-field", "id", "a whole number"),
    ("GET", "/api/v1/jobs/18446744073709551616", "", b"", 422, "bad-field", "id", ""),
    ("GET", "/api/v1/jobs/18446744073709551615", "", b"", 404, "not-found", "", ""),
    ("GET", "/api/v1/connections/0", "", b"", 404, "not-found", "", "connection 0"),
    ("POST", "/api/v1/tubes/t/pause", JSON, b"{}", 422, "bad-field", "seconds", "missing"),
    (
        "POST",
        "/api/v1/tubes/t/pause",
        JSON,
        b"{\"seconds\":0}",
        422,
        "bad-field",
        "seconds",
        "at least 1",
    ),
    (
        "POST",
        "/api/v1/tubes/t/pause",
        JSON,
        b"{\"seconds\":-1}",
        422,
        "bad-field",
        "seconds",
        "a whole number",
    ),
    (
        "POST",
        "/api/v1/tubes/t/pause",
        JSON,
        b"{\"seconds\":1.5}",
        422,
        "bad-field",
        "seconds",
        "a whole number",
    ),
    (
        "POST",
        "/api/v1/tubes/t/pause",
        JSON,
        b"{\"seconds\":\"1\"}",
        422,
        "bad-field",
        "seconds",
        "a whole number",
    ),
    (
        "POST",
        "/api/v1/tubes/t/pause",
        JSON,
        b"{\"seconds\":4294967296}",
        422,
        "bad-field",
        "seconds",
        "a whole number",
    ),
    ("POST", "/api/v1/tubes/t/pause", JSON, b"[1]", 422, "bad-field", "", "a JSON object"),
    ("POST", "/api/v1/tubes/t/pause", JSON, b"", 400, "bad-request", "", "no JSON"),
    ("POST", "/api/v1/tubes/t/pause", JSON, b"{\"seconds\":1", 400, "bad-request", "", "no JSON"),
    (
        "POST",
        "/api/v1/tubes/t/pause",
        "text/plain",
        b"{\"seconds\":1}",
        415,
        "media-type",
        "Content-Type",
        JSON,
    ),
    (
        "POST",
        "/api/v1/tubes/t/resume",
        JSON,
        b"{\"x\":1}",
        400,
        "bad-request",
        "",
        "without content",
    ),
    ("POST", "/api/v1/tubes/t/jobs", "", b"x", 201, "", "", ""),
    ("POST", "/api/v1/tubes/t/jobs?ttr=x", "", b"x", 422, "bad-field", "ttr", "0 to 4294967295"),
    ("POST", "/api/v1/tubes/t/jobs?x=1", "", b"x", 422, "bad-field", "x", "priority, delay, ttr"),
    (
        "POST",
        "/api/v1/tubes/t/jobs?ttr=1",
        JSON,
        b"{\"text\":\"\"}",
        422,
        "bad-field",
        "priority, delay, ttr",
        "",
    ),
    ("POST", "/api/v1/tubes/a%20b/jobs", "", b"x", 422, "bad-field", "tube", ""),
    (
        "POST",
        "/api/v1/tubes/t/jobs",
        "multipart/form-data; boundary=x",
        b"x",
        415,
        "media-type",
        "Content-Type",
        "",
    ),
    (
        "POST",
        "/api/v1/tubes/t/jobs",
        JSON,
        b"{}",
        422,
        "bad-field",
        "json, text, base64",
        "exactly one",
    ),
    (
        "POST",
        "/api/v1/tubes/t/jobs",
        JSON,
        b"{\"text\":\"\",\"json\":1}",
        422,
        "bad-field",
        "json, text, base64",
        "",
    ),
    (
        "POST",
        "/api/v1/tubes/t/jobs",
        JSON,
        b"{\"text\":null}",
        422,
        "bad-field",
        "text",
        "a string",
    ),
    (
        "POST",
        "/api/v1/tubes/t/jobs",
        JSON,
        b"{\"base64\":\"?\"}",
        422,
        "bad-field",
        "base64",
        "expected base64",
    ),
    (
        "POST",
        "/api/v1/tubes/t/jobs",
        JSON,
        b"{\"text\":\"\",\"pri\":1}",
        422,
        "bad-field",
        "pri",
        "`priority`",
    ),
    (
        "POST",
        "/api/v1/tubes/t/jobs",
        JSON,
        b"{\"text\":\"\",\"delay\":-1}",
        422,
        "bad-field",
        "delay",
        "a whole number",
    ),
    (
        "POST",
        "/api/v1/tubes/t/jobs",
        JSON,
        b"{\"type\":\"sailor\"}",
        422,
        "bad-field",
        "type",
        "unknown field",
    ),
    ("POST", "/api/v1/tubes/t/jobs", JSON, b"{\"text\":\"\xff\"}", 400, "bad-request", "", ""),
    (
        "PATCH",
        "/api/v1/jobs/1",
        JSON,
        b"{}",
        422,
        "bad-field",
        "priority",
        "priority, delay or both",
    ),
    ("PATCH", "/api/v1/jobs/1", JSON, b"{\"ttr\":1}", 422, "bad-field", "ttr", "`priority`"),
    (
        "POST",
        "/api/v1/jobs/1/move",
        JSON,
        b"{\"tube\":\"-\"}",
        422,
        "bad-field",
        "tube",
        "begin with",
    ),
    ("POST", "/api/v1/jobs/1/move", JSON, b"{\"tube\":7}", 422, "bad-field", "tube", "a string"),
    (
        "POST",
        "/api/v1/jobs/1/bury",
        JSON,
        b"{\"priority\":true}",
        422,
        "bad-field",
        "priority",
        "a whole number",
    ),
    (
        "POST",
        "/api/v1/bulk",
        JSON,
        b"{\"action\":\"eat\",\"tube\":\"t\"}",
        422,
        "bad-field",
        "action",
        "`kick`",
    ),
    ("POST", "/api/v1/bulk", JSON, b"{\"action\":\"kick\"}", 422, "bad-field", "tube", "missing"),
    (
        "POST",
        "/api/v1/bulk",
        JSON,
        b"{\"action\":\"move\",\"tube\":\"t\"}",
        422,
        "bad-field",
        "to",
        "",
    ),
    (
        "POST",
        "/api/v1/bulk",
        JSON,
        b"{\"action\":\"kick\",\"tube\":\"t\",\"to\":\"u\"}",
        422,
        "bad-field",
        "to",
        "move",
    ),
    ("DELETE", "/api/v1/bulk/1", "", b"", 404, "not-found", "", "action 1"),
];

#[test]
fn each_mistake_is_told_and_nothing_happens() {
    let http = Http::operating(&[]);
    let mut queue = http.queue();
    let jobs = |queue: &mut crate::support::Conn| {
        let stats = queue.ask("stats");
        ["total-jobs", "current-jobs-ready", "current-tubes", "cmd-pause-tube"]
            .map(|key| stats.value(key).map(str::to_owned))
    };
    let mut before = jobs(&mut queue);
    for (method, path, content_type, content, status, kind, field, detail) in CASES {
        let headers = [("Content-Type", *content_type)];
        let headers = if content_type.is_empty() { &[][..] } else { &headers };
        let reply = http.send(method, path, headers, content);
        let after = jobs(&mut queue);
        if *status < 400 {
            reply.expect(*status);
            before = after;
            continue;
        }
        assert_eq!(reply.status, *status, "{method} {path}: {reply:?}");
        let problem = reply.is_problem(*status, kind);
        assert_eq!(
            problem["field"].as_str().unwrap_or_default(),
            *field,
            "{method} {path}: {problem}"
        );
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{method} {path}: {problem}");
        assert_eq!(after, before, "{method} {path}");
    }
}

#[test]
fn compressed_content_is_refused() {
    let http = Http::operating(&[]);
    let put = |encoding: &str| {
        http.send("POST", "/api/v1/tubes/t/jobs", &[("Content-Encoding", encoding)], b"x")
    };
    let problem = put("gzip").is_problem(415, "media-type");
    assert_eq!(problem["field"], "Content-Encoding");
    put("identity").expect(201);
}
