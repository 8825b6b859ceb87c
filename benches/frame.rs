//! What a frame costs on this machine, on the shipped model: `cargo bench -p dyn-perceiver --bench frame`. Beside other runtimes it is
//! measured by `cargo run --release -p compare -- run`.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use dyn_perceiver::Classifier;
use dyn_perceiver::bundle;
use dyn_perceiver::camera::{Frame, FrameSource as _, IdxSource, PixelFormat, SyntheticSource};
use dyn_perceiver::exit::ExitPolicy;
use dyn_perceiver::gate::{Gate, GateSettings, Scene};
use dyn_perceiver::model::{LoadOptions, Model};
use dyn_perceiver::plan::Plan;
use dyn_perceiver::runtime::Runtime;

/// Frames that a series goes round.
const FRAMES: usize = 100;

fn frame(c: &mut Criterion) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/pretrained/fashion-mnist");
    let model = || Model::load(folder.join("model.onnx")).unwrap();
    c.bench_function("load the model", |b| b.iter(&model));
    c.bench_function("make its stage plans", |b| {
        b.iter_batched(&model, |model| Plan::new(model).unwrap(), BatchSize::PerIteration)
    });

    let bundle = tempfile::NamedTempFile::new().unwrap();
    bundle::compile(model(), None, bundle::Target::host(), bundle.path()).unwrap();
    c.bench_function("load the model's bundle", |b| {
        b.iter(|| Plan::load(bundle.path(), &LoadOptions::default()).unwrap())
    });

    let plan = Arc::new(Plan::new(model()).unwrap());
    let mut classifier = Classifier::new(plan.clone()).unwrap();
    let mut source = IdxSource::open(folder.join("frames-images-idx3-ubyte.gz"), None).unwrap();
    let mut images = vec![];
    let mut frame = Frame::default();
    while images.len() < FRAMES && source.read(&mut frame).unwrap() {
        images.push(classifier.tensor(&frame).unwrap().to_vec());
    }
    c.bench_function("preprocess a frame", |b| b.iter(|| black_box(classifier.tensor(black_box(&frame)).unwrap()[0])));

    // A frame as a camera sends it, in turns through a gate and through preprocessing.
    let source = SyntheticSource::new(640, 480).with_format(PixelFormat::Yuyv).next().unwrap().unwrap();
    let mut gate = Gate::new(GateSettings::new(GateSettings::THRESHOLD, Duration::MAX));
    c.bench_function("gate of a camera's frame", |b| {
        b.iter(|| gate.judge(Duration::ZERO, source.luma().map_or(Scene::default(), Scene::of)));
    });
    c.bench_function("preprocess a camera's frame", |b| b.iter(|| black_box(classifier.tensor(&source).unwrap()[0])));

    let mut runtime = Runtime::new(plan.clone()).unwrap();
    for (exit, stage) in plan.stages().iter().enumerate() {
        c.bench_function(&format!("stage {}", stage.exit), |b| {
            b.iter_custom(|times| {
                (0..times)
                    .map(|_| {
                        runtime.begin(&images[0]).unwrap();
                        for earlier in 0..exit {
                            black_box(runtime.advance(earlier).unwrap());
                        }
                        let began = std::time::Instant::now();
                        black_box(runtime.advance(exit).unwrap());
                        began.elapsed()
                    })
                    .sum()
            })
        });
    }

    let calibrated = dyn_perceiver::policy_file::load(&folder.join("policy.json")).unwrap();
    let points = calibrated.frontier().points();
    let mut adaptive = |name: String, policy: &ExitPolicy| {
        let mut next = (0..images.len()).cycle();
        c.bench_function(&name, |b| {
            b.iter(|| runtime.run(&images[next.next().unwrap_or(0)], black_box(policy)).unwrap().class)
        });
    };
    for index in [0, points.len() / 2, points.len() - 1] {
        adaptive(format!("a frame at operating point {} of {}", index + 1, points.len()), &points[index].policy);
    }
    let exits = plan.stages().len();
    adaptive("a frame at the last exit alone".to_owned(), &ExitPolicy::only(exits - 1, exits).unwrap());
}

/// Checking that an image is finite, and its way into the plan, at a size that photos have.
fn begin(c: &mut Criterion) {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/pretrained/clothing/model.onnx");
    let plan = Plan::new(Model::load(model).unwrap()).unwrap();
    let image = vec![0.5; plan.info().input.len()];
    let name = format!("begin a frame of {} values", image.len());
    let mut runtime = Runtime::new(Arc::new(plan)).unwrap();
    c.bench_function(&name, |b| b.iter(|| runtime.begin(black_box(&image)).unwrap()));
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = frame, begin
}
criterion_main!(benches);
