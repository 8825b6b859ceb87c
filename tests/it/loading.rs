//! Loading under limits: on whatever thread, of a file that may change, by a plan as by a model.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dyn_perceiver::bundle::{self, Target};
use dyn_perceiver::model::{LoadOptions, Model, PreprocessingSource};
use dyn_perceiver::plan::Plan;
use dyn_perceiver::runtime::{Device, DeviceRuntime};

use crate::graphs::{Graph, three_exits};

/// Less than what tract takes to walk a graph.
const SMALL_STACK: usize = 96 << 10;

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/pretrained/fashion-mnist/model.onnx")
}

#[test]
fn the_callers_stack_may_be_small() {
    for deadline in [None, Some(Duration::MAX)] {
        let load = move || {
            let limits = LoadOptions::default().limits.with_deadline(deadline);
            let options = LoadOptions::default().with_limits(limits);
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("model.dynp");
            let model = Model::load_with(shipped(), &options).unwrap();
            bundle::compile(model.clone(), None, Target::host(), &path).unwrap();
            Plan::load(&path, &options).unwrap();
            Plan::unstaged(model.clone()).unwrap();
            DeviceRuntime::new(model.clone(), Device::Processor).unwrap();
            Plan::new(model).unwrap().stages().len()
        };
        let thread = std::thread::Builder::new().stack_size(SMALL_STACK).spawn(load).unwrap();
        assert_eq!(thread.join().unwrap(), 4);
    }
}

#[test]
fn a_device_takes_no_file_that_has_changed() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), three_exits(&["exit1", "exit2", "exit3"]).bytes()).unwrap();
    let model = Model::load(file.path()).unwrap();
    DeviceRuntime::new(model.clone(), Device::Processor).unwrap();
    std::fs::write(file.path(), three_exits(&["exit1", "exit3"]).bytes()).unwrap();
    let error = DeviceRuntime::new(model.clone(), Device::Processor).unwrap_err().to_string();
    assert!(error.ends_with(": the file has changed since the model was loaded from it"), "{error}");
}

#[test]
fn a_bundle_tells_what_its_model_told() {
    let mut graph = Graph::new(&[0, 3, 8, 8], 5);
    let stem = graph.conv("stem", "image", 3, 4);
    graph.classifier("exit", &stem, 4, 5);
    graph.output("exit");
    let model = Model::from_bytes(graph.bytes(), "test.onnx", &LoadOptions::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.dynp");
    let told = model.info().clone();
    assert_eq!((told.preprocessing_source, told.warnings.len()), (PreprocessingSource::Assumed, 1));
    bundle::compile(model, None, Target::host(), &path).unwrap();
    let plan = Plan::load(&path, &LoadOptions::default()).unwrap();
    assert_eq!(plan.info().preprocessing_source, told.preprocessing_source);
    assert_eq!(plan.info().warnings, told.warnings);
}

#[test]
fn sixteen_exits_are_loaded_and_seventeen_refused() {
    let many = |exits: usize| {
        let mut graph = Graph::new(&[0, 3, 8, 8], 5);
        let mut at = graph.conv("stem", "image", 3, 4);
        for exit in 0..exits {
            at = graph.node(&format!("step{exit}"), "Relu", &[&at], &[]);
            graph.classifier(&format!("exit{exit}"), &at, 4, 5);
            graph.output(&format!("exit{exit}"));
        }
        Model::from_bytes(graph.bytes(), "test.onnx", &LoadOptions::default())
    };
    let plan = Plan::new(many(16).unwrap()).unwrap();
    assert_eq!(plan.stages().len(), 16);
    let error = many(17).unwrap_err().to_string();
    assert_eq!(error, "test.onnx: 17 exits, at most 16 are supported");
}
