//! A frame allocates nothing once the first has run: what kernels need is planned with the plan, and an answer is as large
//! as the most exits that a network has. An operator that tract runs would make tensors of its own; the shipped networks have none.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dyn_perceiver::exit::{ExitPolicy, Measure};
use dyn_perceiver::frame::{Frame, PixelFormat};
use dyn_perceiver::model::Model;
use dyn_perceiver::plan::Plan;
use dyn_perceiver::quantise::Quantiser;
use dyn_perceiver::runtime::Runtime;
use dyn_perceiver::{Classifier, ClassifierBuilder};

/// The system's allocator, which counts what any thread asks of it.
struct Counting;

static COUNT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is the one that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as for `alloc`.
        unsafe { System.dealloc(pointer, layout) };
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as for `alloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The only test of this binary: another one beside it would be counted too.
#[test]
fn frames_after_the_first_allocate_nothing() {
    classification();
    boxes_and_states();
}

/// Goals of boxes and states that go from frame to frame.
fn boxes_and_states() {
    for name in ["fashion-scenes", "moving-fashion"] {
        let model = Model::load(at(&format!("models/pretrained/{name}/model.onnx"))).unwrap();
        let plan = Arc::new(Plan::new(model).unwrap());
        let image: Vec<f32> = (0..plan.info().input.len()).map(|i| (i % 255) as f32 / 255.0).collect();
        let mut runtime = Runtime::new(plan.clone()).unwrap();
        // Frame by frame: all exits, or the first alone, so that states are held; and all boxes.
        let mut frame = |exits: usize| {
            runtime.begin(&image).unwrap();
            for exit in 0..exits {
                runtime.advance(exit).unwrap();
            }
            for goal in 0..plan.goals().len() {
                assert!(runtime.advance_to_boxes(goal).unwrap().iter().all(|maps| !maps.scores.is_empty()));
            }
        };
        let exits = plan.stages().len();
        (0..3).for_each(|_| frame(exits));
        let before = COUNT.load(Ordering::Relaxed);
        (0..10).for_each(|n| frame(if n % 2 == 0 { exits } else { 1 }));
        let allocated = COUNT.load(Ordering::Relaxed) - before;
        let operators = Runtime::new(plan.clone()).unwrap().operator_times(&image, 1).unwrap();
        let tracts: Vec<_> = operators.iter().filter(|operator| operator.operator.starts_with("tract:")).collect();
        assert!(tracts.is_empty(), "{name}: {tracts:?}");
        assert_eq!(allocated, 0, "{name}, in 10 frames");
    }
}

fn classification() {
    let model = at("models/pretrained/fashion-mnist/model.onnx");
    let model = Model::load(model).unwrap();
    let plan = Arc::new(Plan::new(model.clone()).unwrap());
    let mut quantiser = Quantiser::new(model).unwrap();
    let image: Vec<f32> = (0..plan.info().input.len()).map(|i| (i % 255) as f32 / 255.0).collect();
    quantiser.calibrate(std::slice::from_ref(&image)).unwrap();
    let quantised = quantiser.plan_with(&vec![true; quantiser.layers().len()]).unwrap();
    let exits = plan.stages().len();
    let full = ExitPolicy::with_thresholds(Measure::MaxSoftmax, exits, &vec![1.0; exits - 1]).unwrap();
    let early = ExitPolicy::with_thresholds(Measure::MaxSoftmax, exits, &vec![0.0; exits - 1]).unwrap();
    let mut frame = Frame::default();
    (frame.width, frame.height, frame.format) = (40, 30, PixelFormat::Rgb);
    frame.pixels = (0..3 * 40 * 30).map(|i| (i * 7 % 251) as u8).collect();
    let build = |plan: &Arc<Plan>, threads: usize| {
        ClassifierBuilder::from(plan.clone()).threads(threads).policy(full.clone()).build().unwrap()
    };
    let counts = [1, 2, 4];
    let mut classifiers: Vec<Classifier> = counts.map(|threads| build(&plan, threads)).into();
    classifiers.extend(counts.map(|threads| build(&quantised, threads)));
    for classifier in &mut classifiers {
        // Every thread of the pool has to have had its first part, which of them takes one is chance.
        for _ in 0..50 {
            classifier.classify(&frame).unwrap();
        }
        let threads = classifier.runtime().threads();
        let operators = classifier.runtime().operator_times(&image, 1).unwrap();
        let tracts: Vec<_> = operators.iter().filter(|operator| operator.operator.starts_with("tract:")).collect();
        assert!(tracts.is_empty(), "{tracts:?}");
        for policy in [&full, &early] {
            let before = COUNT.load(Ordering::Relaxed);
            for _ in 0..10 {
                classifier.classify_with(&frame, policy).unwrap();
            }
            let allocated = COUNT.load(Ordering::Relaxed) - before;
            assert_eq!(allocated, 0, "in 10 frames on {threads} threads");
        }
    }
}
