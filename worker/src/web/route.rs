//! What a path stands for, and which methods it takes.

use axum::http::Method;
use uuid::Uuid;

use super::Control;

/// What a path stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
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
    /// Something of a job, by another spelling of the UUID than ours. What it is called here,
    /// relative to the path that was asked for: a proxy may have taken something off in front.
    Elsewhere {
        id: Uuid,
        part: Part,
    },
    Unknown,
}

/// Which part of a job a path below its UUID stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Result,
    Log,
    Rerun,
}

impl Part {
    /// What is behind the UUID.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Result => "",
            Self::Log => "/log",
            Self::Rerun => "/rerun",
        }
    }

    /// What takes its methods.
    fn of(self, id: Uuid) -> Route {
        match self {
            Self::Result => Route::Result(id),
            Self::Log => Route::Log(id),
            Self::Rerun => Route::Rerun(id),
        }
    }
}

impl Route {
    /// Reads a path. `prefix` is empty, or begins with a slash and does not end with one.
    pub(super) fn of(path: &str, prefix: &str) -> Self {
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

    /// `/UUID`, `/UUID/log` or `/UUID/rerun`.
    fn of_job(path: &str) -> Option<Self> {
        let path = path.strip_prefix('/')?;
        let below = [Part::Log, Part::Rerun];
        let (name, part) = below
            .into_iter()
            .find_map(|part| Some((path.strip_suffix(part.suffix())?, part)))
            .unwrap_or((path, Part::Result));
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
            Self::Log(_) => Some("GET, HEAD, OPTIONS"),
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
            Self::Result(_) | Self::Log(_) => true,
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
                let of = |path: &str| Route::of(&format!("{at}{path}"), prefix);
                assert_eq!(of(&format!("/{ID}")), Route::Result(id()));
                assert_eq!(of(&format!("/{ID}/log")), Route::Log(id()));
                assert_eq!(of(&format!("/{ID}/rerun")), Route::Rerun(id()));
                let upper = format!("/{}", ID.to_uppercase());
                assert_eq!(of(&upper), Route::Elsewhere { id: id(), part: Part::Result });
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
                let route = Route::of(&format!("/{spelling}{}", part.suffix()), "");
                assert_eq!(route, Route::Elsewhere { id: id(), part }, "{spelling}");
            }
        }
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
            &format!("/{ID}/log/log"),
            "/rerun",
            &format!("/{ID}/rerun/"),
            &format!("/{ID}/log/rerun"),
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
