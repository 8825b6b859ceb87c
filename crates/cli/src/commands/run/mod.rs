//! `run`: the classification loop, from frames to decisions.

mod away;
mod battery;
mod burst;
mod departures;
mod detector;
mod events;
mod gate;
mod looping;
mod mission;
mod options;
#[cfg(feature = "http")]
mod planned;
mod power;
mod saving;
mod sensor;
mod service;
#[cfg(feature = "live")]
mod show;
mod source;
mod state;
mod steps;
mod summing;
mod suspend;
mod threads;
mod variant;
mod video;
mod view;
mod wake;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dyn_perceiver::camera::FrameSource as _;
use dyn_perceiver::energy::{Battery, JoulesSource};
use dyn_perceiver::exit::ExitPolicy;
use dyn_perceiver::pipeline::{BatteryCapacity, Pipeline, PipelineConfig, Summary};
use dyn_perceiver::plan::Plan;
use dyn_perceiver::sensors::store::KeptTimes;

use crate::args::detection::event_classes;
#[cfg(feature = "live")]
use crate::args::detection::frame_labels;
use crate::args::model;
use crate::args::policy::{PolicyArgs, built_in_points, mission_points};
use crate::args::system;
use crate::events::{Rule, Tap};
use crate::live::Events;
use crate::output::failure::{Failure, OrInput as _, wrong};
use crate::settings::Settings;

use away::Away;
use burst::Burst;
use departures::Departures;
use looping::Loop;
use mission::{Chooser, Mode};
pub(crate) use options::Args;
use options::check;
use power::Times;
use saving::{Restored, SavePower};
use sensor::Sensor;
use state::State;
use suspend::Sleeper;
use view::{Header, View};
use wake::Wake;

