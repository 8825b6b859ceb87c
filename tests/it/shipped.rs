//! Networks that are shipped beside the default one: their files and cards.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dyn_perceiver::Plan;
use dyn_perceiver::model::LoadOptions;
use serde_json::Value;

/// Most bytes of a shipped model.
const MOST: u64 = 5_000_000;

pub(crate) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/pretrained").join(name)
}

pub(crate) fn json(path: PathBuf) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

pub(crate) fn plan(name: &str) -> Arc<Plan> {
    let path = folder(name).join("model.onnx");
    assert!(std::fs::metadata(&path).unwrap().len() <= MOST);
    let plan = Plan::load(&path, &LoadOptions::default()).unwrap();
    let card = std::fs::read_to_string(folder(name).join("README.md")).unwrap();
    assert!(card.contains(&plan.info().digest.hex().to_string()), "the card is of another model");
    Arc::new(plan)
}
