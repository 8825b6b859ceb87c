//! What the loop shows to whoever looks on: its numbers gathered, and only when somebody could see them.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use dyn_perceiver::energy::{Choice, JOULES_PER_MWH};
use dyn_perceiver::pipeline::{Pipeline, Step, Summary};

use super::departures::Cause;
use super::detector;
use super::mission::Chooser;
use crate::args::model::class_name;
use crate::live::{Answer, Camera, Charge, Events, Exit, Facts, Live, Mission, Publisher, State, Wish};
use crate::output::failure::Failure;
use crate::output::found::BoxRecord;
use crate::output::time;

/// A forecast needs the charge of so long a time.
const FORECAST_AFTER: Duration = Duration::from_secs(60);

/// What does not change while the loop runs.
pub(super) struct Subject {
    pub exits: Vec<String>,
    pub labels: Option<Vec<String>>,
    /// What frames come from.
    pub source: String,
    pub resting_watts: f32,
    /// Where the loop's clock began.
    pub began: Duration,
    /// Length of the mission and the state of charge to be left at its end, if there is one.
    pub mission: Option<(Duration, f32)>,
}

/// The last frame, as numbers.
#[derive(Clone)]
struct Last {
    sequence: u64,
    class: usize,
    exit: usize,
    confidence: f32,
    probability: Option<f32>,
    exited_early: bool,
    latency: Duration,
    age: Duration,
    soc: Option<f32>,
    choice: Choice,
    joules: f32,
    boxes: Option<Vec<BoxRecord>>,
    /// Width and height of the frame, of a detector.
    size: Option<[u32; 2]>,
}

/// The loop's side of the slots, and the servers that read them.
pub(super) struct Show {
    subject: Subject,
    publisher: Publisher,
    begun: Instant,
    last: Option<Last>,
    /// The first state of charge, and when it was.
    first_charge: Option<(Duration, f32)>,
    /// For what the plan of the mission does not hold, in words.
    departures: Vec<(Cause, String)>,
    camera: Option<String>,
    gauge: Option<String>,
    #[cfg(feature = "http")]
    _server: Option<crate::http::Server>,
    #[cfg(feature = "mqtt")]
    _client: Option<crate::mqtt::Client>,
}

/// Where the loop is shown.
pub(super) struct Outlets {
    #[cfg(feature = "http")]
    pub page: Option<crate::http::Bound>,
    #[cfg(feature = "mqtt")]
    pub mqtt: Option<crate::mqtt::Settings>,
}

impl Outlets {
    fn is_any(&self) -> bool {
        let mut any = false;
        #[cfg(feature = "http")]
        {
            any |= self.page.is_some();
        }
        #[cfg(feature = "mqtt")]
        {
            any |= self.mqtt.is_some();
        }
        any
    }
}

impl Show {
    /// Starts what was asked for, if anything. `keep` is the pipeline's flag to keep frames.
    pub(super) fn start(
        outlets: Outlets,
        subject: Subject,
        facts: Facts,
        events: Events,
        keep: &Arc<AtomicBool>,
    ) -> Result<Option<Self>, Failure> {
        if !outlets.is_any() {
            return Ok(None);
        }
        let live = Live::new(events);
        let publisher = Publisher::new(live.clone(), keep);
        #[cfg(feature = "mqtt")]
        let client = match outlets.mqtt {
            Some(settings) => Some(crate::mqtt::Client::start(settings, live.clone(), facts.clone())?),
            None => None,
        };
        #[cfg(feature = "http")]
        let server = match outlets.page {
            Some(page) => Some(crate::http::Server::start(page, live, facts, crate::commands::doctor::health)?),
            None => None,
        };
        #[cfg(feature = "http")]
        if let Some(server) = &server {
            crate::output::message::note(&format!("live page at http://{}/", server.address()));
        }
        Ok(Some(Self {
            subject,
            publisher,
            begun: Instant::now(),
            last: None,
            first_charge: None,
            departures: vec![],
            camera: None,
            gauge: None,
            #[cfg(feature = "http")]
            _server: server,
            #[cfg(feature = "mqtt")]
            _client: client,
        }))
    }

    /// Whether the loop shall take no frames.
    pub(super) fn is_paused(&self) -> bool {
        self.publisher.live().is_paused()
    }

