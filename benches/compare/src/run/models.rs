//! The networks that are compared, as ONNX files: whole, and cut at each exit.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use dyn_perceiver_models::{Config, Detection, Metadata, Network, Seeded, Task};
use prost::Message as _;
use tract_onnx::pb::ModelProto;

use crate::failure;

/// The trained model in the repository.
pub(super) const SHIPPED: &str = "fashion-mnist";

/// Published architectures, with the depth factors they were published with.
const FAMILY: [(&str, [usize; 4]); 3] = [
    ("mobilenetV3_0x75_perceiver_t128", [1, 1, 1, 3]),
    ("reg800m_perceiver_t128", [1, 1, 1, 2]),
    ("resnet50_0375_perceiver_t128", [1, 1, 1, 1]),
];

/// A detector with seeded weights, which is compared where it is asked for.
const DETECTOR: &str = "detector";

/// The names of all models but the detector, in the order in which they are compared.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    std::iter::once(SHIPPED).chain(FAMILY.iter().map(|(name, _)| *name))
}

/// One network on disk.
pub(super) struct Model {
    pub name: String,
    /// Exits in order of cost.
    pub exits: Vec<String>,
    /// The whole network.
    pub whole: PathBuf,
    /// For each exit, the network cut there.
    pub cut: Vec<PathBuf>,
    /// Channels, rows, columns.
    pub image: [usize; 3],
    /// Whether it is a detector: the whole network is then its boxes, too.
    pub boxes: bool,
}

impl Model {
    /// Removes the files that [`prepare`] wrote into `folder`.
    pub(super) fn remove(&self, folder: &Path) {
        for path in self.cut.iter().chain([&self.whole]).filter(|path| path.starts_with(folder)) {
            // What is left behind does no harm: it is written anew.
            let _ = fs::remove_file(path);
        }
    }
}

/// Refuses what [`prepare`] would refuse, before anything long begins.
///
/// # Errors
/// Wrong input for a name that is not known and no ONNX file.
pub(super) fn check(wanted: &[String]) -> anyhow::Result<()> {
    for name in wanted.iter().filter(|name| **name != DETECTOR && names().all(|known| known != **name)) {
        if !name.ends_with(".onnx") {
            let known = names().chain([DETECTOR]).collect::<Vec<_>>().join(", ");
            return Err(failure::input(format!("no model {name:?}; there are {known}, or a file ending in .onnx")));
        }
        if !Path::new(name).exists() {
            return Err(failure::input(format!("{name}: no such file")));
        }
    }
    Ok(())
}

/// Writes a model and its cuts into `folder`.
///
/// # Errors
/// When a file cannot be read or written, or is no network with several exits.
pub(super) fn prepare(name: &str, root: &Path, folder: &Path) -> anyhow::Result<Model> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let whole = if name == SHIPPED {
        root.join("models/pretrained/fashion-mnist/model.onnx")
    } else if name == DETECTOR {
        let path = folder.join("detector.onnx");
        let task = Task::Detection(Detection::new(3).with_pyramid(64).with_tower(64, 2));
        let (name, depth_factor) = FAMILY[0];
        let config = Config::from_name(name)?.with_depth_factor(depth_factor).with_input_shape(256, 320);
        let config = config.with_classes(2).with_task(task);
        Network::new(&config)?.save(&path, &mut Seeded, &Metadata::imagenet(config.classes), &mut |_, _| {})?;
        path
    } else if let Some((name, depth_factor)) = FAMILY.iter().find(|(known, _)| *known == name) {
        let config = Config::from_name(name)?.with_depth_factor(*depth_factor);
        let path = folder.join(format!("{name}.onnx"));
        Network::new(&config)?.save(&path, &mut Seeded, &Metadata::imagenet(config.classes), &mut |_, _| {})?;
        path
    } else {
        PathBuf::from(name)
    };
    let loaded = dyn_perceiver::plan::Plan::new(dyn_perceiver::model::Model::load(&whole)?)?;
    let info = loaded.info();
    let (exits, input) = (info.exits.clone(), info.input.clone());
    let proto = ModelProto::decode(fs::read(&whole)?.as_slice()).with_context(|| whole.display().to_string())?;
    let stem = whole.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let cut = exits
        .iter()
        .map(|exit| {
            let path = folder.join(format!("{stem}.{exit}.onnx"));
            fs::write(&path, cut_at(proto.clone(), exit).encode_to_vec())
                .with_context(|| format!("cannot write {}", path.display()))?;
            Ok(path)
        })
        .collect::<anyhow::Result<_>>()?;
    let name = if name.ends_with(".onnx") { stem } else { name.to_owned() };
    let boxes = info.boxes.is_some();
    Ok(Model { name, exits, whole, cut, image: [input.channels, input.height, input.width], boxes })
}

