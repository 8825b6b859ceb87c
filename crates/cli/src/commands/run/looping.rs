//! The loop itself: frame after frame, with what is told, kept and saved in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dyn_perceiver::energy::{Battery, GaugeState, Reason};
use dyn_perceiver::pipeline::{Pipeline, PipelineError, Summary};

use super::burst::Burst;
use super::departures::{Departures, Facts};
use super::mission::Chooser;
use super::service::Service;
use super::state::{self, State};
use super::suspend::Sleeper;
use super::view::View;
use crate::events::Tap;
use crate::output::failure::{Failure, chain};

/// How often a loop that was told to pause looks whether it shall go on.
#[cfg(feature = "live")]
const PAUSE: Duration = Duration::from_millis(200);

/// The loop and what it needs.
pub(super) struct Loop<'a> {
    pub(super) state: &'a mut State,
    pub(super) view: &'a mut View,
    pub(super) pipeline: Pipeline<Chooser>,
    pub(super) summary: Summary,
    /// What makes events of answers, if anybody wants them.
    pub(super) tap: Option<Tap>,
    pub(super) soc: Option<f32>,
    pub(super) stop: Arc<AtomicBool>,
    /// Length of the mission, if there is one.
    pub(super) duration: Option<Duration>,
    pub(super) limit: Option<u64>,
    pub(super) burst: Burst,
    pub(super) strict: bool,
    /// Whether frames come from a camera.
    pub(super) is_live: bool,
    pub(super) skipped: u64,
    /// Whether the gauge is not believed at present.
    pub(super) gauge_lost: bool,
    /// The plan of a mission, beside what really happens.
    pub(super) departures: Option<Departures>,
    /// Who lets the board sleep between frames.
    pub(super) sleeper: Option<Sleeper>,
}

