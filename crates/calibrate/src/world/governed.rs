//! The governor in the world: through its public interface, as the loop uses it.

use core::time::Duration;

use dyn_perceiver_core::energy::governor::{
    BudgetGovernor, FrameDemand, Governor as _, GovernorInput, GovernorSettings, Ladder, Mission, MissionError, Solar,
};
use dyn_perceiver_core::energy::{Chemistry, GaugeMonitor, MonitorSettings, PowerModel};

use super::drawn::{BEGINS, Drawn, TICK};
use super::meter::Meter;
use super::pack::Cells;
use super::play::{Order, Played, Sight, Stage};
use super::rivals::RESERVE;
use super::situation::Coming;

impl Stage<'_> {
    /// The mission as the governor is told it.
    fn mission(&self) -> Mission {
        let seconds = Duration::from_secs_f64;
        let frames = match self.situation.coming {
            Coming::Free(shortest, longest) => FrameDemand::Between(seconds(shortest), seconds(longest)),
            Coming::Rhythm(day, night) if !self.situation.tells_hours => {
                FrameDemand::PerHour((0.5 * (day + night)) as f32)
            }
            Coming::Rhythm(day, night) => {
                FrameDemand::DayNight { day: day as f32, night: night as f32, begins: seconds(3600.0 * BEGINS) }
            }
            Coming::Bursts(rate) => FrameDemand::PerHour(rate as f32),
        };
        let mission = Mission::new(seconds(3600.0 * self.situation.hours), frames).with_reserve(RESERVE as f32);
        if self.situation.tells_panel {
            mission.with_solar(Solar::new(self.situation.solar_watts as f32, seconds(3600.0 * BEGINS)))
        } else {
            mission
        }
    }

    /// The governor through a mission; `power` is the power model it is told.
    ///
    /// # Errors
    /// [`MissionError`] when the governor refuses the mission.
    pub(super) fn governed(&self, drawn: &Drawn, ladder: &Ladder, power: &PowerModel) -> Result<Played, MissionError> {
        let chemistry = match self.situation.cells {
            Cells::Nca => Chemistry::LithiumIon,
            Cells::Phosphate => Chemistry::LithiumIronPhosphate,
            Cells::Hydride => Chemistry::NickelMetalHydride,
        };
        let settings = GovernorSettings::new(1000.0 * self.situation.label_wh as f32).with_chemistry(chemistry);
        let mut governor = BudgetGovernor::new(ladder.clone(), power, self.mission(), settings)?;
        let mut monitor: Option<GaugeMonitor<Meter>> = None;
        let per_charge = settings.joules_per_charge();
        Ok(self.play(drawn, |sight: Sight, meter: &mut Meter| {
            let monitor = monitor.get_or_insert_with(|| GaugeMonitor::new(meter.clone(), MonitorSettings::default()));
            monitor.gauge_mut().clone_from(meter);
            let spent = if sight.tick == 0 { 0.0 } else { power.resting_watts() * TICK as f32 + sight.joules as f32 };
            let elapsed = Duration::from_secs_f64(sight.tick as f64 * TICK);
            let gauge = monitor.observe(elapsed, spent / per_charge);
            let input = GovernorInput::new(elapsed, gauge).with_frames(sight.frames, sight.joules as f32);
            let choice = governor.choose(&input);
            let period = choice.period.map_or(1.0, |period| period.as_secs_f64());
            Order { point: choice.point, period: if choice.stops() { f64::INFINITY } else { period } }
        }))
    }
}
