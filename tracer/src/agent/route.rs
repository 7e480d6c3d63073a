//! What a request asks for: its method, path and query, as one checked value. Pure; anybody may send anything.

use std::time::Duration;

/// Longest time that a request may ask to be measured.
pub const LONGEST: Duration = Duration::from_secs(120);
/// Longest path and query that is looked at.
pub const MOST_BYTES: usize = 2_048;

/// What is served.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// What there is, for a person.
    Index,
    /// Metrics.
    Metrics,
    /// A profile for pprof.
    Pprof(Heap, Asked),
    /// Whom pprof can ask, for people who type a folder.
    PprofIndex(Asked),
    /// The command line of a process, which pprof asks for.
    Cmdline(Asked),
    /// Where the traced processes are to be scraped.
    Discovery,
    /// Where the metrics are to be scraped.
    MetricsDiscovery,
    /// Whether the agent works.
    Health,
    /// A page to look at.
    Report(Asked),
    /// The profile as `memlens/1`.
    Json(Asked),
}

/// Which profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Heap {
    /// What is live.
    Heap,
    /// What was allocated.
    Allocs,
}

/// Which processes, and over which time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Asked {
    /// The process with this PID.
    pub pid: Option<u32>,
    /// Those of this container: its id, its first digits, or `runtime:id`.
    pub container: Option<String>,
    /// Those of this name.
    pub comm: Option<String>,
    /// What has changed in so many seconds from now on, and not what there is.
    pub seconds: Option<u64>,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Only reading is possible.
    #[error("only GET and HEAD are answered")]
    Method,
    /// There is no such thing.
    #[error("there is nothing here: / lists what there is")]
    NotFound,
    /// A CPU profile, a trace or the like, which pprof asks for where no path is given.
    #[error("memlens has profiles of memory: ask for /debug/pprof/heap or /debug/pprof/allocs")]
    NotMemory,
    /// A value makes no sense.
    #[error("{key}: expected {expected}")]
    Value {
        /// Which.
        key: &'static str,
        /// What is accepted.
        expected: &'static str,
    },
    /// A key that is not known.
    #[error("unknown parameter: pid, container, comm and seconds are known")]
    Parameter,
    /// A path that is too long.
    #[error("the request is too long")]
    TooLong,
}

impl Refusal {
    /// The status of the answer.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Method => 405,
            Self::NotFound | Self::NotMemory => 404,
            Self::Value { .. } | Self::Parameter => 400,
            Self::TooLong => 414,
        }
    }
}

/// What a request asks for.
///
/// # Errors
/// [`Refusal`], one line.
pub fn route(method: &str, path: &str, query: Option<&str>) -> Result<Route, Refusal> {
    if !matches!(method, "GET" | "HEAD") {
        return Err(Refusal::Method);
    }
    let query = query.unwrap_or_default();
    if path.len() + query.len() > MOST_BYTES {
        return Err(Refusal::TooLong);
    }
    let (path, pid) = of_process(path)?;
    let asked = || asked(query, pid);
    match (path.strip_suffix('/').unwrap_or(path), pid) {
        ("", None) => Ok(Route::Index),
        ("/metrics", None) => Ok(Route::Metrics),
        ("/sd", None) => Ok(Route::Discovery),
        ("/sd/metrics", None) => Ok(Route::MetricsDiscovery),
        ("/healthz", None) => Ok(Route::Health),
        ("/report" | "", _) => asked().map(Route::Report),
        ("/profile.json", _) => asked().map(Route::Json),
        ("/debug/pprof", _) => asked().map(Route::PprofIndex),
        ("/debug/pprof/heap", _) => Ok(Route::Pprof(Heap::Heap, asked()?)),
        ("/debug/pprof/allocs", _) => Ok(Route::Pprof(Heap::Allocs, asked()?)),
        ("/debug/pprof/cmdline", _) => asked().map(Route::Cmdline),
        (other, _) if other.starts_with("/debug/pprof/") => Err(Refusal::NotMemory),
        _ => Err(Refusal::NotFound),
    }
}

/// The path without a `/pid/N` that it begins with.
fn of_process(path: &str) -> Result<(&str, Option<u32>), Refusal> {
    let Some(rest) = path.strip_prefix("/pid/") else {
        return Ok((path, None));
    };
    let end = rest.find('/').unwrap_or(rest.len());
    let pid = pid(&rest[..end]).ok_or(Refusal::NotFound)?;
    Ok((&rest[end..], Some(pid)))
}

fn pid(text: &str) -> Option<u32> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let pid = is_number.then(|| text.parse().ok()).flatten()?;
    (1..=i32::MAX.cast_unsigned()).contains(&pid).then_some(pid)
}