/// The network with one output, and only the nodes and weights that it needs.
fn cut_at(mut model: ModelProto, exit: &str) -> ModelProto {
    let Some(graph) = model.graph.as_mut() else { return model };
    let mut needed: HashSet<String> = HashSet::from([exit.to_owned()]);
    // Nodes come in an order in which they can run, so one pass from the end finds them all.
    let mut kept = vec![];
    for node in std::mem::take(&mut graph.node).into_iter().rev() {
        if node.output.iter().any(|output| needed.contains(output)) {
            needed.extend(node.input.iter().cloned());
            kept.push(node);
        }
    }
    kept.reverse();
    graph.node = kept;
    graph.output.retain(|output| output.name == exit);
    graph.initializer.retain(|weight| needed.contains(&weight.name));
    graph.value_info.clear();
    // What names outputs that are no more there.
    let gone = ["dyn_perceiver.exits", "dyn_perceiver.boxes", "dyn_perceiver.presence"];
    model.metadata_props.retain(|entry| !gone.contains(&entry.key.as_str()));
    model
}

/// An input of `batch` different images, as bytes of float32: uniform noise, the same in every run.
pub(super) fn input(image: [usize; 3], batch: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(0x5eed);
    let count = batch * image.iter().product::<usize>();
    (0..count).flat_map(|_| (2.0 * random.f32() - 1.0).to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dyn_perceiver::{model, plan::Plan, runtime::Runtime};
    use std::sync::Arc;

    #[test]
    fn a_network_cut_at_an_exit_gives_the_same_logits_with_fewer_weights() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let folder = tempfile::tempdir().unwrap();
        let model = prepare(SHIPPED, &root, folder.path()).unwrap();
        let bytes = input(model.image, 1);
        let image: Vec<f32> = bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let all = |path: &Path| {
            let plan = Plan::new(model::Model::load(path).unwrap()).unwrap();
            Runtime::new(Arc::new(plan)).unwrap().all_logits(&image).unwrap()
        };
        let whole = all(&model.whole);
        for (exit, path) in model.cut.iter().enumerate() {
            let cut = all(path);
            assert_eq!(cut.len(), 1);
            for (a, b) in cut[0].iter().zip(&whole[exit]) {
                assert!((a - b).abs() < 1e-4, "{exit}: {a} {b}");
            }
        }
        let size = |path: &Path| fs::metadata(path).unwrap().len();
        assert!(size(&model.cut[0]) < size(&model.whole) / 2);
    }

    #[test]
    fn a_detector_is_compared_with_its_boxes_and_cut_without_them() {
        let folder = tempfile::tempdir().unwrap();
        let model = prepare(DETECTOR, Path::new("."), folder.path()).unwrap();
        assert!(model.boxes && model.image == [3, 256, 320]);
        let cut = Plan::new(model::Model::load(&model.cut[0]).unwrap()).unwrap();
        assert!(cut.info().boxes.is_none() && cut.info().exits == [model.exits[0].clone()]);
    }

    #[test]
    fn an_unknown_model_lists_those_that_there_are() {
        let error = check(&["resnet18".to_owned()]).unwrap_err();
        assert_eq!(failure::code(&error), 2);
        let error = error.to_string();
        assert!(error.contains("resnet18") && error.contains("reg800m_perceiver_t128"), "{error}");
    }
}
