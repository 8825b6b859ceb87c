//! From a request to an answer.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;

use super::access::{Access, Verdict};
use super::metrics;
use super::numbers::Numbers;
use super::stream::Stream;
use crate::live::{Event, Facts, Live};
use crate::output::json;

/// The page: markup, style and script in one, without anything from elsewhere.
const PAGE: &str = include_str!("page.html");
/// The page may load nothing but what this server has.
const POLICY: &str = "default-src 'none'; img-src 'self' blob: data:; connect-src 'self'; script-src 'unsafe-inline'; style-src \
     'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// How long a first look waits for a picture: the loop keeps none before somebody looks.
const FIRST_PICTURE: Duration = Duration::from_secs(3);
const NAP: Duration = Duration::from_millis(20);
/// A loop that has published nothing for so long is not well.
const SILENCE: Duration = Duration::from_secs(30);
/// Age at which the health of the board is looked at again.
const HEALTH_AGE: Duration = Duration::from_secs(60);

/// The body of an answer.
pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What answers are made of.
#[derive(Debug)]
pub(super) struct Answers {
    pub numbers: Arc<Numbers>,
    pub access: Access,
    /// Looks at the board, as `doctor` does: one JSON object.
    pub health: fn() -> Vec<u8>,
    healthy: Mutex<Option<(Instant, Bytes)>>,
}

/// The newest events.
#[derive(Serialize)]
struct EventReport {
    kind: &'static str,
    /// Number of the newest event, 0 before the first.
    last: u64,
    /// Oldest first.
    events: Vec<Event>,
}

impl Answers {
    pub(super) fn new(live: Arc<Live>, facts: Facts, access: Access, health: fn() -> Vec<u8>) -> Self {
        Self { numbers: Arc::new(Numbers::new(live, facts)), access, health, healthy: Mutex::default() }
    }

    /// The answer to a request, whose body nobody reads.
    pub(super) async fn answer<B>(self: Arc<Self>, request: Request<B>) -> Response<Body> {
        let is_head = request.method() == Method::HEAD;
        let mut response = self.route(&request).await;
        if is_head {
            *response.body_mut() = body(Bytes::new());
        }
        let headers = response.headers_mut();
        for (name, value) in [
            (header::CACHE_CONTROL, "no-store"),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
        ] {
            headers.entry(name).or_insert(HeaderValue::from_static(value));
        }
        response
    }

