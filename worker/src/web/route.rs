//! What a path stands for, and which methods it takes.

use axum::http::Method;
use uuid::Uuid;

use super::{Control, artifact};

/// What a path stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route<'a> {
    Page,
    Health,
    Ready,
    Metrics,
    Status,
    Control(Control),
    /// The result of a job.
    Result(Uuid),
    /// The output of a job.
    Log(Uuid),
    /// Running a job again.
    Rerun(Uuid),
    /// A file of a job, by what is behind its id in the path.
    Artifact(Uuid, &'a str),
    /// Something of a job, by another spelling of the UUID than ours. What it is called here,
    /// relative to the path that was asked for: a proxy may have taken something off in front.
    Elsewhere {
        id: Uuid,
        part: Part<'a>,
    },
    Unknown,
}

/// Which part of a job a path below its UUID stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Result,
    Log,
    Rerun,
    Artifact(&'a str),
}

impl<'a> Part<'a> {
    /// Reads what is behind the UUID and a slash.
    fn read(rest: &'a str) -> Option<Self> {
        match rest {
            "log" => Some(Self::Log),
            "rerun" => Some(Self::Rerun),
            _ => artifact::name_in_path(rest).map(|_| Self::Artifact(rest)),
        }
    }

    /// What is behind the UUID.
    pub(super) fn suffix(self) -> String {
        match self {
            Self::Result => String::new(),
            Self::Log => "/log".to_owned(),
            Self::Rerun => "/rerun".to_owned(),
            // In one spelling, of plain characters.
            Self::Artifact(rest) => {
                let name = artifact::name_in_path(rest);
                format!("/{}", name.map(|name| name.in_url()).unwrap_or_default())
            }
        }
    }

    /// What takes its methods.
    fn of(self, id: Uuid) -> Route<'a> {
        match self {
            Self::Result => Route::Result(id),
            Self::Log => Route::Log(id),
            Self::Rerun => Route::Rerun(id),
            Self::Artifact(rest) => Route::Artifact(id, rest),
        }
    }
}

impl<'a> Route<'a> {
    /// Reads a path. `prefix` is empty, or begins with a slash and does not end with one.
    pub(super) fn of(path: &'a str, prefix: &str) -> Self {
        match path {
            "/" => Self::Page,
            "/healthz" => Self::Health,
            "/readyz" => Self::Ready,
            "/metrics" => Self::Metrics,
            "/api/v1/status" => Self::Status,
            "/api/v1/hold" => Self::Control(Control::Hold),
            "/api/v1/unhold" => Self::Control(Control::Unhold),
            "/api/v1/halt" => Self::Control(Control::Halt),
            _ => path
                .strip_prefix(prefix)
                .and_then(Self::of_job)
                .or_else(|| Self::of_job(path))
                .unwrap_or(Self::Unknown),
        }
    }

    /// `/UUID`, `/UUID/log`, `/UUID/rerun` or `/UUID/NAME`.
    fn of_job(path: &'a str) -> Option<Self> {
        let path = path.strip_prefix('/')?;
        let (name, part) = match path.split_once('/') {
            Some((name, rest)) => (name, Part::read(rest)?),
            None => (path, Part::Result),
        };
        let id = Uuid::try_parse(name).ok()?;
        // One spelling, so that caches and links agree.
        let canonical = id.as_hyphenated().encode_lower(&mut Uuid::encode_buffer()) == name;
        Some(if canonical { part.of(id) } else { Self::Elsewhere { id, part } })
    }

