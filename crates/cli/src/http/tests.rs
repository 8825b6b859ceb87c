//! The server as its clients see it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use dyn_perceiver::camera::{FrameSource as _, SyntheticSource};

use super::{Access, Bound, Server, access, take};
use crate::live::{EventKind, Events, Facts, Live, NewEvent, Publisher, State, sample_state};

struct Site {
    server: Server,
    live: Arc<Live>,
    publisher: Publisher,
    source: SyntheticSource,
}

impl Site {
    fn new(access: Access) -> Self {
        Self::of(access, Facts::default())
    }

    fn of(access: Access, facts: Facts) -> Self {
        let live = Live::new(Events::default());
        let publisher = Publisher::new(live.clone(), &Arc::default());
        let bound = Bound { socket: take("127.0.0.1:0".parse().unwrap()).unwrap(), access };
        let health = || b"{\"kind\":\"health\"}\n".to_vec();
        let server = Server::start(bound, live.clone(), facts, health).unwrap();
        Self { server, live, publisher, source: SyntheticSource::new(64, 48) }
    }

    fn open() -> Self {
        Self::new(Access::new(None, true))
    }

    /// One more frame of the loop.
    fn frame(&mut self) {
        let frame = self.source.next().unwrap().unwrap();
        let state = State { frames: frame.sequence + 1, ..sample_state() };
        self.publisher.publish(state, Some(&frame), Duration::ZERO);
    }

    fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
    }

    fn ask(&self, request: &str) -> String {
        String::from_utf8_lossy(&exchange(self.server.address(), request.as_bytes(), false)).into_owned()
    }
}

/// Sends bytes, and `all` of them, and reads until the server has closed.
fn exchange(address: SocketAddr, request: &[u8], all: bool) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut answer = Vec::new();
    // A server that has seen enough closes before it has read all.
    if stream.write_all(request).is_ok() && all {
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }
    let _ = stream.read_to_end(&mut answer);
    answer
}

#[test]
fn every_page_is_served() {
    let mut site = Site::open();
    assert!(site.get("/healthz").starts_with("HTTP/1.1 503"), "nothing was classified yet");
    site.live.look();
    site.frame();
    let page = site.get("/");
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n") && page.contains("<title>dyn-perceiver</title>"), "{page}");
    assert!(page.contains("content-security-policy: default-src 'none';"));
    let state = site.get("/api/state");
    let json: serde_json::Value = serde_json::from_str(state.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!((json["schema"].as_u64(), json["kind"].as_str()), (Some(2), Some("live")));
    assert_eq!((json["frames"].as_u64(), json["answer"]["label"].as_str()), (Some(1), Some("Ankle boot")));
    assert!(site.get("/metrics").contains("\ndyn_perceiver_confidence_ratio 0.875\n"));
    assert!(site.get("/metrics").contains("\ndyn_perceiver_probability_ratio 0.9375\n"));
    assert_eq!(json["answer"]["probability"].as_f64(), Some(0.9375));
    assert!(site.get("/healthz").starts_with("HTTP/1.1 200"));
    assert!(site.get("/api/health").ends_with("{\"kind\":\"health\"}\n"));
    assert!(site.get("/nothing").starts_with("HTTP/1.1 404"));
    let post = site.ask("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc");
    assert!(post.starts_with("HTTP/1.1 405"), "{post}");
    let head = site.ask("HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200") && !head.contains("<title>"), "{head}");
}

#[test]
fn a_plan_is_served_where_there_is_a_mission() {
    assert!(Site::open().get("/api/plan").starts_with("HTTP/1.1 404"));
    let facts = Facts::default().with_plan(Some(b"{\"kind\":\"plan\"}\n".to_vec()));
    let answer = Site::of(Access::new(None, true), facts).get("/api/plan");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n{\"kind\":\"plan\"}\n"), "{answer}");
}

#[test]
fn pictures_are_new_and_known_ones_are_not_sent_again() {
    let mut site = Site::open();
    site.live.look();
    site.frame();
    let picture = site.get("/snapshot.jpg");
    assert!(picture.contains("content-type: image/jpeg") && picture.contains("etag: \"0\""), "{picture}");
    let known = "GET /snapshot.jpg HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: \"0\"\r\nConnection: close\r\n\r\n";
    assert!(site.ask(known).starts_with("HTTP/1.1 304"));
    site.frame();
    assert!(site.ask(known).contains("etag: \"1\""));
}

