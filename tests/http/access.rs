//! Each route with each role; the file of tokens; hosts and origins.

use std::collections::BTreeSet;
use std::fs;

use nix::sys::signal::Signal;

use crate::client::{Http, TokenFile, token};

/// All routes, with the role that each needs, and a request that has no effect: what it names does not
/// exist, or its content is wrong.
const ROUTES: &[(&str, &str, &str)] = &[
    ("", "GET", "/healthz"),
    ("", "GET", "/readyz"),
    ("read", "GET", "/version"),
    ("read", "GET", "/metrics"),
    ("read", "GET", "/api/v1/openapi.json"),
    ("read", "GET", "/api/v1/server"),
    ("operate", "POST", "/api/v1/server/drain"),
    ("operate", "POST", "/api/v1/server/undrain"),
    ("read", "GET", "/api/v1/tubes"),
    ("read", "GET", "/api/v1/tubes/{tube}"),
    ("operate", "POST", "/api/v1/tubes/{tube}/pause"),
    ("operate", "POST", "/api/v1/tubes/{tube}/resume"),
    ("operate", "POST", "/api/v1/tubes/{tube}/clear"),
    ("read", "GET", "/api/v1/tubes/{tube}/policy"),
    ("operate", "PUT", "/api/v1/tubes/{tube}/policy"),
    ("operate", "DELETE", "/api/v1/tubes/{tube}/policy"),
    ("read", "GET", "/api/v1/tubes/{tube}/jobs"),
    ("submit", "POST", "/api/v1/tubes/{tube}/jobs"),
    ("read", "GET", "/api/v1/jobs/{id}"),
    ("operate", "PATCH", "/api/v1/jobs/{id}"),
    ("operate", "DELETE", "/api/v1/jobs/{id}"),
    ("read", "GET", "/api/v1/jobs/{id}/body"),
    ("operate", "POST", "/api/v1/jobs/{id}/kick"),
    ("operate", "POST", "/api/v1/jobs/{id}/bury"),
    ("operate", "POST", "/api/v1/jobs/{id}/release"),
    ("operate", "POST", "/api/v1/jobs/{id}/move"),
    ("read", "GET", "/api/v1/bulk"),
    ("operate", "POST", "/api/v1/bulk"),
    ("read", "GET", "/api/v1/bulk/{id}"),
    ("operate", "DELETE", "/api/v1/bulk/{id}"),
    ("read", "GET", "/api/v1/connections"),
    ("read", "GET", "/api/v1/connections/{id}"),
    ("operate", "DELETE", "/api/v1/connections/{id}"),
    ("read", "GET", "/api/v1/history"),
    ("read", "GET", "/api/v1/events"),
];

/// A path that leads to a route. The events would never end, so theirs is refused for its parameter.
fn path_to(route: &str, tube: &str) -> String {
    let parameter = if route.ends_with("/events") { "?no-such-parameter" } else { "" };
    route.replace("{tube}", tube).replace("{id}", "999") + parameter
}

const ROLES: [&str; 3] = ["read", "submit", "operate"];

/// The description has the same routes with the same roles.
#[test]
fn the_description_has_each_route_with_its_role() {
    let http = Http::reading(&[]);
    let document = http.get("/api/v1/openapi.json").expect(200);
    let paths = document["paths"].as_object().unwrap();
    let mut described = BTreeSet::new();
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().unwrap() {
            let role = operation["security"][0]["token"][0].as_str().unwrap_or_default();
            described.insert((role.to_owned(), method.to_uppercase(), path.clone()));
        }
    }
    let listed = ROUTES
        .iter()
        .map(|(role, method, path)| ((*role).to_owned(), (*method).to_owned(), (*path).to_owned()));
    assert_eq!(described, listed.collect());
}

#[test]
fn each_route_with_each_role() {
    let http = Http::operating(&[]);
    let rank = |role: &str| ROLES.iter().position(|other| *other == role);
    for (needed, method, path) in ROUTES {
        let path = path_to(path, "t");
        let send = |token: Option<&str>| http.send_as(token, method, &path, &[], b"?");
        for (shown, challenge) in [(None, true), (Some("nobody-has-this-token"), true)] {
            let reply = send(shown);
            if needed.is_empty() {
                assert_eq!(reply.status, 200, "{method} {path}");
            } else {
                reply.is_problem(401, "unauthorized");
                assert_eq!(reply.header("www-authenticate").is_some(), challenge);
            }
        }
        for role in ROLES {
            let reply = send(Some(&token(role)));
            if rank(role) < rank(needed) {
                let problem = reply.is_problem(403, "forbidden");
                assert!(problem["detail"].as_str().unwrap().contains(needed), "{problem}");
            } else {
                assert!(![401, 403].contains(&reply.status), "{role} {method} {path}: {reply:?}");
            }
        }
    }
}

#[test]
fn without_tokens_only_reading_is_possible() {
    let http = Http::reading(&[]);
    for (needed, method, path) in ROUTES {
        let path = path_to(path, "default");
        let reply = http.send(method, &path, &[], b"");
        match *needed {
            "" | "read" => assert!([200, 404, 422].contains(&reply.status), "{path}: {reply:?}"),
            _ => {
                let problem = reply.is_problem(403, "forbidden");
                assert!(problem["detail"].as_str().unwrap().contains("--http-token-file"));
            }
        }
    }
}

