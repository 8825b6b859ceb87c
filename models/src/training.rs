//! The training package in Python, as text of the program that carries it: its files are written out where they are run.

/// Path below a folder of one's own, and contents.
pub const FILES: &[(&str, &str)] = &[
    ("requirements.txt", include_str!("../training/requirements.txt")),
    ("dyn_perceiver_training/__init__.py", include_str!("../training/dyn_perceiver_training/__init__.py")),
    ("dyn_perceiver_training/attention.py", include_str!("../training/dyn_perceiver_training/attention.py")),
    ("dyn_perceiver_training/cache.py", include_str!("../training/dyn_perceiver_training/cache.py")),
    ("dyn_perceiver_training/fit.py", include_str!("../training/dyn_perceiver_training/fit.py")),
    ("dyn_perceiver_training/folder.py", include_str!("../training/dyn_perceiver_training/folder.py")),
    ("dyn_perceiver_training/images.py", include_str!("../training/dyn_perceiver_training/images.py")),
    ("dyn_perceiver_training/int8.py", include_str!("../training/dyn_perceiver_training/int8.py")),
    ("dyn_perceiver_training/losses.py", include_str!("../training/dyn_perceiver_training/losses.py")),
    ("dyn_perceiver_training/macs.py", include_str!("../training/dyn_perceiver_training/macs.py")),
    ("dyn_perceiver_training/mixing.py", include_str!("../training/dyn_perceiver_training/mixing.py")),
    ("dyn_perceiver_training/model.py", include_str!("../training/dyn_perceiver_training/model.py")),
    ("dyn_perceiver_training/onnx_weights.py", include_str!("../training/dyn_perceiver_training/onnx_weights.py")),
    ("dyn_perceiver_training/options.py", include_str!("../training/dyn_perceiver_training/options.py")),
    ("dyn_perceiver_training/report.py", include_str!("../training/dyn_perceiver_training/report.py")),
    (
        "dyn_perceiver_training/backbones/__init__.py",
        include_str!("../training/dyn_perceiver_training/backbones/__init__.py"),
    ),
    (
        "dyn_perceiver_training/backbones/pieces.py",
        include_str!("../training/dyn_perceiver_training/backbones/pieces.py"),
    ),
    (
        "dyn_perceiver_training/backbones/efficientnet_lite.py",
        include_str!("../training/dyn_perceiver_training/backbones/efficientnet_lite.py"),
    ),
    (
        "dyn_perceiver_training/backbones/mobilenet_v3.py",
        include_str!("../training/dyn_perceiver_training/backbones/mobilenet_v3.py"),
    ),
    (
        "dyn_perceiver_training/backbones/regnet.py",
        include_str!("../training/dyn_perceiver_training/backbones/regnet.py"),
    ),
    (
        "dyn_perceiver_training/backbones/resnet.py",
        include_str!("../training/dyn_perceiver_training/backbones/resnet.py"),
    ),
];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_module_that_is_imported_is_carried() {
        let names: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
        for (name, text) in FILES.iter().filter(|(name, _)| name.ends_with(".py")) {
            let folder = Path::new(name).parent().unwrap();
            for line in text.lines().filter_map(|line| line.trim().strip_prefix("from .")) {
                let module = line.split(' ').next().unwrap();
                let modules: Vec<&str> = match module {
                    "" => line.trim_start_matches(" import ").split(", ").collect(),
                    module => vec![module],
                };
                for module in modules {
                    let file = folder.join(format!("{module}.py"));
                    let package = folder.join(module).join("__init__.py");
                    let carried = |path: &Path| names.iter().any(|name| Path::new(name) == path);
                    assert!(carried(&file) || carried(&package), "{name} imports {module}");
                }
            }
        }
    }
}
