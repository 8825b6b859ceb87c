//! The loop's modelled battery behind a gauge.

use std::sync::Arc;
use std::time::Duration;

use dyn_perceiver::camera::SyntheticSource;
use dyn_perceiver::energy::{Battery, FuelGauge, GaugeReading, JoulesSource, PowerModel, SocSteps};
use dyn_perceiver::exit::{ExitPolicy, Measure};
use dyn_perceiver::model::{LoadOptions, Model};
use dyn_perceiver::pipeline::{BatteryCapacity, Pipeline, PipelineConfig};
use dyn_perceiver::plan::Plan;
use dyn_perceiver::sensors::{AnySensorError, any_gauge};

use crate::graphs::three_exits;

struct At(f32);

impl FuelGauge for At {
    type Error = AnySensorError;

    fn read(&mut self) -> Result<GaugeReading, AnySensorError> {
        Ok(GaugeReading::new(self.0))
    }
}

#[test]
fn a_modelled_battery_goes_on_from_what_its_gauge_reads() {
    let model =
        Model::from_bytes(three_exits(&["exit1", "exit2", "exit3"]).bytes(), "test.onnx", &LoadOptions::default());
    let plan = Arc::new(Plan::new(model.unwrap()).unwrap());
    let policy = ExitPolicy::with_thresholds(Measure::MaxSoftmax, 3, &[0.5, 0.5]).unwrap();
    let power = PowerModel::new(1.0, &[0.001; 3], JoulesSource::Modelled).unwrap();
    // As full as it was, or as empty: a charger has been at work, or the battery was changed.
    for (stored, read) in [(1.0, 0.3), (0.0, 0.9)] {
        let battery = Battery::new(1e6).charged_to(stored);
        let config = PipelineConfig::new(vec![policy.clone()], power.clone(), battery);
        let config = config.with_period(Duration::from_nanos(1));
        let source = SyntheticSource::new(8, 8).with_count(2);
        let pipeline = Pipeline::new(source, SocSteps::even(1), plan.clone(), config).unwrap();
        let mut pipeline = pipeline.with_gauge(any_gauge(At(read)), BatteryCapacity::Known);
        let step = pipeline.step().unwrap().unwrap();
        assert_eq!(step.soc, Some(read));
        let soc = pipeline.battery().unwrap().soc();
        assert!((soc - read).abs() < 1e-3, "{soc}");
    }
}

#[test]
fn a_modelled_battery_is_drained_while_the_board_is_suspended() {
    let model =
        Model::from_bytes(three_exits(&["exit1", "exit2", "exit3"]).bytes(), "test.onnx", &LoadOptions::default());
    let plan = Arc::new(Plan::new(model.unwrap()).unwrap());
    let policy = ExitPolicy::with_thresholds(Measure::MaxSoftmax, 3, &[0.5, 0.5]).unwrap();
    let power = PowerModel::new(1.0, &[0.0; 3], JoulesSource::Modelled).unwrap().with_suspend(0.1).unwrap();
    // Asleep for what the pause has left of its hour, and for an hour more than anybody reckoned with.
    for (period, asleep) in [(3600, 3600), (0, 7200)].map(|(period, asleep)| (Duration::from_secs(period), asleep)) {
        let config = PipelineConfig::new(vec![policy.clone()], power.clone(), Battery::new(1000.0)).with_period(period);
        let source = SyntheticSource::new(8, 8).with_count(2);
        let mut pipeline = Pipeline::new(source, SocSteps::even(1), plan.clone(), config).unwrap();
        pipeline.step().unwrap().unwrap();
        let before = pipeline.elapsed();
        pipeline.slept(Duration::from_secs(asleep));
        pipeline.step().unwrap().unwrap();
        let (took, period) = (pipeline.elapsed().as_secs_f32(), period.as_secs_f32());
        assert!((took - asleep as f32 - period).abs() < 60.0, "{took} s after {before:?}");
        let drawn = (1.0 - pipeline.battery().unwrap().soc()) * 3600.0;
        assert!((drawn - 0.1 * took).abs() < 6.0, "{drawn} J in {took} s");
    }
}
