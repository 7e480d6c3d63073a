//! Answers to requests.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::super::shared::{Seen, Shared};
use super::cache::Cache;
use super::guard::{Denied, Endpoint, Guard};
use crate::agent::metrics::{self, Known, Own};
use crate::agent::route::{Asked, Heap, Route, route};
use crate::agent::{discovery, part};
use crate::process::info;
use crate::profile::{Profile, diff};
use crate::render::openmetrics::Dialect;
use crate::render::{Format, Options};
use crate::words::error;

/// Age of a profile that is still served as one of now.
const FRESH: Duration = Duration::from_secs(2);
/// A process that is asked for is traced for so much longer than its profile takes.
const LONGER: Duration = Duration::from_secs(60);
/// Time until a process that is asked for has its probes.
const UNTIL_TRACED: Duration = Duration::from_secs(12);
/// Time between two looks whether it has them.
const POLL: Duration = Duration::from_millis(500);
/// Text.
const TEXT: &str = "text/plain; charset=utf-8";

/// Whose answer it is: of which profiles, and what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Key {
    /// Of two profiles, or of the first alone.
    Profile(Route, u64, Option<u64>),
    /// Of the heaps and of the machine, within one second.
    Metrics(Dialect, u64, u64, u64),
}

/// What an answer has.
struct Answer {
    status: u16,
    content_type: &'static str,
    /// The name of a file that a browser saves it as.
    name: Option<String>,
    body: Bytes,
}

/// Answers requests.
pub struct Answerer {
    shared: Arc<Shared>,
    cache: Cache<Key>,
}

impl Answer {
    fn text(status: u16, text: impl Into<String>) -> Self {
        let text = text.into() + "\n";
        Self {
            status,
            content_type: TEXT,
            name: None,
            body: Bytes::from(text),
        }
    }

    fn of(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self {
            status: 200,
            content_type,
            name: None,
            body: body.into(),
        }
    }
}

