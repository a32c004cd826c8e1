//! The page for people: one document without anything from elsewhere, readable without a script.
//!
//! Its policy names its own style and script by their digests, so that whatever a job manages to get
//! into it (its type, its error) stays text for the browser, even if it should pass the escaping.

use std::fmt::{self, Write as _};
use std::sync::LazyLock;

use axum::http::header::{CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY};
use axum::http::{HeaderValue, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jq_http::reply::{Reply, content, with};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{FailureStatus, ResourceStatus, RunStatus, ServerStatus, State, Status, TypeStatus};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// At most so many lines of a table are shown.
const MAX_ROWS: usize = 100;

/// At most so many characters of a text from elsewhere are shown.
const MAX_TEXT: usize = 500;

static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let digest = |text: &str| STANDARD.encode(Sha256::digest(text));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        digest(STYLE),
        digest(SCRIPT)
    );
    HeaderValue::try_from(policy).expect("base64 is ASCII")
});

const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// The answer that is the page.
pub(super) fn answer(status: &Status, now: Timestamp) -> Reply {
    let page = render(status, now);
    let reply = content(StatusCode::OK, "text/html; charset=utf-8", page);
    let reply = with(reply, CONTENT_SECURITY_POLICY, POLICY.clone());
    let reply = with(reply, REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    with(reply, OPENER_POLICY, HeaderValue::from_static("same-origin"))
}

fn render(status: &Status, now: Timestamp) -> String {
    let mut page = String::with_capacity(16 * 1024);
    // Writing to a string does not fail.
    let _ = write_page(&mut page, status, now);
    page
}

fn write_page(page: &mut String, status: &Status, now: Timestamp) -> fmt::Result {
    let worker = Text(&status.worker);
    write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <noscript><meta http-equiv=\"refresh\" content=\"5\"></noscript>\n\
         <link rel=\"icon\" href=\"data:,\">\n<title>{worker} \u{b7} jq-worker</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
    )?;
    write_header(page, status, now)?;
    write_running(page, &status.running, status.concurrency, now)?;
    write_types(page, &status.types)?;
    write_resources(page, &status.resources)?;
    write_servers(page, &status.servers)?;
    write_failures(page, &status.failures, now)?;
    write!(
        page,
        "<footer>As of {}. <a href=\"api/v1/status\">Status as JSON</a> \u{b7} \
         <a href=\"metrics\">Metrics</a></footer>\n</main>\n<script>{SCRIPT}</script>\n\
         </body>\n</html>\n",
        Time(now)
    )
}

fn write_header(page: &mut String, status: &Status, now: Timestamp) -> fmt::Result {
    let (class, state) = match status.state {
        State::Running => ("good", "running"),
        State::Waiting => ("bad", "waiting: takes no new jobs at present"),
        State::Holding => ("warn", "holding: takes no new jobs"),
        State::Draining => ("warn", "draining: finishes what runs, then exits"),
    };
    write!(
        page,
        "<header><h1>{}</h1><span class=\"b {class}\">{state}</span>",
        Text(&status.worker)
    )?;
    if status.unpublished > 0 {
        write!(page, "<span class=\"b warn\">{} not published yet</span>", status.unpublished)?;
    }
    write!(
        page,
        "<p>jq-worker {} \u{b7} up for {}</p>",
        Text(&status.version),
        Ago(status.started, now)
    )?;
    for reason in status.reasons.iter().take(MAX_ROWS) {
        write!(page, "<p><span class=\"b warn\">why</span> {}</p>", Text(reason))?;
    }
    writeln!(page, "</header>")
}

fn write_running(
    page: &mut String,
    runs: &[RunStatus],
    concurrency: usize,
    now: Timestamp,
) -> fmt::Result {
    write!(page, "<section><h2>Running <small>{} of {concurrency}</small></h2>", runs.len())?;
    if runs.is_empty() {
        return writeln!(page, "<p>Nothing runs.</p></section>");
    }
    page.push_str(
        "<table><tr><th>Job<th>Type<th class=n>Attempt<th>Since<th>Progress<th>Output</tr>\n",
    );
    for run in runs.iter().take(MAX_ROWS) {
        write!(
            page,
            "<tr><td>{} {}<td>{}<td class=n>{}<td class=w>{}<td class=w>",
            Job(run.id),
            Button("cancel", run.id),
            Text(&run.job_type),
            run.attempt,
            Ago(run.started, now),
        )?;
        match run.progress.filter(|percent| percent.is_finite()) {
            Some(percent) => {
                let percent = percent.clamp(0.0, 100.0);
                write!(page, "<progress max=100 value={percent:.1}></progress> {percent:.0} %")?;
            }
            None => page.push('\u{2013}'),
        }
        writeln!(page, "<td><a href=\"{}/log\">log</a></tr>", run.id)?;
    }
    end_table(page, runs.len())
}

fn write_types(page: &mut String, types: &[TypeStatus]) -> fmt::Result {
    page.push_str("<section><h2>Types</h2>");
    if types.is_empty() {
        return writeln!(page, "<p>There is no handler.</p></section>");
    }
    page.push_str(
        "<table><tr><th>Type<th class=n>Running<th class=n>Successful<th class=n>Failed\
         <th class=n>Retried</tr>\n",
    );
    for kind in types.iter().take(MAX_ROWS) {
        writeln!(
            page,
            "<tr><td>{}<td class=n>{} of {}<td class=n>{}<td class=n>{}<td class=n>{}</tr>",
            Text(&kind.name),
            kind.running,
            kind.concurrency,
            Count(kind.successful),
            Count(kind.failed),
            Count(kind.retried)
        )?;
    }
    end_table(page, types.len())
}