/// A page whose name resolves to this machine must not read.
#[test]
fn without_tokens_only_names_of_this_machine_are_answered() {
    let http = Http::reading(&[]);
    let port = http.address.port();
    let status = |host: &str, path: &str| http.send("GET", path, &[("Host", host)], b"").status;
    for host in ["localhost", "127.0.0.1", &format!("localhost:{port}"), "[::1]:80", "127.0.0.2"] {
        assert_eq!(status(host, "/version"), 200, "{host}");
    }
    for host in ["site.example", "localhost.site.example", "10.0.0.1:80"] {
        http.send("GET", "/version", &[("Host", host)], b"").is_problem(403, "forbidden");
        assert_eq!(status(host, "/healthz"), 200);
    }
    let http = Http::operating(&[]);
    assert_eq!(http.send("GET", "/version", &[("Host", "site.example")], b"").status, 200);
}

#[test]
fn a_hangup_has_the_tokens_read_again() {
    let http = Http::operating(&[]);
    let mut queue = http.queue();
    let as_reader = |token: &str| http.send_as(Some(token), "GET", "/version", &[], b"").status;
    assert_eq!((as_reader(&token("read")), as_reader("another-long-token")), (200, 401));
    let entry =
        |token: &str| format!("[[token]]\nname = \"a\"\nrole = \"read\"\ntoken = \"{token}\"\n");
    fs::write(http.token_file(), entry("another-long-token")).unwrap();
    let reload = |text: &str| {
        http.server.signal(Signal::SIGHUP);
        crate::support::eventually(text, || http.server.output().contains(text));
    };
    reload("the file of tokens was read again");
    assert_eq!((as_reader(&token("read")), as_reader("another-long-token")), (401, 200));

    fs::write(http.token_file(), entry("another-long-token") + "role = 7\n").unwrap();
    reload("line 5, column 1");
    assert!(http.server.output().contains("the tokens of before stay"));
    fs::remove_file(http.token_file()).unwrap();
    reload("No such file");
    assert_eq!((as_reader(&token("read")), as_reader("another-long-token")), (401, 200));
    queue.ask("list-tube-used");
}

/// What the log says of the tokens of others.
#[test]
fn tokens_are_not_logged() {
    let http = Http::operating(&["-VV"]);
    let put = http.post("/api/v1/tubes/t/jobs", r#"{"text":"x"}"#);
    put.expect(201);
    http.send_as(Some("a-wrong-and-long-token"), "GET", "/version", &[], b"");
    let output = http.server.output();
    assert!(output.contains("token=\"operate\"") && output.contains("action=\"put\""), "{output}");
    assert!(!output.contains(&token("operate")) && !output.contains("a-wrong-and-long"));
}

#[test]
fn each_request_has_a_number() {
    let http = Http::operating(&[]);
    let put = |headers: &[(&str, &str)]| {
        let reply = http.send("POST", "/api/v1/tubes/t/jobs", headers, b"x");
        reply.expect(201);
        reply.header("x-request-id").expect("each answer has one").to_owned()
    };
    let long = "x".repeat(129);
    assert_eq!(put(&[("X-Request-Id", "mine-7")]), "mine-7");
    let ids = [put(&[]), put(&[("X-Request-Id", "two words")]), put(&[("X-Request-Id", &long)])];
    assert!(ids.iter().all(|id| id.len() == 36) && ids[0] != ids[1], "{ids:?}");
    let output = http.server.output();
    for id in ids.iter().map(String::as_str).chain(["mine-7"]) {
        assert!(
            output.lines().any(|line| line.contains("by HTTP") && line.contains(id)),
            "{output}"
        );
    }
    let refused = http.send_as(None, "GET", "/version", &[], b"");
    assert!(refused.status == 401 && refused.header("x-request-id").is_some());
}

#[test]
fn pages_of_other_origins() {
    let origin = [("Origin", "https://site.example")];
    let allowed = |reply: crate::client::Reply| {
        reply.header("access-control-allow-origin").map(str::to_owned)
    };
    let http = Http::operating(&[]);
    assert_eq!(allowed(http.send("GET", "/version", &origin, b"")), None);
    assert_eq!(allowed(http.send_as(None, "OPTIONS", "/version", &origin, b"")), None);

    let http = Http::operating(&["--http-cors", "https://site.example"]);
    let expected = Some("https://site.example".to_owned());
    assert_eq!(allowed(http.send("GET", "/version", &origin, b"")), expected);
    // The page may read why it was refused.
    assert_eq!(allowed(http.send_as(None, "GET", "/version", &origin, b"")), expected);
    let preflight = http.send_as(None, "OPTIONS", "/api/v1/tubes/t/jobs", &origin, b"");
    assert_eq!(preflight.status, 204);
    assert!(preflight.header("access-control-allow-methods").unwrap().contains("POST"));
    let headers = preflight.header("access-control-allow-headers").unwrap();
    assert!(headers.contains("Authorization") && headers.contains("Idempotency-Key"), "{headers}");
    let other = [("Origin", "https://other.example")];
    assert_eq!(allowed(http.send("GET", "/version", &other, b"")), None);
}

/// A hash serves as well as the token, and the process shows neither.
#[test]
fn a_token_may_be_hashed() {
    let hash = "f2ca1bb6c7e907d06dafe4687e579fce76b37e4e93b7605022da52e6ccc26fd2"; // test\n
    let tokens = TokenFile::new(&format!(
        "[[token]]\nname = \"a\"\nrole = \"operate\"\nhash = \"sha256:{hash}\"\n"
    ));
    let http = Http::start(&[], Some(tokens));
    // The token is "test" with a line feed, which no header can show.
    for wrong in ["test", hash] {
        assert_eq!(http.send_as(Some(wrong), "GET", "/version", &[], b"").status, 401);
    }
}
