//! Notices a gauge that fails, sticks or lies.

use core::time::Duration;

use crate::energy::clock::since;
use crate::energy::gauge::{Fault, FuelGauge, GaugeReading, GaugeState, SensorError};

/// What counts as a fault.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct MonitorSettings {
    /// How often a failed read is tried again before it counts as failed.
    pub retries: u8,
    /// Age of the last good reading at which the gauge counts as failed.
    pub fail_after: Duration,
    /// Lowest and highest plausible terminal voltage.
    pub volts: (f32, f32),
    /// State of charge that the load must have taken, by the power model, while the reading never changed, for the gauge
    /// to count as stuck. Above the gauge's resolution.
    pub stuck_drop: f32,
    /// Rise of the state of charge between two readings that cannot be noise, without charging.
    pub jump: f32,
}

impl Default for MonitorSettings {
    /// Two retries, failed after 15 minutes, 2.5 to 30 V, stuck after 4 % of charge, a jump above 8 %.
    fn default() -> Self {
        MonitorSettings {
            retries: 2,
            fail_after: Duration::from_secs(900),
            volts: (2.5, 30.0),
            stuck_drop: 0.04,
            jump: 0.08,
        }
    }
}

/// A fuel gauge whose readings are checked, retried and turned into a [`GaugeState`].
#[derive(Clone, Debug)]
pub struct GaugeMonitor<G> {
    gauge: G,
    settings: MonitorSettings,
    last: Option<(GaugeReading, Duration)>,
    /// The last state of charge read, and what the load should have taken since it last changed.
    unmoved: Option<(f32, f32)>,
    /// The last good state of charge less what the load should have taken since. A gauge that jumped must not be believed
    /// again only because the battery has drained by as much meanwhile.
    ceiling: Option<f32>,
}

impl<G: FuelGauge> GaugeMonitor<G> {
    /// Watches `gauge`.
    pub fn new(gauge: G, settings: MonitorSettings) -> Self {
        GaugeMonitor { gauge, settings, last: None, unmoved: None, ceiling: None }
    }

    /// The gauge itself.
    pub fn gauge_mut(&mut self) -> &mut G {
        &mut self.gauge
    }

    /// Reads the gauge. `elapsed` is the time since the mission began; `expected_drop` is the state of charge that the
    /// load should have taken since the last call, by the power model, or 0 where that is unknown.
    pub fn observe(&mut self, elapsed: Duration, expected_drop: f32) -> GaugeState {
        self.ceiling = self.ceiling.map(|ceiling| ceiling - expected_drop.max(0.0));
        match self.read_with_retries().and_then(|reading| self.check(reading, expected_drop)) {
            Ok(reading) => {
                self.ceiling = Some(reading.soc);
                self.last = Some((reading, elapsed));
                GaugeState::Good(reading)
            }
            Err(fault) => match self.last {
                Some((last, at)) => {
                    let age = since(at, elapsed);
                    if age > self.settings.fail_after {
                        GaugeState::Failed { fault }
                    } else {
                        GaugeState::Stale { last, age, fault }
                    }
                }
                None => GaugeState::Failed { fault },
            },
        }
    }

    fn read_with_retries(&mut self) -> Result<GaugeReading, Fault> {
        let mut fault = Fault::NotReady;
        for _ in 0..=self.settings.retries {
            match self.gauge.read() {
                Ok(reading) => return Ok(reading),
                Err(error) => fault = error.fault(),
            }
        }
        Err(fault)
    }