fn write_resources(page: &mut String, resources: &[ResourceStatus]) -> fmt::Result {
    if resources.is_empty() {
        return Ok(());
    }
    page.push_str(
        "<section><h2>Resources</h2><table><tr><th>Name<th class=n>In use\
         <th class=n>Jobs waiting</tr>\n",
    );
    for resource in resources.iter().take(MAX_ROWS) {
        writeln!(
            page,
            "<tr><td>{}<td class=n>{} of {}<td class=n>{}</tr>",
            Text(&resource.name),
            resource.in_use,
            resource.total,
            Count(resource.waiting as u64)
        )?;
    }
    end_table(page, resources.len())
}

fn write_servers(page: &mut String, servers: &[ServerStatus]) -> fmt::Result {
    page.push_str("<section><h2>Servers</h2>");
    if servers.is_empty() {
        return writeln!(page, "<p>There is none.</p></section>");
    }
    page.push_str("<table><tr><th>Address<th>Tubes<th>Connection</tr>\n");
    for server in servers.iter().take(MAX_ROWS) {
        write!(page, "<tr><td><code>{}</code><td>", Text(&server.address))?;
        for (index, tube) in server.tubes.iter().take(MAX_ROWS).enumerate() {
            write!(page, "{}{}", if index > 0 { ", " } else { "" }, Text(tube))?;
        }
        if server.connected {
            page.push_str("<td><span class=\"b good\">connected</span>");
        } else {
            page.push_str("<td><span class=\"b bad\">not connected</span>");
        }
        if let Some(error) = &server.error {
            write!(page, " <small>{}</small>", Text(error))?;
        }
        page.push_str("</tr>\n");
    }
    end_table(page, servers.len())
}

fn write_failures(page: &mut String, failures: &[FailureStatus], now: Timestamp) -> fmt::Result {
    page.push_str("<section><h2>Last failures</h2>");
    if failures.is_empty() {
        return writeln!(page, "<p>None.</p></section>");
    }
    page.push_str("<table><tr><th>When<th>Job<th>Type<th>Kind<th>What happened</tr>\n");
    for failure in failures.iter().take(MAX_ROWS) {
        write!(page, "<tr><td class=w>{} ago<td>", Ago(failure.at, now))?;
        match failure.id {
            Some(id) => write!(page, "{} {}", Job(id), Button("run again", id))?,
            None => page.push('\u{2013}'),
        }
        writeln!(
            page,
            "<td>{}<td class=w>{}<td>{}</tr>",
            Text(failure.job_type.as_deref().unwrap_or("\u{2013}")),
            Text(&failure.kind),
            Text(&failure.message)
        )?;
    }
    end_table(page, failures.len())
}

/// Ends a table and its section, and says what of it is not shown.
fn end_table(page: &mut String, rows: usize) -> fmt::Result {
    page.push_str("</table>");
    if rows > MAX_ROWS {
        write!(page, "<p>And {} more.</p>", rows - MAX_ROWS)?;
    }
    page.push_str("</section>\n");
    Ok(())
}

/// Text from elsewhere: escaped, and cut.
struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut characters = self.0.chars();
        for character in characters.by_ref().take(MAX_TEXT) {
            match character {
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '&' => f.write_str("&amp;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // Not allowed in a document, or turns the direction of what follows it.
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                    f.write_char(char::REPLACEMENT_CHARACTER)?;
                }
                c if c.is_control() && c != '\n' && c != '\t' => {
                    f.write_char(char::REPLACEMENT_CHARACTER)?;
                }
                c => f.write_char(c)?,
            }
        }
        if characters.next().is_some() { f.write_str("\u{2026}") } else { Ok(()) }
    }
}

/// A job, with a link to what is known of it.
struct Job(Uuid);

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<a href=\"{0}\"><code>{0}</code></a>", self.0)
    }
}

/// Has something done with a job, which takes the token.
struct Button(&'static str, Uuid);

impl fmt::Display for Button {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<button data-id=\"{}\">{}</button>", self.1, self.0)
    }
}

/// A moment, to the second.
struct Time(Timestamp);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.0;
        write!(f, "<time datetime=\"{time:.3}\">{}</time>", time.strftime("%Y-%m-%d %H:%M:%S UTC"))
    }
}

/// How long ago something was, in its two largest units.
struct Ago(Timestamp, Timestamp);

impl fmt::Display for Ago {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(then, now) = self;
        let seconds = now.duration_since(*then).as_secs().max(0);
        write!(f, "<time datetime=\"{then:.3}\">")?;
        match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
            (0, 0, 0, s) => write!(f, "{s} s")?,
            (0, 0, m, s) => write!(f, "{m} min {s} s")?,
            (0, h, m, _) => write!(f, "{h} h {m} min")?,
            (d, h, ..) => write!(f, "{d} d {h} h")?,
        }
        f.write_str("</time>")
    }
}

/// A number with a thin space between its thousands.
struct Count(u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                f.write_char('\u{202f}')?;
            }
            f.write_char(digit)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "page_tests.rs"]
mod tests;