    /// What somebody wants done otherwise since the last time.
    pub(super) fn take_wishes(&self) -> Vec<Wish> {
        self.publisher.live().take_wishes()
    }

    /// Notes a frame, which costs a copy of a few numbers.
    pub(super) fn frame(&mut self, step: &Step) {
        let outcome = &step.outcome;
        self.last = Some(Last {
            sequence: step.sequence,
            class: outcome.class,
            exit: outcome.exit,
            confidence: outcome.confidence,
            probability: outcome.probability,
            exited_early: outcome.exited_early,
            latency: outcome.latency(),
            age: step.age,
            soc: step.soc,
            choice: step.choice,
            joules: step.joules,
            boxes: step.found.as_ref().map(detector::boxes),
            size: step.found.as_ref().map(|found| found.frame),
        });
    }

    /// Notes that the camera is lost, and why, or that it is back.
    pub(super) fn camera(&mut self, trouble: Option<&str>) {
        if self.camera.as_deref() != trouble {
            self.camera = trouble.map(str::to_owned);
        }
    }

    /// Notes that the gauge is not believed, and why, or that it is again.
    pub(super) fn gauge(&mut self, trouble: Option<&str>) {
        self.gauge = trouble.map(str::to_owned);
    }

    /// Notes why the plan of a mission does not hold, or that it does again.
    pub(super) fn departure(&mut self, cause: Cause, message: Option<&String>) {
        self.departures.retain(|(known, _)| *known != cause);
        self.departures.extend(message.map(|message| (cause, message.clone())));
    }

    /// Publishes what there is, where it is time.
    pub(super) fn publish(&mut self, pipeline: &Pipeline<Chooser>, summary: &Summary, skipped: u64) {
        if !self.publisher.is_due() {
            return;
        }
        let state = self.state(pipeline, summary, skipped);
        self.publisher.publish(state, pipeline.frame(), pipeline.period());
    }

    fn state(&mut self, pipeline: &Pipeline<Chooser>, summary: &Summary, skipped: u64) -> State {
        let elapsed = pipeline.elapsed();
        let soc = self.last.as_ref().and_then(|last| last.soc);
        if let Some(soc) = soc {
            self.first_charge.get_or_insert((elapsed, soc));
        }
        let run = elapsed.saturating_sub(self.subject.began).as_secs_f64();
        let watts = (run > 0.0).then(|| f64::from(self.subject.resting_watts) + summary.joules() / run);
        let latency = summary.latency_ms();
        State {
            time: time::now(),
            uptime_s: self.begun.elapsed().as_secs_f64(),
            paused: self.is_paused(),
            frames: summary.frames(),
            reused: summary.reused(),
            dropped: pipeline.dropped(),
            damaged: pipeline.damaged(),
            skipped,
            answer: self.last.as_ref().map(|last| self.answer(last, pipeline.period())),
            exits: summary.exits().into_iter().map(exit).collect(),
            latency_mean_ms: latency.map(|(mean, _)| mean),
            latency_p95_ms: latency.map(|(_, p95)| p95),
            joules: summary.joules(),
            joules_full: summary.joules_full(),
            switches: summary.switches(),
            charge: Charge {
                soc,
                budget_joules: pipeline.governor().budget(),
                watts,
                planned_watts: pipeline
                    .governor()
                    .budgeting()
                    .map(|governor| f64::from(self.subject.resting_watts + governor.plan().watts)),
                hours_left: hours_left(joules_left(pipeline, soc), watts)
                    .or_else(|| falling(self.first_charge?, (elapsed, soc?))),
                trouble: self.gauge.clone(),
            },
            mission: self.subject.mission.map(|(length, reserve)| Mission {
                elapsed_s: elapsed.as_secs_f64(),
                length_s: length.as_secs_f64(),
                reserve,
                floor: pipeline.governor().floor(),
                forecast_soc: self
                    .first_charge
                    .zip(soc)
                    .and_then(|(first, soc)| forecast(first, (elapsed, soc), length)),
                departures: self.departures.iter().map(|(_, message)| message.clone()).collect(),
            }),
            camera: Camera {
                name: self.subject.source.clone(),
                connected: self.camera.is_none(),
                message: self.camera.clone(),
            },
        }
    }