    /// The methods that it takes, as the header `Allow` has them; `None` if there is nothing that a
    /// method could be for.
    pub(super) fn allow(self) -> Option<&'static str> {
        match self {
            Self::Page | Self::Health | Self::Ready | Self::Metrics | Self::Status => {
                Some("GET, HEAD")
            }
            Self::Control(_) | Self::Rerun(_) => Some("POST"),
            Self::Result(_) => Some("DELETE, GET, HEAD, OPTIONS"),
            Self::Log(_) | Self::Artifact(..) => Some("GET, HEAD, OPTIONS"),
            Self::Elsewhere { id, part } => part.of(id).allow(),
            Self::Unknown => None,
        }
    }

    /// Whether it takes this one.
    pub(super) fn takes(self, method: &Method) -> bool {
        self.allow().is_none_or(|allow| allow.split(", ").any(|name| name == method.as_str()))
    }

    /// Whether pages of other origins may read it: what belongs to one job, and nothing of the
    /// worker's own.
    pub(super) fn is_shared(self) -> bool {
        match self {
            Self::Result(_) | Self::Log(_) | Self::Artifact(..) => true,
            Self::Elsewhere { part, .. } => part != Part::Rerun,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "13775310-8f59-412e-aa2c-549a20077664";

    fn id() -> Uuid {
        ID.parse().unwrap()
    }

    #[test]
    fn a_job_is_found_at_the_top_and_under_the_prefix() {
        for prefix in ["", "/results", "/a/b"] {
            for at in ["", prefix] {
                let is = |path: String, route| {
                    assert_eq!(Route::of(&format!("{at}{path}"), prefix), route);
                };
                is(format!("/{ID}"), Route::Result(id()));
                is(format!("/{ID}/log"), Route::Log(id()));
                is(format!("/{ID}/rerun"), Route::Rerun(id()));
                let upper = format!("/{}", ID.to_uppercase());
                is(upper, Route::Elsewhere { id: id(), part: Part::Result });
            }
        }
        assert_eq!(Route::of(&format!("/results/{ID}"), ""), Route::Unknown);
        assert_eq!(Route::of(&format!("/results{ID}"), "/results"), Route::Unknown);
    }

    #[test]
    fn other_spellings_lead_to_ours() {
        for spelling in
            [ID.to_uppercase(), ID.replace('-', ""), format!("{{{ID}}}"), format!("urn:uuid:{ID}")]
        {
            for part in [Part::Result, Part::Log, Part::Rerun] {
                let path = format!("/{spelling}{}", part.suffix());
                let route = Route::of(&path, "");
                assert_eq!(route, Route::Elsewhere { id: id(), part }, "{spelling}");
            }
        }
    }

    #[test]
    fn files_are_below_their_job() {
        for name in ["plot.png", "a/b/c.csv", "log.txt", "log/rerun", "logs", "a%20b", "%41"] {
            let path = format!("/{ID}/{name}");
            let route = Route::of(&path, "/results");
            assert_eq!(route, Route::Artifact(id(), name));
            assert_eq!(route.allow(), Some("GET, HEAD, OPTIONS"));
            let upper = format!("/results/{}/{name}", ID.to_uppercase());
            let part = Part::Artifact(name);
            assert_eq!(Route::of(&upper, "/results"), Route::Elsewhere { id: id(), part });
        }
        assert_eq!(Part::Artifact("%41/b%c3%b6").suffix(), "/A/b%C3%B6");
    }

    #[test]
    fn what_is_no_path_of_ours_is_unknown() {
        for path in [
            "",
            "*",
            "//",
            "/healthz/",
            "/api/v1",
            "/api/v2/status",
            "/log",
            "//log",
            &format!("/{ID}/"),
            &format!("/{ID}/log/"),
            &format!("/{ID}/log//"),
            &format!("/{ID}/%2e%2e/x"),
            &format!("/{ID}/a%00"),
            &format!("/{ID}/a%ff"),
            &format!("/{ID}/%6cog"),
            "/rerun",
            &format!("/{ID}/rerun/"),
            &format!("//{ID}"),
            &format!("/{ID}x"),
            &format!("/{ID}%00"),
            &format!("/../{ID}"),
            "/13775310-8f59-412e-aa2c-54\u{e9}9a2007766",
        ] {
            assert_eq!(Route::of(path, "/results"), Route::Unknown, "{path}");
        }
    }
}