fn asked(query: &str, of_path: Option<u32>) -> Result<Asked, Refusal> {
    let mut asked = Asked {
        pid: of_path,
        ..Asked::default()
    };
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let value = decoded(value);
        let refused = |key, expected| Refusal::Value { key, expected };
        match key {
            "pid" => {
                let value = value.as_deref().and_then(pid);
                let value = value.ok_or(refused("pid", "a PID, which is a positive number"))?;
                asked.pid = Some(asked.pid.unwrap_or(value));
                if asked.pid != Some(value) {
                    return Err(refused("pid", "the PID of the path"));
                }
            }
            "seconds" => {
                let number = value.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
                let number = number.and_then(|text| text.parse().ok());
                let fits = number.filter(|number| (1..=LONGEST.as_secs()).contains(number));
                let expected = "a whole number from 1 to 120";
                asked.seconds = Some(fits.ok_or(refused("seconds", expected))?);
            }
            "container" => {
                let expected = "a container's id, or its first digits";
                asked.container = Some(word(value).ok_or(refused("container", expected))?);
            }
            "comm" => {
                let expected = "the name of a process";
                asked.comm = Some(word(value).ok_or(refused("comm", expected))?);
            }
            // What go tool pprof and scrapers send, and what changes nothing here.
            "debug" | "gc" => {}
            _ => return Err(Refusal::Parameter),
        }
    }
    Ok(asked)
}

fn word(value: Option<String>) -> Option<String> {
    value.filter(|text| (1..=256).contains(&text.len()) && !text.chars().any(char::is_control))
}

/// A value with its percent signs and plus signs replaced; `None` where that gives no text.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| (byte? as char).to_digit(16);
                (digit(rest.next())? * 16 + digit(rest.next())?) as u8
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn get(target: &str) -> Result<Route, Refusal> {
        let (path, query) = target.split_once('?').unzip();
        route("GET", path.unwrap_or(target), query)
    }

    #[test]
    fn what_is_served_has_a_path() {
        let of_process = Asked {
            pid: Some(4242),
            ..Asked::default()
        };
        assert_eq!(get("/"), Ok(Route::Index));
        assert_eq!(get("/metrics"), Ok(Route::Metrics));
        assert_eq!(get("/sd"), Ok(Route::Discovery));
        assert_eq!(get("/healthz"), Ok(Route::Health));
        let heap = Route::Pprof(Heap::Heap, of_process.clone());
        assert_eq!(get("/pid/4242/debug/pprof/heap"), Ok(heap.clone()));
        assert_eq!(get("/debug/pprof/heap?pid=4242"), Ok(heap.clone()));
        assert_eq!(get("/pid/4242/debug/pprof/heap?pid=4242"), Ok(heap));
        let asked = Asked {
            container: Some("docker:3f2a".into()),
            comm: Some("a b".into()),
            seconds: Some(30),
            ..Asked::default()
        };
        let query = "?container=docker%3A3f2a&comm=a+b&seconds=30&debug=0";
        assert_eq!(
            get(&format!("/debug/pprof/allocs{query}")),
            Ok(Route::Pprof(Heap::Allocs, asked))
        );
        assert_eq!(get("/pid/4242/report"), Ok(Route::Report(of_process)));
    }

    #[test]
    fn what_is_not_is_refused_with_the_right_status() {
        let status = |target: &str| get(target).expect_err(target).status();
        for target in [
            "/debug/pprof/profile",
            "/debug/pprof/trace?seconds=5",
            "/x",
            "//",
            "/pid/0/report",
            "/pid/x",
            "/pid/1/metrics",
        ] {
            assert_eq!(status(target), 404, "{target}");
        }
        for target in [
            "/report?pid=-1",
            "/report?seconds=0",
            "/report?seconds=121",
            "/report?seconds=99999999999999999999",
            "/report?what=1",
            "/report?comm=%zz",
            "/report?comm=%ff",
            "/report?comm=",
            "/pid/2/report?pid=3",
        ] {
            assert_eq!(status(target), 400, "{target}");
        }
        assert_eq!(status(&format!("/{}", "x".repeat(3_000))), 414);
        assert_eq!(route("POST", "/metrics", None), Err(Refusal::Method));
    }

    proptest! {
        /// Whatever is asked for, what is accepted is within its bounds.
        #[test]
        fn requests_are_bounded(path in "(/[a-z/0-9.]{0,20}|/pid/[0-9]{0,12}/report|.{0,30})", query in ".{0,60}") {
            match route("GET", &path, Some(&query)) {
                Ok(Route::Pprof(_, asked) | Route::Report(asked) | Route::Json(asked)) => {
                    prop_assert!(asked.pid.is_none_or(|pid| pid > 0));
                    prop_assert!(asked.seconds.is_none_or(|seconds| (1..=120).contains(&seconds)));
                    prop_assert!(asked.comm.is_none_or(|comm| comm.len() <= 256));
                }
                Ok(_) => {}
                Err(refusal) => prop_assert!((400..500).contains(&refusal.status())),
            }
        }
    }
}