#[test]
fn events_and_their_snapshots_are_served_while_they_are_kept() {
    let site = Site::open();
    let jpeg: Arc<[u8]> = vec![0xff, 0xd8, 0xff, 0xd9].into();
    let event = EventKind::Appeared;
    site.live.events().push(NewEvent {
        event,
        class: 2,
        label: "cat".into(),
        confidence: 0.5,
        frame: 7,
        jpeg: Some(jpeg),
    });
    let events = site.get("/api/events");
    assert!(events.contains("\"last\":1,\"events\":[{\"id\":1,\"event\":\"appeared\",\"class\":2"), "{events}");
    assert!(site.get("/api/events/1.jpg").contains("content-type: image/jpeg\r\n"));
    for gone in ["/api/events/2.jpg", "/api/events/-1.jpg", "/api/events/.jpg", "/api/events/99999999999999999999.jpg"]
    {
        assert!(site.get(gone).starts_with("HTTP/1.1 404"), "{gone}");
    }
}

#[test]
fn a_stream_tells_numbers_and_events_as_they_come() {
    let mut site = Site::open();
    site.frame();
    let mut stream = TcpStream::connect(site.server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"GET /api/stream HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let (mut heard, mut buffer, mut told) = (String::new(), [0; 4096], false);
    while !heard.contains("event: happened\ndata: {\"id\":1") {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "{heard}");
        heard += &String::from_utf8_lossy(&buffer[..count]);
        if heard.contains("event: state\ndata: {\"schema\":2") && !std::mem::replace(&mut told, true) {
            let (event, label, jpeg) = (EventKind::Left, "cat".into(), None);
            site.live.events().push(NewEvent { event, class: 2, label, confidence: 0.5, frame: 7, jpeg });
        }
    }
}

#[test]
fn a_token_is_asked_for_and_leaves_the_address_for_a_cookie() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "correct-horse-battery\n").unwrap();
    let site = Site::new(Access::new(Some(access::read_token(&path).unwrap()), false));
    for path in ["/", "/api/state", "/snapshot.jpg", "/metrics", "/api/stream", "/?token=wrong-horse-battery"] {
        assert!(site.get(path).starts_with("HTTP/1.1 401"), "{path}");
    }
    let told = site.get("/?token=correct-horse-battery");
    assert!(told.starts_with("HTTP/1.1 303") && told.contains("location: /\r\n"), "{told}");
    assert!(
        told.contains("set-cookie: dyn-perceiver-token=correct-horse-battery; HttpOnly; SameSite=Strict"),
        "{told}"
    );
    let with = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer correct-horse-battery\r\n\r\n";
    assert!(site.ask(with).starts_with("HTTP/1.1 200"));
}

#[test]
fn names_of_other_machines_are_not_answered_to() {
    let site = Site::open();
    let answer = site.ask("GET / HTTP/1.1\r\nHost: evil.example:80\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
}

#[test]
fn requests_that_are_none_get_an_error_and_end_nothing() {
    let mut site = Site::open();
    site.frame();
    let address = site.server.address();
    let long = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(100_000));
    assert!(exchange(address, long.as_bytes(), true).starts_with(b"HTTP/1.1 4"));
    let headers = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(500));
    assert!(exchange(address, headers.as_bytes(), true).starts_with(b"HTTP/1.1 4"));
    let seed =
        b"GET /api/events/1.jpg?token=a&b HTTP/1.1\r\nHost: localhost\r\nCookie: a=b; c\r\nIf-None-Match: \"1\"\r\n\
                 Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nabcde\r\n0\r\n\r\n";
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..300 {
        let mut request = seed.to_vec();
        for _ in 0..random.usize(1..12) {
            let at = random.usize(0..request.len());
            match random.u8(0..4) {
                0 => request[at] = random.u8(..),
                1 => request.truncate(at.max(1)),
                2 => request.insert(at, random.u8(..)),
                _ => {
                    let end = random.usize(at..request.len());
                    let copy = request[at..end].to_vec();
                    request.splice(at..at, copy);
                }
            }
        }
        exchange(address, &request, true);
    }
    assert!(site.get("/healthz").starts_with("HTTP/1.1 200"));
}

#[test]
fn whoever_does_not_read_is_dropped_and_others_are_served() {
    let mut site = Site::open();
    site.live.look();
    site.frame();
    // More than there is room for; each asks for pictures and reads none.
    let request = "GET /snapshot.jpg HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(50);
    let mut crowd: Vec<TcpStream> = (0..400)
        .map(|_| {
            let mut stream = TcpStream::connect(site.server.address()).unwrap();
            let _ = stream.write_all(request.as_bytes());
            stream
        })
        .collect();
    // Room is limited, and comes back when somebody leaves.
    crowd.clear();
    let served = (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        site.get("/healthz").starts_with("HTTP/1.1 200")
    });
    assert!(served);
}
