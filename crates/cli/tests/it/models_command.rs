//! `dyn-perceiver models` and `import` as a user meets them.

use std::path::PathBuf;
use std::process::Command;

use crate::program::{json, program, refuses};
use tempfile::TempDir;

fn fixture(name: &str) -> String {
    let path = crate::program::repository().join("models/tests/fixtures").join(name);
    path.to_str().unwrap().to_owned()
}

fn path(folder: &TempDir, name: &str) -> (PathBuf, String) {
    let path = folder.path().join(name);
    (path.clone(), path.to_str().unwrap().to_owned())
}

const TINY: [&str; 10] = [
    "models",
    "build",
    "mobilenetV3_0x05_perceiver_t8",
    "--seeded",
    "--sa-widening",
    "1",
    "--classes",
    "3",
    "--input-size",
    "32",
];

#[test]
fn the_family_is_listed_with_what_each_exit_needs() {
    let listed = json(&["models", "--json"]);
    let models = listed["models"].as_array().unwrap();
    assert_eq!(models.len(), 16);
    let of = |name: &str| models.iter().find(|model| model["name"] == name).unwrap();
    assert_eq!(of("resnet50_0375_perceiver_t128")["parameters"], 20_283_336);
    for model in models {
        let gmacs = |exit: &str| model["gmacs"][exit].as_f64().unwrap();
        assert!(gmacs("early3") < gmacs("att") && gmacs("att") < gmacs("merge") && gmacs("cnn") < gmacs("merge"));
    }
    let table = String::from_utf8(program(&["models"]).stdout).unwrap();
    assert!(table.contains("reg3x2g_perceiver_t128") && table.contains("early3"), "{table}");
}

#[test]
fn an_imported_checkpoint_is_the_file_built_from_its_weights() {
    let folder = TempDir::new().unwrap();
    let (built, built_arg) = path(&folder, "built.onnx");
    let (imported, imported_arg) = path(&folder, "imported.onnx");
    let said = json(&[&TINY[..], &["-o", &built_arg, "--json"]].concat());
    assert_eq!(said["bytes"], std::fs::metadata(&built).unwrap().len());
    for name in ["tiny_plain.pth", "tiny_ema.pth"] {
        let said = json(&["import", &fixture(name), "--input-size", "32", "-o", &imported_arg, "--json"]);
        assert_eq!(said["name"], "mobilenetV3_0x05_perceiver_t8");
        assert!(std::fs::read(&built).unwrap() == std::fs::read(&imported).unwrap(), "{name}");
    }
    let exits = json(&["inspect", &imported_arg, "--json"]);
    assert_eq!(exits["stages"].as_array().unwrap().len(), 4);
}

#[test]
fn the_shipped_model_is_what_import_makes_of_its_weights() {
    let folder = TempDir::new().unwrap();
    let (imported, imported_arg) = path(&folder, "model.onnx");
    let shipped = crate::program::repository().join("models/pretrained/fashion-mnist");
    let file = |name: &str| shipped.join(name).to_str().unwrap().to_owned();
    let preprocessing =
        ["--input-size", "56", "--mean", "0.2860", "--std", "0.3530", "--crop", "1", "--interpolation", "bilinear"];
    let (weights, labels) = (file("weights.safetensors"), file("labels.txt"));
    let args =
        [&["import", &weights][..], &preprocessing, &["--labels", &labels, "-o", &imported_arg, "--json"]].concat();
    assert_eq!(json(&args)["name"], "mobilenetV3_0x3_perceiver_t16");
    assert!(std::fs::read(imported).unwrap() == std::fs::read(shipped.join("model.onnx")).unwrap());
}

#[test]
fn wrong_input_is_refused_and_nothing_is_written() {
    let folder = TempDir::new().unwrap();
    let (_, output) = path(&folder, "model.onnx");
    let plain = fixture("tiny_plain.pth");
    let build = |name: &'static str| ["models", "build", name, "--seeded", "-o", &output].map(str::to_owned);
    refuses(&build("reg801m_perceiver_t128").each_ref().map(String::as_str), &["reg801m_perceiver_t128", "reg800m"]);
    refuses(&build("reg800m_perceiver_t4").each_ref().map(String::as_str), &["latents", "8 to"]);
    refuses(&[&TINY[..], &["--depth-factor", "1,2", "-o", &output]].concat(), &["--depth-factor", "four"]);
    refuses(&["import", "nowhere.pth", "-o", &output], &["nowhere.pth"]);
    refuses(
        &["import", &plain, "--no-isc", "-o", &output],
        &["surplus   isc3.0.weight", "misshapen classifier_att.weight"],
    );
    refuses(&["import", &plain, "--arch", "resnet50_perceiver_t8", "-o", &output], &["cnn_body_stage1.0.conv1.weight"]);
    refuses(&["import", &plain, "--crop", "2", "-o", &output], &["crop"]);
    refuses(&["import", &plain, "--std", "1,0,1", "-o", &output], &["standard deviation"]);
    refuses(&["import", &plain, "--labels", &plain, "-o", &output], &["tiny_plain.pth"]);
    refuses(&["import", &fixture("reg800m_perceiver_t128.json"), "-o", &output], &["neither"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    assert_eq!(program(&["import", &plain, "-o", "/nowhere/model.onnx"]).status.code(), Some(1));
}

#[test]
fn networks_give_what_onnx_runtime_gives() {
    // A Python with numpy, onnx, onnxruntime and pillow; without one there is nothing to compare with.
    let python = std::env::var("DYN_PERCEIVER_PYTHON").unwrap_or_else(|_| "python3".into());
    let imports = Command::new(&python).args(["-c", "import numpy, onnx, onnxruntime, PIL"]).output();
    if !imports.is_ok_and(|output| output.status.success()) {
        return eprintln!("skipped: {python} has not all of numpy, onnx, onnxruntime and pillow");
    }
    let script = crate::program::repository().join("models/training/check_family.py");
    let program = env!("CARGO_BIN_EXE_dyn-perceiver");
    let output = Command::new(&python).arg(script).args(["--program", program, "--quick"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains("2 networks, largest difference"), "{told}");
}