impl Answerer {
    /// One that knows what is known.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            cache: Cache::new(),
        }
    }

    /// A connection was refused.
    pub fn refused(&self) {
        self.shared.known().own.refused += 1;
    }

    /// The answer to a request.
    ///
    /// # Errors
    /// None: whatever fails is an answer.
    pub async fn answer(
        &self,
        request: &Request<Incoming>,
        endpoint: Endpoint,
        guard: &Guard,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let begun = Instant::now();
        let answer = match guard.check(endpoint, request.headers()) {
            Ok(()) => self.of(request, endpoint, guard.knows(endpoint)).await,
            Err(Denied::Token) => {
                Answer::text(401, "a token is needed: Authorization: Bearer TOKEN")
            }
            Err(Denied::Host) => Answer::text(
                421,
                "ask for an address or for localhost: a name is answered only where there is a token",
            ),
        };
        let status = answer.status;
        *self.shared.known().own.requests.entry(status).or_default() += 1;
        let path = request.uri().path();
        tracing::debug!(
            "{} {path:?}: {status} in {:?}",
            request.method(),
            begun.elapsed()
        );
        Ok(response(answer, request.method() == Method::HEAD))
    }

    async fn of(&self, request: &Request<Incoming>, endpoint: Endpoint, is_known: bool) -> Answer {
        let uri = request.uri();
        let route = match route(request.method().as_str(), uri.path(), uri.query()) {
            Ok(route) => route,
            Err(refusal) => return Answer::text(refusal.status(), refusal.to_string()),
        };
        let header = |name| {
            let value = request.headers().get(name);
            value.and_then(|value: &HeaderValue| value.to_str().ok())
        };
        match route {
            Route::Index => Answer::text(200, INDEX),
            Route::Metrics => self.metrics(Dialect::of_accept(header(ACCEPT).unwrap_or_default())),
            Route::Discovery => {
                let heaps = self.shared.known().heaps.clone();
                let heaps = heaps.as_ref().map(|seen| &*seen.profile);
                let text = discovery::profiles(heaps, &address(header(HOST), endpoint));
                Answer::of("application/json", text)
            }
            Route::MetricsDiscovery => {
                let text = discovery::metrics(&address(header(HOST), endpoint));
                Answer::of("application/json", text)
            }
            Route::Health => self.health(),
            Route::Cmdline(asked) => cmdline(&asked),
            Route::PprofIndex(_) => Answer::text(200, PPROF_INDEX),
            Route::Pprof(..) | Route::Report(_) | Route::Json(_) => {
                self.profile(route, is_known).await
            }
        }
    }

    fn health(&self) -> Answer {
        let known = self.shared.known();
        let interval = self.shared.config().watch.interval;
        // Suspended machines have profiles that are as old as their sleep, for one interval.
        let late = (interval * 4).max(Duration::from_secs(60));
        match &known.machine {
            Some(seen) if seen.at.elapsed() <= late => match known.own.is_tracing {
                true => Answer::text(200, "ok"),
                false => Answer::text(200, "ok; no heaps are traced"),
            },
            Some(_) => Answer::text(503, "the machine has not been looked at for too long"),
            None => Answer::text(503, "starting"),
        }
    }

    fn metrics(&self, dialect: Dialect) -> Answer {
        let config = self.shared.config();
        let known = self.shared.known();
        let number = |seen: &Option<Seen>| seen.as_ref().map_or(0, |seen| seen.number);
        let second = self.shared.begun.elapsed().as_secs();
        let key = Key::Metrics(
            dialect,
            number(&known.heaps),
            number(&known.machine),
            second,
        );
        if let Some(body) = self.cache.get(&key) {
            return Answer::of(dialect.content_type(), body);
        }
        let own = own(&known.own, self.shared.elapsed());
        let text = metrics::text(
            &Known {
                machine: known.machine.as_ref().map(|seen| &*seen.profile),
                heaps: known.heaps.as_ref().map(|seen| &*seen.profile),
                counters: &known.counters,
                own: &own,
                with_pid: config.serve.with_pid,
                with_functions: config.serve.with_functions,
            },
            dialect,
        );
        drop(known);
        let body = Bytes::from(text);
        self.cache.keep(key, body.clone());
        Answer::of(dialect.content_type(), body)
    }

    /// A profile in one form or another.
    async fn profile(&self, route: Route, is_known: bool) -> Answer {
        let (Route::Pprof(_, asked) | Route::Report(asked) | Route::Json(asked)) = &route else {
            return Answer::text(404, "");
        };
        let Some(first) = self.first(asked, is_known).await else {
            return Answer::text(503, "no heaps are traced: the log of the agent says why");
        };
        let first_part = part::of(&first.profile, |subject| asked.is_about(subject));
        if asked.is_part() && first_part.subjects.is_empty() {
            return Answer::text(
                404,
                "nothing of that is traced: it neither grows nor is named; by the socket, or with a token, seconds=N traces it for so long",
            );
        }
        let second = match asked.seconds {
            None => None,
            Some(seconds) => {
                sleep(Duration::from_secs(seconds)).await;
                match self.shared.heaps(Duration::ZERO).await {
                    Some(second) => Some(second),
                    None => return Answer::text(503, "no heaps are traced any more"),
                }
            }
        };
        let key = Key::Profile(
            route.clone(),
            first.number,
            second.as_ref().map(|second| second.number),
        );
        let body = match self.cache.get(&key) {
            Some(body) => Ok(body),
            None => {
                let (route, asked) = (route.clone(), asked.clone());
                let rendered = spawn_blocking(move || {
                    let profile = match &second {
                        None => first_part,
                        Some(second) => {
                            let second =
                                part::of(&second.profile, |subject| asked.is_about(subject));
                            delta(&first_part, &second)
                        }
                    };
                    rendered(&route, &profile)
                });
                rendered.await.map_err(anyhow::Error::from).flatten()
            }
        };
        match body {
            Ok(body) => {
                self.cache.keep(key, body.clone());
                shown(&route, body)
            }
            Err(failure) => Answer::text(500, error::one_line(&failure)),
        }
    }

    /// The profile of now. A process that is not traced and is asked for over a time is traced for that time, where
    /// it is known who asks: nobody else is to have a process traced.
    async fn first(&self, asked: &Asked, is_known: bool) -> Option<Seen> {
        let mut seen = self.shared.heaps(FRESH).await?;
        let (Some(pid), Some(seconds), true) = (asked.pid, asked.seconds, is_known) else {
            return Some(seen);
        };
        let until = Instant::now() + Duration::from_secs(seconds) + UNTIL_TRACED + LONGER;
        self.shared.known().asked.push((pid, until));
        let latest = Instant::now() + UNTIL_TRACED;
        while seen.profile.process(pid).is_none()
            && Instant::now() < latest
            && info::vitals(pid).is_some()
        {
            sleep(POLL).await;
            seen = self.shared.heaps(FRESH).await?;
        }
        Some(seen)
    }
}