/// Thresholds, the same at every exit, that the state of charge steps through when no policy is given.
const LADDER: [f32; 6] = [0.0, 0.5, 0.7, 0.85, 0.95, 0.99];

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let simulated = check(&args)?;
    let wake = Wake::of(&args.source, &system::here())?;
    #[cfg(feature = "live")]
    #[cfg_attr(not(feature = "mqtt"), allow(unused_mut))]
    let mut outlets = show::Outlets {
        #[cfg(feature = "http")]
        page: args.http.bind()?,
        #[cfg(feature = "mqtt")]
        mqtt: args.mqtt.settings()?,
    };
    // Its options have been read already, before those of the command line; its rules are read here.
    let rules = match &args.config {
        Some(path) => Settings::read(path).or_input()?.into_rules(),
        None => vec![],
    };
    if rules.iter().any(Rule::publishes) && !args.has_broker() {
        return wrong("a rule of [[on]] publishes, which needs --mqtt in a program built with the feature mqtt");
    }
    // Held until the loop has ended: its drop ends the sensor's thread.
    let (gate, sensor) = args.gate.open()?;
    let topic = sensor.as_ref().and_then(Sensor::topic);
    if let Some(topic) = topic.filter(|_| !args.has_broker()) {
        return wrong(format!("--gate-sensor mqtt:{topic} needs --mqtt in a program built with the feature mqtt"));
    }
    #[cfg(feature = "mqtt")]
    if let (Some(mqtt), Some(sensor), Some(topic)) = (&mut outlets.mqtt, &sensor, topic) {
        mqtt.follow(topic, sensor.signal());
    }
    let saving = SavePower::default();
    let stop = stop_on_signals(&saving)?;
    let mut state = State::open(&args.state)?;
    let duration = args.mission.duration()?;
    let plan = args.model.plan()?;
    if gate.as_ref().is_some_and(|gate| gate.latent.is_some()) && !plan.info().answers_alone() {
        return wrong(
            "--gate latent and both are for classifiers: boxes are of their own frame, and a video is its change",
        );
    }
    let exits = plan.info().outcome_names();
    let spelled_out = args.detector.policy(&plan, &args.policy)?;
    let over_time = args.video.over_time(plan.info(), args.policy.file())?;
    video::check_gate(plan.info(), gate.as_ref())?;
    let calibrated = match args.policy.points(&plan)?.filter(|_| !args.detector.is_spelled_out()) {
        None if args.mission.is_mission() => Some(mission_points(&plan)?),
        // The shipped model has a policy beside it, which is better than any thresholds that are the same at every exit.
        None if args.policy.is_open() => built_in_points(&plan)?,
        points => points,
    };
    let points = match (&calibrated, spelled_out.map_or_else(|| args.policy.policy(&plan), |policy| Ok(Some(policy)))?)
    {
        (Some(calibrated), _) => calibrated.policies(),
        (None, Some(policy)) => vec![policy],
        (None, None) => ladder(&args.policy, &plan)?,
    };
    let trained = video::period(plan.info()).filter(|_| args.source.is_camera()).unwrap_or_default();
    let period = args.source.fps.map_or(trained, |fps| Duration::from_secs_f64(1.0 / fps));
    let shortest = args.mission.shortest().unwrap_or(period);
    let source = args.source.open(plan.info(), shortest)?;
    let mut watts = args.watts.here()?;
    let sleeper = if args.suspend { Some(Sleeper::new(system::here(), shortest)?) } else { None };
    if args.suspend {
        watts = watts.suspended_by(args.suspended)?;
        suspend::tell_unknown(&watts);
    }
    let profiled = threads::profiled(&args, period)?;
    let threads = threads::choose(&args, &plan, profiled.as_ref(), &mut state)?;
    let modelled_time = simulated && args.is_demonstration();
    let times = if modelled_time { Times::Modelled } else { Times::Measured(threads) };
    let costs = power::costs(&plan, profiled.as_ref(), state.stored(), (&watts, threads), times)?;
    // What is kept is the board's alone: the next run may have another camera.
    if costs.power.source() == JoulesSource::Measured {
        state.measured(&costs.power);
    }
    #[cfg(feature = "http")]
    let board_costs = planned::costs(&costs);
    let loads = watts.loads(args.source.is_camera(), args.sends());
    let power::Costs { power, seconds, origin, measured } = costs.suspended(&watts)?.with_loads(&loads)?;
    if let Some(measured) = measured {
        state.measured_times(KeptTimes::new(plan.info().digest, measured));
    }
    let resumed = state.resumed(duration);
    let off = watts.off.filter(|_| args.source.wake_after.is_some());
    let since = Away::new(resumed, state.away(resumed), off, power.resting_watts());
    let battery = match simulated {
        true => {
            let frames = source.count.or(args.source.limit);
            let pace = (&*seconds, period);
            let stored = (state.stored(), since.joules);
            Some(battery::simulated(&args.gauge, args.battery.capacity, frames, &power, pace, stored)?)
        }
        false => battery::behind_gauge(&args.gauge, args.battery.capacity),
    };
    let sensor = args.gauge.open(args.battery.capacity, state.stored())?;

    let mut expected = Vec::new();
    let governor = match (&calibrated, duration) {
        (Some(points), Some(duration)) => {
            let Some(battery) = &battery else {
                return wrong("a mission needs a battery: --battery-wh, or --gauge with --battery-wh");
            };
            let chemistry = args.gauge.chemistry;
            let facts = mission::BatteryFacts { capacity_mwh: battery.capacity_mwh(), simulated, chemistry };
            let learned = state.stored().learned;
            Chooser::mission(&args.mission, (duration, period, since), &points.frontier, &power, &facts, learned)?
        }
        _ => match (&sensor, Chooser::mean(calibrated.as_ref(), &plan)?) {
            (_, Some(mean)) => mean,
            (Some(sensor), None) if args.mission.mode == Mode::Companion => sensor.chooser()?,
            _ => {
                let table = args.mission.table(calibrated.as_ref(), &power, points.len())?;
                if let Some(calibrated) = calibrated.as_ref().filter(|_| battery.is_some() || sensor.is_some()) {
                    let setting = steps::Setting {
                        power: &power,
                        samples: calibrated.samples,
                        battery: battery.as_ref(),
                        period: period.as_secs_f32(),
                        seconds: &seconds,
                    };
                    expected = steps::expected(&table, &calibrated.frontier, setting);
                }
                Chooser::Charge(table)
            }
        },
    };
    #[cfg(feature = "http")]
    let planned = planned::line(
        &args,
        (&plan, calibrated.as_ref(), profiled.as_ref()),
        (duration, period),
        battery.as_ref(),
        board_costs,
    );
    #[cfg(feature = "live")]
    let subject = show::Subject {
        exits: exits.clone(),
        labels: frame_labels(plan.info()),
        source: source.names.to_string(),
        resting_watts: power.resting_watts(),
        began: resumed,
        mission: duration.map(|length| (length, args.mission.reserve().get())),
    };
    let (labels, classes) = event_classes(plan.info());
    let events = args.events.plan(rules, labels.as_deref(), classes)?;
    let mut view = View::new(&args.output, &plan, (source.names, source.count))?;
    let (name, in_words) = (model::name(&plan), args.gauge.describe(battery.as_ref(), simulated));
    view.header(&Header {
        model: &name,
        points: points.len(),
        battery: &in_words,
        joules: &origin,
        steps: &expected,
        threads,
    })?;
    let mut config = PipelineConfig::new(points, power, battery).with_period(period).with_threads(threads);
    config.calibration = calibrated.as_ref().and_then(|points| points.calibration.clone());
    config.gate = gate;
    config.compare_full = !args.no_compare;
    args.detector.configure(plan.info(), &mut config);
    config.over_time = over_time;
    if !modelled_time {
        // Frames are decoded by one thread beside the network's; a clock that is modelled knows no time for it.
        config = config.with_preparing_watts(watts.busy(NonZeroUsize::MIN) - watts.idle);
    }
    config.stage_seconds = modelled_time.then_some(seconds);
    let is_live = source.frames.is_live();
    let pipeline = Pipeline::new(source.frames, governor, plan, config)?;
    let mut pipeline = pipeline.resumed_at(resumed).with_stop(stop.clone().into());
    let happened = Events::default();
    let tap = events.map(|plan| Tap::new(plan, labels, happened.clone())).transpose()?;
    if tap.as_ref().is_some_and(Tap::wants_frames) {
        pipeline.keep_frames().store(true, Ordering::Relaxed);
    }
    if let Some(sensor) = sensor {
        let capacity = match args.battery.capacity.milliwatt_hours() {
            Some(_) => BatteryCapacity::Known,
            None => BatteryCapacity::Unknown,
        };
        view.wakes_of(sensor.companion);
        pipeline = pipeline.with_gauge(sensor.gauge, capacity);
    }
    #[cfg(feature = "live")]
    {
        let facts = crate::live::Facts::new(name, in_words, origin).with_mission(duration.is_some());
        #[cfg(feature = "http")]
        let facts = facts.with_plan(planned);
        view.show_to(show::Show::start(outlets, subject, facts, happened, pipeline.keep_frames())?);
    }
    let departures = pipeline.governor().budgeting().map(|governor| {
        let mission = governor.mission();
        Departures::new(mission.frames, mission.solar, resumed)
    });
    let _restored = Restored(saving.clone());
    saving.start(&system::here(), args.save_power, args.radio_off);
    if let Some(variant) = profiled.as_ref().and_then(|profiled| profiled.variant.as_ref()).filter(|_| args.set_clock) {
        saving.hold(variant::hold(&system::here(), variant)?);
    }
    let mut run = Loop {
        state: &mut state,
        view: &mut view,
        // The battery behind a gauge is a model of it: until the gauge was read, nobody knows its charge.
        soc: pipeline.battery().filter(|_| !args.gauge.is_named()).map(Battery::soc),
        pipeline,
        summary: Summary::new(&exits),
        tap,
        stop,
        duration,
        limit: args.source.limit,
        burst: Burst::new(args.source.burst),
        strict: args.strict,
        is_live,
        skipped: 0,
        gauge_lost: false,
        departures,
        sleeper,
    };
    let ended = run.until_the_end();
    // However the loop ended: what it learned and spent is kept.
    let saved = run.save();
    let ended = ended?;
    saved?;
    if let Some(wake) = wake {
        wake.set(&system::here())?;
    }
    run.finish(ended)
}

/// A flag that is set by Ctrl-C and SIGTERM.
fn stop_on_signals(saving: &SavePower) -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, saving) = (stop.clone(), saving.clone());
    ctrlc::set_handler(move || {
        // A second Ctrl-C does not wait for the frame in hand.
        if stopped.swap(true, Ordering::Relaxed) {
            saving.end();
            std::process::exit(130);
        }
    })?;
    Ok(stop)
}

fn ladder(policy: &PolicyArgs, plan: &Plan) -> Result<Vec<ExitPolicy>, Failure> {
    let early = plan.stages().len() - 1;
    LADDER.iter().map(|&threshold| Ok(policy.with_thresholds(plan, &vec![threshold; early])?)).collect()
}