impl Loop<'_> {
    /// Takes frames until there are no more, and says why it ended.
    pub(super) fn until_the_end(&mut self) -> Result<&'static str, Failure> {
        let service = Service::from_env();
        service.ready();
        let mut next = Instant::now();
        let ended = loop {
            service.alive();
            if self.is_stopped() {
                break "interrupted";
            }
            if self.limit.is_some_and(|limit| self.summary.frames() + self.skipped >= limit) {
                break "limit reached";
            }
            #[cfg(feature = "live")]
            self.grant_wishes();
            #[cfg(feature = "live")]
            if self.view.is_paused() {
                self.view.publish(&self.pipeline, &self.summary);
                self.sleep_until(Instant::now() + PAUSE, &service);
                continue;
            }
            let ended = self.frame()?;
            // Also while no frame comes: what must be kept is kept, and a mission ends in time.
            self.tell_gauge()?;
            self.tell_departures()?;
            #[cfg(feature = "live")]
            self.view.publish(&self.pipeline, &self.summary);
            if self.state.is_due() {
                self.save()?;
            }
            if let Some(ended) = ended {
                break ended;
            }
            if self.pipeline.choice().is_some_and(|choice| choice.reason == Reason::MissionOver) {
                break "mission over";
            }
            // After a stall the loop goes on at its pace; it does not catch up.
            next = next.checked_add(self.pipeline.period()).unwrap_or(next).max(Instant::now());
            next = self.suspended_before(next);
            self.sleep_until(next, &service);
        };
        service.stopping();
        Ok(ended)
    }

    /// One frame; why the loop is over, if it is.
    fn frame(&mut self) -> Result<Option<&'static str>, Failure> {
        let step = match self.pipeline.step() {
            // A camera damages frames now and then, which is no reason to end.
            Err(error) if error.is_of_one_frame() && (!self.strict || self.is_live) => {
                self.skip(error)?;
                return Ok(None);
            }
            // The camera is gone for now: the loop lives on.
            Err(error) if error.is_temporary() && !error.is_of_one_frame() => {
                self.view.camera(Some(&chain(&error.into())))?;
                return Ok(None);
            }
            step => step?,
        };
        if let Some(choice) = self.pipeline.choice() {
            let budget = self.pipeline.governor().budget();
            self.view.decision(choice, self.pipeline.elapsed(), self.soc, budget)?;
        }
        self.tell_gauge()?;
        let Some(step) = step else {
            return Ok(Some(match self.pipeline.choice() {
                _ if self.is_stopped() => "interrupted",
                Some(choice) if choice.stops() => "the voltage is too low",
                _ if self.pipeline.battery().is_some_and(Battery::is_empty) => "battery empty",
                _ => "end of frames",
            }));
        };
        self.soc = step.soc;
        self.summary.add(&step);
        self.pipeline.governor_mut().spent(&step);
        self.view.camera(None)?;
        self.view.frame(&step)?;
        if let Some(tap) = &mut self.tap {
            let elapsed = self.pipeline.elapsed();
            for told in tap.step(&step, elapsed, self.pipeline.frame()) {
                self.view.event(&told, elapsed)?;
            }
        }
        Ok(match step.choice.reason {
            Reason::MissionOver => Some("mission over"),
            _ => self.burst.is_over(step.outcome.class).then_some("the scene is still"),
        })
    }

    /// Does what somebody wants done otherwise, as far as this run can.
    #[cfg(feature = "live")]
    fn grant_wishes(&mut self) {
        for wish in self.view.take_wishes() {
            match self.pipeline.governor_mut().grant(wish) {
                Ok(said) => self.view.note(&said),
                Err(why) => self.view.note(&format!("a command is not obeyed: {why}")),
            }
        }
    }

    /// Tells why the gauge is not believed, and that it is again.
    fn tell_gauge(&mut self) -> Result<(), Failure> {
        if let Some(trouble) = self.pipeline.take_gauge_trouble() {
            self.gauge_lost = true;
            return self.view.gauge(false, &format!("the gauge is not believed: {trouble}"));
        }
        let good = matches!(self.pipeline.gauge_state(), Some(GaugeState::Good(_) | GaugeState::ExternalPower(_)));
        if good && std::mem::take(&mut self.gauge_lost) {
            return self.view.gauge(true, "the gauge is believed again");
        }
        Ok(())
    }

    /// Tells why the plan of a mission no longer holds, and that it does again.
    fn tell_departures(&mut self) -> Result<(), Failure> {
        let (Some(departures), Some(governor)) = (&mut self.departures, self.pipeline.governor().budgeting()) else {
            return Ok(());
        };
        let facts = Facts::of(governor, self.pipeline.elapsed(), self.summary.frames(), self.gauge_lost);
        departures.look(&facts).iter().try_for_each(|departure| self.view.departure(departure))
    }

    /// Passes over a frame that cannot be read or classified. That is no failure of a camera, which damages frames now and
    /// then.
    fn skip(&mut self, error: PipelineError) -> Result<(), Failure> {
        self.skipped += 1;
        let sequence = match &error {
            PipelineError::Run { sequence, .. } => Some(*sequence),
            _ => None,
        };
        self.view.skipped(sequence, &chain(&error.into()))
    }

    /// Stores what must survive a restart. A full or lost disk is told and ends nothing.
    pub(super) fn save(&mut self) -> Result<(), Failure> {
        let (soc, mission) = (self.soc, self.duration.map(|duration| (duration, self.pipeline.elapsed())));
        let learned = self.pipeline.governor().learned();
        let saved = self.state.save(|stored| {
            state::record(stored, soc, mission);
            stored.learned = learned;
        });
        match saved {
            Ok(Some(periods)) => self.view.stored(periods),
            Ok(None) => Ok(()),
            Err(error) => {
                self.view.note(&format!("the state is not stored: {}", chain(&error.into())));
                Ok(())
            }
        }
    }

    /// Tells what the run came to.
    pub(super) fn finish(mut self, ended: &str) -> Result<(), Failure> {
        // What was begun for the last events is done before the run is told to be over.
        if let Some(lost) = self.tap.take().map(|tap| tap.lost()).filter(|&lost| lost > 0) {
            self.view.note(&format!("nothing was done about {lost} events: too many came at once"));
        }
        self.view.summary(&self.summary, self.soc, (self.pipeline.dropped(), self.pipeline.damaged()), ended)?;
        if self.skipped > 0 && !self.is_live { Err(Failure::Partial) } else { Ok(()) }
    }

    /// Lets the board sleep before the next frame, and says when that is: the clock of this process stands still meanwhile.
    fn suspended_before(&mut self, next: Instant) -> Instant {
        let Some(sleeper) = self.sleeper.as_mut().filter(|_| !self.stop.load(Ordering::Relaxed)) else { return next };
        let asleep = sleeper.sleep(next.saturating_duration_since(Instant::now()));
        self.pipeline.slept(asleep);
        next.checked_sub(asleep).unwrap_or(next)
    }

    /// Short naps keep Ctrl-C prompt at low frame rates.
    fn sleep_until(&self, next: Instant, service: &Service) {
        while Instant::now() < next && !self.is_stopped() {
            // A long period is no hang.
            service.alive();
            std::thread::sleep(next.saturating_duration_since(Instant::now()).min(Duration::from_millis(100)));
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