    fn check(&mut self, reading: GaugeReading, expected_drop: f32) -> Result<GaugeReading, Fault> {
        let (lowest, highest) = self.settings.volts;
        let plausible = |volts: f32| volts >= lowest && volts <= highest;
        if !(0.0..=1.0).contains(&reading.soc) || reading.volts.is_some_and(|volts| !plausible(volts)) {
            return Err(Fault::OutOfRange);
        }
        let charging = reading.charging == Some(true);
        let unmoved = match self.unmoved {
            Some((soc, drop)) if soc == reading.soc && !charging => drop + expected_drop.max(0.0),
            _ => 0.0,
        };
        self.unmoved = Some((reading.soc, unmoved));
        // Empty is where a gauge rightly stays.
        let stuck = unmoved > self.settings.stuck_drop && reading.soc > 0.0;
        let jumped = !charging && self.ceiling.is_some_and(|ceiling| reading.soc > ceiling + self.settings.jump);
        let fault = match (stuck, jumped) {
            (true, _) => Fault::Stuck,
            (_, true) => Fault::Jump,
            _ => return Ok(reading),
        };
        // The charge is wrong, not the voltage: a brown-out must still be seen coming.
        if let Some((last, _)) = &mut self.last {
            last.volts = reading.volts;
        }
        Err(fault)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    #[derive(Debug)]
    struct Failure(Fault);

    impl SensorError for Failure {
        fn fault(&self) -> Fault {
            self.0
        }
    }

    /// Answers from a script; the last answer repeats.
    struct Script(VecDeque<Result<GaugeReading, Fault>>);

    impl FuelGauge for Script {
        type Error = Failure;

        fn read(&mut self) -> Result<GaugeReading, Failure> {
            let answer = if self.0.len() > 1 { self.0.pop_front() } else { self.0.front().copied() };
            answer.unwrap().map_err(Failure)
        }
    }

    fn watch(script: &[Result<GaugeReading, Fault>]) -> GaugeMonitor<Script> {
        GaugeMonitor::new(Script(script.iter().copied().collect()), MonitorSettings::default())
    }

    const fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn retries_within_bounds_then_goes_stale_then_fails() {
        let good = GaugeReading::new(0.8);
        let mut w = watch(&[Err(Fault::Nack), Err(Fault::Checksum), Ok(good), Err(Fault::Bus)]);
        assert_eq!(w.observe(seconds(0), 0.0), GaugeState::Good(good));
        let stale = GaugeState::Stale { last: good, age: seconds(60), fault: Fault::Bus };
        assert_eq!(w.observe(seconds(60), 0.0), stale);
        assert_eq!(w.observe(seconds(901), 0.0), GaugeState::Failed { fault: Fault::Bus });
        assert_eq!(watch(&[Err(Fault::Nack)]).observe(seconds(0), 0.0), GaugeState::Failed { fault: Fault::Nack });
    }

    #[test]
    fn impossible_values_are_not_believed() {
        for bad in [
            GaugeReading::new(1.2),
            GaugeReading::new(-0.1),
            GaugeReading::new(f32::NAN),
            GaugeReading::new(0.5).with_volts(0.3),
            GaugeReading::new(0.5).with_volts(f32::NAN),
        ] {
            assert_eq!(watch(&[Ok(bad)]).observe(seconds(0), 0.0), GaugeState::Failed { fault: Fault::OutOfRange });
        }
    }

    #[test]
    fn a_value_that_never_changes_under_load_is_stuck_until_it_moves() {
        let mut script = std::vec![Ok(GaugeReading::new(0.7)); 6];
        script.push(Ok(GaugeReading::new(0.64)));
        let mut w = watch(&script);
        let stuck = |state| matches!(state, GaugeState::Stale { fault: Fault::Stuck, .. });
        let states: std::vec::Vec<_> = (0..7).map(|i| w.observe(seconds(i * 60), 0.01)).collect();
        assert!(matches!(states[4], GaugeState::Good(_)));
        assert!(stuck(states[5]));
        assert!(matches!(states[6], GaugeState::Good(_)));
        // Without a load nothing needs to change.
        let mut w = watch(&[Ok(GaugeReading::new(0.7))]);
        assert!((0..100).all(|i| matches!(w.observe(seconds(i), 0.0), GaugeState::Good(_))));
    }

    #[test]
    fn charge_does_not_appear_from_nowhere() {
        let mut w = watch(&[
            Ok(GaugeReading::new(0.5)),
            Ok(GaugeReading::new(0.9)),
            Ok(GaugeReading::new(0.5)),
            Ok(GaugeReading::new(0.9).with_charging(true)),
        ]);
        assert!(matches!(w.observe(seconds(0), 0.0), GaugeState::Good(_)));
        assert!(matches!(w.observe(seconds(1), 0.0), GaugeState::Stale { fault: Fault::Jump, .. }));
        assert!(matches!(w.observe(seconds(2), 0.0), GaugeState::Good(_)));
        assert!(matches!(w.observe(seconds(3), 0.0), GaugeState::Good(_)));
    }

    #[test]
    fn a_gauge_that_jumped_is_not_believed_once_the_battery_has_drained_by_as_much() {
        let mut script = std::vec![Ok(GaugeReading::new(0.6).with_volts(3.9))];
        script.extend((0..40u8).map(|i| Ok(GaugeReading::new(0.9 - 0.01 * f32::from(i)).with_volts(3.5))));
        let mut w = watch(&script);
        assert!(matches!(w.observe(seconds(0), 0.0), GaugeState::Good(_)));
        for i in 1..=40 {
            let state = w.observe(seconds(20 * i), 0.01);
            // The voltage is fresh although the charge is not believed.
            assert!(
                matches!(state, GaugeState::Stale { fault: Fault::Jump, last, .. } if last.volts == Some(3.5)),
                "{i}: {state:?}"
            );
        }
    }
}
