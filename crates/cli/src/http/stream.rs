//! Server-sent events: the newest numbers and every event, to one reader.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::body::{Body, Bytes, Frame};
use tokio::time::{Interval, MissedTickBehavior};

use super::numbers::Numbers;
use crate::live::State;
use crate::output::json;

/// How often a reader gets something new, at most.
const TICK: Duration = Duration::from_millis(250);
/// Without news a reader gets a comment, so that both ends notice when the other is gone.
const SILENCE: Duration = Duration::from_secs(10);

/// The stream of one reader. It is asked for more only when the reader has taken what it got: a slow one gets fewer numbers,
/// and always the newest.
#[derive(Debug)]
pub(super) struct Stream {
    numbers: Arc<Numbers>,
    tick: Interval,
    /// The state that was sent last.
    sent: Option<Arc<State>>,
    sent_at: Instant,
    /// Number of the last event that was sent.
    event: u64,
}

impl Stream {
    pub(super) fn new(numbers: Arc<Numbers>) -> Self {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The page gets earlier events from `/api/events`.
        let event = numbers.live.events().last();
        Self { numbers, tick, sent: None, sent_at: Instant::now(), event }
    }

    /// What is new since the last time.
    fn news(&mut self) -> Vec<u8> {
        let mut news = Vec::new();
        if let Some((state, line)) = self.numbers.line()
            && !self.sent.as_ref().is_some_and(|sent| Arc::ptr_eq(sent, &state))
        {
            news.extend_from_slice(b"event: state\ndata: ");
            news.extend_from_slice(&line);
            news.push(b'\n');
            self.sent = Some(state);
        }
        for event in self.numbers.live.events().after(self.event) {
            self.event = event.id;
            if let Ok(line) = json::line(&event) {
                news.extend_from_slice(b"event: happened\ndata: ");
                news.extend_from_slice(&line);
                news.push(b'\n');
            }
        }
        if news.is_empty() && self.sent_at.elapsed() >= SILENCE {
            news.extend_from_slice(b": nothing new\n\n");
        }
        news
    }
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            ready!(self.tick.poll_tick(cx));
            self.numbers.live.look();
            let news = self.news();
            if !news.is_empty() {
                self.sent_at = Instant::now();
                return Poll::Ready(Some(Ok(Frame::data(news.into()))));
            }
        }
    }
}