/// What has come between two profiles, and nothing of before.
fn delta(before: &Profile, after: &Profile) -> Profile {
    let mut delta = diff::between(before, after);
    for sample in &mut delta.samples {
        sample.before.clear();
    }
    delta.meta.elapsed = after.meta.elapsed.saturating_sub(before.meta.elapsed);
    delta
}

fn rendered(route: &Route, profile: &Profile) -> Result<Bytes> {
    let format = match route {
        Route::Report(_) => Format::Html,
        Route::Json(_) => Format::Json,
        _ => Format::Pprof,
    };
    let options = Options::default();
    let mut out = Vec::new();
    format.renderer().render(profile, &options, &mut out)?;
    Ok(Bytes::from(out))
}

fn shown(route: &Route, body: Bytes) -> Answer {
    match route {
        Route::Report(_) => Answer::of("text/html; charset=utf-8", body),
        Route::Json(_) => Answer::of("application/json", body),
        Route::Pprof(heap, _) => Answer {
            name: Some(match heap {
                Heap::Heap => "heap.pb.gz".to_owned(),
                Heap::Allocs => "allocs.pb.gz".to_owned(),
            }),
            ..Answer::of("application/octet-stream", body)
        },
        _ => Answer::text(404, ""),
    }
}

/// The command line that pprof shows; without a process that of the agent.
fn cmdline(asked: &Asked) -> Answer {
    let pid = asked.pid.unwrap_or_else(std::process::id);
    match std::fs::read(format!("/proc/{pid}/cmdline")) {
        Ok(line) => Answer::of(TEXT, line.trim_ascii_end().to_vec()),
        Err(_) => Answer::text(404, "there is no such process"),
    }
}

/// Where the agent was asked: as the request says, or by the endpoint.
fn address(host: Option<&str>, endpoint: Endpoint) -> String {
    match (host, endpoint) {
        (Some(host), _) if !host.is_empty() => host.to_owned(),
        (_, Endpoint::Address(address)) => address.to_string(),
        (_, Endpoint::Socket) => "localhost".to_owned(),
    }
}

/// What the agent knows of itself, as of now.
fn own(own: &Own, up: Duration) -> Own {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF);
    let seconds =
        |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Own {
        cpu_seconds: usage
            .map(|usage| seconds(usage.user_time()) + seconds(usage.system_time()))
            .unwrap_or_default(),
        resident_bytes: info::own_resident_bytes().unwrap_or_default(),
        up_seconds: up.as_secs_f64(),
        ..own.clone()
    }
}

fn response(answer: Answer, is_head: bool) -> Response<Full<Bytes>> {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let length = answer.body.len();
    let body = if is_head { Bytes::new() } else { answer.body };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        "x-content-type-options",
        HeaderValue::from_static("nosniff"),
    );
    if is_head {
        headers.insert(hyper::header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    let named = answer
        .name
        .and_then(|name| HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")).ok());
    if let Some(named) = named {
        headers.insert(CONTENT_DISPOSITION, named);
    }
    response
}

const INDEX: &str = "\
memlens agent
/metrics                      for Prometheus
/debug/pprof/heap             what is live: for go tool pprof; ?pid= ?comm= ?container= ?seconds=N
/debug/pprof/allocs           the same, under the name that Parca and Alloy ask for
/pid/N/debug/pprof/heap       of one process
/sd                           traced processes, for discovery by Alloy and Parca; /sd/metrics for Prometheus
/report                       the page of now; /pid/N/report of one process
/profile.json                 the same as memlens/1
/healthz                      whether it works";

const PPROF_INDEX: &str = "\
heap
allocs
cmdline";