    async fn route<B>(self: &Arc<Self>, request: &Request<B>) -> Response<Body> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let path = request.uri().path();
        // Tells nothing but that there is a loop: whoever watches over it needs no token.
        if path == "/healthz" {
            return self.liveness();
        }
        match self.access.judge(request.headers(), request.uri().query()) {
            Verdict::Allowed => {}
            // The token leaves the address at once, so that it is not shown, stored or sent on.
            Verdict::AllowedByAddress if path == "/" => return self.with_cookie(),
            Verdict::AllowedByAddress => {}
            Verdict::NoToken => {
                let mut response = text(StatusCode::UNAUTHORIZED, "this page needs its token: open /?token=...");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                return response;
            }
            Verdict::ForeignName => {
                let why = "this name is none of this machine; use 127.0.0.1 or localhost";
                return text(StatusCode::MISDIRECTED_REQUEST, why);
            }
        }
        match path {
            "/" => typed("text/html; charset=utf-8", PAGE),
            "/api/state" => self.state().await,
            "/api/events" => self.events(),
            "/api/plan" => match &self.numbers.facts.plan {
                Some(line) => typed("application/json", line.clone()),
                None => text(StatusCode::NOT_FOUND, "there is no mission, and so no plan"),
            },
            "/api/health" => self.board().await,
            "/api/stream" => typed_body("text/event-stream", Stream::new(self.numbers.clone()).boxed_unsync()),
            "/metrics" => {
                self.numbers.live.look();
                let text = metrics::text(
                    &self.numbers.facts,
                    self.numbers.live.state().as_deref(),
                    self.numbers.live.events().last(),
                );
                typed("text/plain; version=0.0.4; charset=utf-8", text)
            }
            "/snapshot.jpg" => self.picture(request.headers()).await,
            _ => match path.strip_prefix("/api/events/").and_then(|name| name.strip_suffix(".jpg")) {
                Some(number) => self.snapshot(number),
                None => text(StatusCode::NOT_FOUND, "there is no such page"),
            },
        }
    }

    /// Whether the loop lives: it has published lately, as its pace allows.
    fn liveness(&self) -> Response<Body> {
        let Some(state) = self.numbers.live.state() else {
            return text(StatusCode::SERVICE_UNAVAILABLE, "no frame yet");
        };
        let period = state.answer.as_ref().and_then(|answer| answer.period_ms).map_or(0, |period| 3 * period);
        match self.numbers.live.age() {
            age if age <= SILENCE.max(Duration::from_millis(period)) => text(StatusCode::OK, "ok"),
            age => {
                let why = format!("nothing was classified for {} seconds", age.as_secs());
                text(StatusCode::SERVICE_UNAVAILABLE, why)
            }
        }
    }

    fn with_cookie(&self) -> Response<Body> {
        let mut response = text(StatusCode::SEE_OTHER, "see /");
        response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/"));
        if let Ok(cookie) = HeaderValue::from_str(&self.access.cookie()) {
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        response
    }

    async fn state(&self) -> Response<Body> {
        self.numbers.live.look();
        wait_for(|| self.numbers.live.state()).await;
        match self.numbers.line() {
            Some((_, line)) => typed("application/json", line),
            None => text(StatusCode::SERVICE_UNAVAILABLE, "no frame yet"),
        }
    }

    fn events(&self) -> Response<Body> {
        let events = self.numbers.live.events();
        let report = EventReport { kind: "events", last: events.last(), events: events.after(0) };
        match json::line(&json::Versioned::new(&report)) {
            Ok(line) => typed("application/json", line),
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the events cannot be written"),
        }
    }

    /// The board's health, looked at in a thread of its own and not more often than is of use.
    async fn board(self: &Arc<Self>) -> Response<Body> {
        let kept = self.healthy.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, line)) = kept.filter(|(at, _)| at.elapsed() < HEALTH_AGE) {
            return typed("application/json", line);
        }
        let look = self.health;
        let Ok(line) = tokio::task::spawn_blocking(look).await else {
            return text(StatusCode::INTERNAL_SERVER_ERROR, "the board cannot be looked at");
        };
        let line = Bytes::from(line);
        *self.healthy.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), line.clone()));
        typed("application/json", line)
    }

    async fn picture(&self, headers: &hyper::HeaderMap) -> Response<Body> {
        self.numbers.live.look();
        let Some(picture) = wait_for(|| self.numbers.live.picture()).await else {
            return text(StatusCode::SERVICE_UNAVAILABLE, "no frame yet");
        };
        let tag = format!("\"{}\"", picture.sequence());
        let known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
        let mut response = match picture.jpeg() {
            _ if known => text(StatusCode::NOT_MODIFIED, ""),
            Some(jpeg) => typed("image/jpeg", Bytes::from_owner(jpeg)),
            None => return text(StatusCode::SERVICE_UNAVAILABLE, "this frame cannot be shown"),
        };
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            response.headers_mut().insert(header::ETAG, tag);
        }
        response
    }

    fn snapshot(&self, number: &str) -> Response<Body> {
        let jpeg = number.parse().ok().and_then(|id| self.numbers.live.events().snapshot(id));
        match jpeg {
            Some(jpeg) => typed("image/jpeg", Bytes::from_owner(jpeg)),
            None => text(StatusCode::NOT_FOUND, "there is no such snapshot any more"),
        }
    }
}

/// What `find` finds, for which a short time is waited.
async fn wait_for<T>(find: impl Fn() -> Option<T>) -> Option<T> {
    let until = Instant::now() + FIRST_PICTURE;
    loop {
        match find() {
            None if Instant::now() < until => tokio::time::sleep(NAP).await,
            found => return found,
        }
    }
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = typed("text/plain; charset=utf-8", text);
    *response.status_mut() = status;
    response
}

fn typed(kind: &'static str, content: impl Into<Bytes>) -> Response<Body> {
    typed_body(kind, body(content.into()))
}

fn typed_body(kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn body(content: Bytes) -> Body {
    Full::new(content).boxed_unsync()
}