    fn answer(&self, last: &Last, period: Duration) -> Answer {
        Answer {
            frame: last.sequence,
            class: last.class,
            label: class_name(self.subject.labels.as_ref(), last.class),
            confidence: last.confidence,
            probability: last.probability,
            exit: self.subject.exits.get(last.exit).cloned().unwrap_or_default(),
            exited_early: last.exited_early,
            latency_ms: 1e3 * last.latency.as_secs_f64(),
            age_ms: 1e3 * last.age.as_secs_f64(),
            point: last.choice.point,
            reason: last.choice.reason,
            period_ms: (!period.is_zero()).then_some(period.as_millis() as u64),
            joules: last.joules,
            boxes: last.boxes.clone(),
            width: last.size.map(|size| size[0]),
            height: last.size.map(|size| size[1]),
        }
    }
}

fn exit(exit: dyn_perceiver::pipeline::ExitSummary) -> Exit {
    Exit { exit: exit.exit, frames: exit.frames, share: exit.share, mean_ms: exit.mean_ms, p95_ms: exit.p95_ms }
}

/// Joules of the battery by what its governor has learned of it, else by the capacity that was named; none where neither is known.
fn joules_left(pipeline: &Pipeline<Chooser>, soc: Option<f32>) -> Option<f64> {
    let learned = pipeline.governor().budgeting().map(|governor| governor.learned().joules_per_charge());
    let full = learned.or_else(|| pipeline.battery().map(|battery| battery.capacity_mwh() * JOULES_PER_MWH))?;
    Some(f64::from(soc? * full))
}

/// Hours for which `joules` last at so many watts.
fn hours_left(joules: Option<f64>, watts: Option<f64>) -> Option<f64> {
    let watts = watts.filter(|watts| *watts > 0.0)?;
    Some(joules? / watts / 3600.0)
}

/// Hours until a charge is used up that goes on falling as from `first` until `now`.
fn falling(first: (Duration, f32), now: (Duration, f32)) -> Option<f64> {
    let passed = now.0.saturating_sub(first.0);
    let used = f64::from(first.1 - now.1);
    (passed >= FORECAST_AFTER && used > 0.0).then(|| f64::from(now.1) * passed.as_secs_f64() / used / 3600.0)
}

/// The state of charge at the end of a mission of `length` that goes on as from `first` until `now`.
fn forecast(first: (Duration, f32), now: (Duration, f32), length: Duration) -> Option<f32> {
    let passed = now.0.saturating_sub(first.0);
    let left = length.saturating_sub(now.0);
    let used = f64::from(first.1 - now.1).max(0.0);
    let rate = used / passed.as_secs_f64();
    (passed >= FORECAST_AFTER).then(|| (f64::from(now.1) - rate * left.as_secs_f64()).clamp(0.0, 1.0) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_left_by_watts_or_by_how_charge_has_fallen() {
        assert_eq!(hours_left(Some(36_000.0), Some(2.0)), Some(5.0));
        assert_eq!(
            (hours_left(None, Some(2.0)), hours_left(Some(1.0), Some(0.0)), hours_left(Some(1.0), None)),
            (None, None, None)
        );
        let at = |seconds: u64, soc: f32| (Duration::from_secs(seconds), soc);
        assert_eq!(falling(at(0, 1.0), at(3600, 0.75)), Some(3.0));
        assert_eq!((falling(at(0, 1.0), at(30, 0.5)), falling(at(0, 0.5), at(3600, 0.75))), (None, None));
    }

    #[test]
    fn charge_goes_on_falling_as_it_did() {
        let at = |seconds: u64, soc: f32| (Duration::from_secs(seconds), soc);
        let hour = Duration::from_secs(3600);
        assert_eq!(forecast(at(0, 1.0), at(30, 0.99), hour), None, "too soon");
        assert_eq!(forecast(at(0, 1.0), at(1800, 0.75), hour), Some(0.5));
        assert_eq!(forecast(at(0, 1.0), at(1800, 0.25), hour), Some(0.0));
        assert_eq!(forecast(at(0, 0.5), at(1800, 0.75), hour), Some(0.75), "it was charged meanwhile");
        assert_eq!(forecast(at(0, 1.0), at(7200, 0.5), hour), Some(0.5), "the mission is over");
    }
}
