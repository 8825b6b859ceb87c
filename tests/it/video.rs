//! The loop over a network of videos: what each disturbance of a camera does to its answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dyn_perceiver::camera::{CameraError, Frame, FrameSource, PixelFormat};
use dyn_perceiver::energy::{Choice, GovernorInput, JoulesSource, PowerModel, Reason};
use dyn_perceiver::exit::{ExitPolicy, Measure};
use dyn_perceiver::model::{LoadOptions, Model};
use dyn_perceiver::pipeline::{Pipeline, PipelineConfig, ResetReason, Step};
use dyn_perceiver::plan::Plan;
use dyn_perceiver::video::OverTimeConfig;
use dyn_perceiver_models::{Action, Config, Metadata, Network, Seeded, Task, VideoMode};

/// Seconds from frame to frame that the network was trained on.
const PERIOD: f32 = 0.1;

fn plan() -> Arc<Plan> {
    let config = Config::from_name("mobilenetV3_0x05_perceiver_t8").unwrap().with_input_shape(64, 64).with_classes(4);
    let config = config.with_task(Task::Action(Action::new(4, VideoMode::Online)));
    let mut metadata = Metadata::imagenet(config.classes);
    metadata.frame_period = Some(PERIOD);
    let bytes = Network::new(&config).unwrap().to_bytes(&mut Seeded, &metadata).unwrap();
    Arc::new(Plan::new(Model::from_bytes(bytes, "video", &LoadOptions::default()).unwrap()).unwrap())
}

/// One frame of a camera: its picture, when it was taken, in periods, and of which connection it is.
type Shot = (u8, f32, u64);

/// A camera that was filmed before.
struct Filmed {
    begun: Instant,
    shots: Vec<Shot>,
    next: usize,
}

impl FrameSource for Filmed {
    fn read(&mut self, frame: &mut Frame) -> Result<bool, CameraError> {
        let Some(&(picture, at, _)) = self.shots.get(self.next) else { return Ok(false) };
        frame.pixels.clear();
        frame.pixels.extend((0..32u32 * 32).map(|i| (i.wrapping_mul(7) as u8).wrapping_add(picture)));
        (frame.format, frame.width, frame.height) = (PixelFormat::Grey, 32, 32);
        frame.captured = self.begun + Duration::from_secs_f32(at * PERIOD);
        frame.sequence = self.next as u64;
        self.next += 1;
        Ok(true)
    }

    fn is_live(&self) -> bool {
        true
    }

    fn stream(&self) -> u64 {
        self.next.checked_sub(1).map_or(0, |last| self.shots[last].2)
    }
}

#[derive(Debug)]
struct First;

impl dyn_perceiver::energy::Governor for First {
    fn choose(&mut self, _: &GovernorInput) -> Choice {
        Choice::new(0, Reason::Hold)
    }
}

fn film(plan: &Arc<Plan>, shots: &[Shot]) -> Vec<Step> {
    let exits = plan.stages().len();
    let policy = ExitPolicy::with_thresholds(Measure::MaxSoftmax, exits, &vec![1.0; exits - 1]).unwrap();
    let power = PowerModel::new(1.0, &vec![1.0; exits], JoulesSource::Modelled).unwrap();
    let mut config = PipelineConfig::new(vec![policy], power, None);
    config.over_time = OverTimeConfig::default().with_repeats(2);
    let source = Filmed { begun: Instant::now(), shots: shots.to_vec(), next: 0 };
    let mut pipeline = Pipeline::new(source, First, plan.clone(), config).unwrap();
    std::iter::from_fn(|| pipeline.step().unwrap()).collect()
}

fn resets(steps: &[Step]) -> Vec<Option<ResetReason>> {
    steps.iter().map(|step| step.video.unwrap().reset).collect()
}

/// What a frame says, without times.
fn said(step: &Step) -> (usize, f32, Option<usize>) {
    (step.outcome.class, step.outcome.confidence, step.video.unwrap().frame.class)
}

#[test]
fn a_gap_and_a_reconnected_camera_begin_anew_jitter_and_dropped_frames_do_not() {
    let plan = plan();
    let steady: Vec<Shot> = (0..4u8).map(|n| (40 * n, f32::from(n), 0)).collect();
    let whole = film(&plan, &steady);
    assert_eq!(resets(&whole), [None; 4]);
    // Frames may come early, late, or with one lost in between: the answers are those of the frames that came.
    let jitter: Vec<Shot> = steady.iter().zip([0.0, 0.4, 1.9, 3.6]).map(|(shot, at)| (shot.0, at, 0)).collect();
    let shaken = film(&plan, &jitter);
    assert_eq!(resets(&shaken), [None; 4]);
    assert!(whole.iter().map(said).eq(shaken.iter().map(said)));
    // More than two periods: what comes is another video.
    let mut gap = steady.clone();
    gap.extend(steady.iter().map(|&(picture, at, _)| (picture, at + 5.1, 0)));
    let apart = film(&plan, &gap);
    assert_eq!(resets(&apart)[4], Some(ResetReason::Gap));
    assert_eq!(resets(&apart).iter().flatten().count(), 1);
    assert!(whole.iter().map(said).eq(apart[4..].iter().map(said)));
    // So it is when the camera was unplugged, however short.
    let mut unplugged = steady.clone();
    unplugged.extend(steady.iter().map(|&(picture, at, _)| (picture, at + 4.0, 1)));
    let again = film(&plan, &unplugged);
    assert_eq!(resets(&again)[4], Some(ResetReason::Stream));
    assert!(whole.iter().map(said).eq(again[4..].iter().map(said)));
    // Without any of it, the past counts.
    let on: Vec<Shot> = steady.iter().chain(&steady).zip(0..).map(|(shot, n)| (shot.0, n as f32, 0)).collect();
    let longer = film(&plan, &on);
    assert!(whole.iter().map(said).ne(longer[4..].iter().map(said)));
}

#[test]
fn a_frame_of_a_video_costs_what_it_costs_without_the_past() {
    let online = plan();
    let config = Config::from_name("mobilenetV3_0x05_perceiver_t8").unwrap().with_input_shape(64, 64).with_classes(4);
    let bytes = Network::new(&config).unwrap().to_bytes(&mut Seeded, &Metadata::imagenet(4)).unwrap();
    let plain = Plan::new(Model::from_bytes(bytes, "plain", &LoadOptions::default()).unwrap()).unwrap();
    let macs = |plan: &Plan| plan.stages().iter().map(|stage| stage.macs).collect::<Vec<_>>();
    assert_eq!(macs(&online), macs(&plain));
    let steps = film(&online, &[(0, 0.0, 0)]);
    assert_eq!(steps[0].macs, macs(&plain).iter().sum::<u64>());
}
