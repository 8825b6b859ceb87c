//! Checkpoints written by PyTorch (models/training/write_fixtures.py) and by others, sound and damaged.

use std::collections::BTreeMap;
use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};

use dyn_perceiver_models::{Checkpoint, Config, Error, Metadata, Network, Seeded, Weights};
use safetensors::tensor::{Dtype, TensorView, serialize};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn tiny() -> Config {
    Config { sa_widening: 1, classes: 3, input_size: 32, ..Config::from_name("mobilenetV3_0x05_perceiver_t8").unwrap() }
}

/// What importing a file without saying anything about it gives.
fn import(path: &Path) -> Result<Vec<u8>, Error> {
    let mut weights = Checkpoint::open(path)?;
    let shapes = weights.shapes().unwrap().clone();
    let config = Config { input_size: 32, ..Config::recognise(path, &shapes, None)? };
    Network::new(&config)?.to_bytes(&mut weights, &Metadata::imagenet(config.classes))
}

/// The deterministic weights, each rounded by a function.
struct Rounded(fn(f32) -> f32);

impl Weights for Rounded {
    fn shapes(&self) -> Option<&BTreeMap<String, Vec<usize>>> {
        None
    }

    fn read(&mut self, key: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        Ok(Seeded.read(key, shape)?.into_iter().map(self.0).collect())
    }
}

fn expected(round: fn(f32) -> f32) -> Vec<u8> {
    Network::new(&tiny()).unwrap().to_bytes(&mut Rounded(round), &Metadata::imagenet(3)).unwrap()
}

#[test]
fn checkpoints_of_pytorch_give_the_very_network_of_their_weights() {
    let exact = expected(|v| v);
    for name in ["tiny_plain.pth", "tiny_ema.pth"] {
        assert!(import(&fixture(name)).unwrap() == exact, "{name}");
    }
    let half = expected(|v| half::f16::from_f32(v).to_f32());
    assert!(import(&fixture("tiny_half.pth")).unwrap() == half);
}

fn safetensors(
    round: impl Fn(f32) -> Vec<u8>,
    dtype: Dtype,
    change: impl Fn(&mut BTreeMap<String, Vec<usize>>),
) -> Vec<u8> {
    let network = Network::new(&tiny()).unwrap();
    let mut shapes = network.parameters().iter().map(|(key, p)| (key.clone(), p.shape.clone())).collect();
    change(&mut shapes);
    let data: Vec<(String, Vec<usize>, Vec<u8>)> = shapes
        .into_iter()
        .map(|(key, shape)| {
            let bytes = Seeded.read(&key, &shape).unwrap().into_iter().flat_map(&round).collect();
            (key, shape, bytes)
        })
        .collect();
    let views = data.iter().map(|(key, shape, bytes)| (key, TensorView::new(dtype, shape.clone(), bytes).unwrap()));
    serialize(views, None).unwrap()
}

#[test]
fn safetensors_give_it_too_in_any_precision() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.safetensors");
    std::fs::write(&path, safetensors(|v| v.to_le_bytes().to_vec(), Dtype::F32, |_| {})).unwrap();
    assert!(import(&path).unwrap() == expected(|v| v));
    let bytes = safetensors(|v| half::bf16::from_f32(v).to_le_bytes().to_vec(), Dtype::BF16, |_| {});
    std::fs::write(&path, bytes).unwrap();
    assert!(import(&path).unwrap() == expected(|v| half::bf16::from_f32(v).to_f32()));
}

#[test]
fn every_key_that_does_not_fit_is_listed_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("odd.safetensors");
    let odd = |shapes: &mut BTreeMap<String, Vec<usize>>| {
        shapes.remove("classifier_att.bias");
        shapes.remove("cnn_stem.1.block.0.1.running_var");
        shapes.remove("isc4.1.num_batches_tracked");
        shapes.insert("teacher.weight".to_owned(), vec![2]);
        shapes.insert("cnn_body_stage2.0.block.0.0.weight".to_owned(), vec![3, 1]);
    };
    std::fs::write(&path, safetensors(|v| v.to_le_bytes().to_vec(), Dtype::F32, odd)).unwrap();
    let Err(Error::Mismatch { differences, .. }) = import(&path) else { panic!("a misfit was accepted") };
    assert_eq!(differences.missing, ["classifier_att.bias", "cnn_stem.1.block.0.1.running_var"]);
    assert_eq!(differences.surplus, ["teacher.weight"]);
    assert_eq!(differences.misshapen.len(), 1);
    assert_eq!(differences.misshapen[0].2, [3, 1]);
}

/// A zip file with one pickle and no storages.
fn archive(pickle: &[u8]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    zip.start_file("archive/data.pkl", stored).unwrap();
    zip.write_all(pickle).unwrap();
    zip.finish().unwrap().into_inner()
}

#[test]
fn a_pickle_that_calls_something_is_refused_by_name_and_not_executed() {
    let folder = tempfile::tempdir().unwrap();
    let (path, trace) = (folder.path().join("evil.pth"), folder.path().join("executed"));
    let command = format!("touch {}", trace.display());
    let text = |text: &str| [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    let call = |module: &str, name: &str| [b"\x80\x02c", module.as_bytes(), b"\n", name.as_bytes(), b"\n"].concat();
    let arguments = [text(&command), b"\x85R.".to_vec()].concat();
    let stack_global =
        [b"\x80\x04".to_vec(), text("posix"), text("system"), b"\x93".to_vec(), arguments.clone()].concat();
    let cases = [
        ([call("posix", "system"), arguments.clone()].concat(), "posix.system"),
        ([call("builtins", "eval"), arguments.clone()].concat(), "builtins.eval"),
        ([call("torch.hub", "load"), arguments.clone()].concat(), "torch.hub.load"),
        ([call("torch.storage", "_load_from_bytes"), arguments].concat(), "torch.storage._load_from_bytes"),
        (stack_global, "posix.system"),
    ];
    for (pickle, symbol) in cases {
        std::fs::write(&path, archive(&pickle)).unwrap();
        let error = import(&path).unwrap_err();
        assert!(matches!(&error, Error::Forbidden { symbol: s, .. } if s == symbol), "{error}");
        assert!(error.to_string().contains(symbol) && error.to_string().contains("evil.pth"), "{error}");
        assert!(!trace.exists());
    }
}

#[test]
fn broken_pickles_are_refused_with_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.pth");
    for pickle in [
        &b""[..],
        b"\x80\x02",
        b"\x80\x02.",
        b"\x80\x02u.",
        b"\x80\x02X\xff\xff\xff\xff.",
        b"\x80\x02h\x05.",
        b"\x80\x02(K\x01K\x02e.",
        b"\x80\x02K\x01K\x02\x86Q.",
        b"\x80\x02K\x01)R.",
        b"\x80\x02i__main__\nX\n.",
        b"\x80\x02}.",
        b"\x80\x02K\x01}b.",
        b"\x80\x02ccollections\nOrderedDict\nK\x01R.",
    ] {
        std::fs::write(&path, archive(pickle)).unwrap();
        let error = import(&path).unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{pickle:?}: {error}");
    }
}

#[test]
fn damaged_files_are_refused_without_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.pth");
    let sound = std::fs::read(fixture("tiny_plain.pth")).unwrap();
    for share in 0..40 {
        std::fs::write(&path, &sound[..sound.len() * share / 40]).unwrap();
        let error = import(&path).unwrap_err();
        assert!(error.to_string().contains("damaged.pth"), "{error}");
    }
    let exact = expected(|v| v);
    let mut noticed = 0;
    let positions: Vec<usize> = (0..150).map(|i| i * (sound.len() - 1) / 149).collect();
    for &position in &positions {
        let mut bytes = sound.clone();
        bytes[position] ^= 0x40;
        std::fs::write(&path, bytes).unwrap();
        match import(&path) {
            Err(_) => noticed += 1,
            // Unseen changes are in the padding with which PyTorch aligns storages, a third of so small a file, and in dates.
            Ok(bytes) => assert!(bytes == exact, "byte {position} changed the weights unseen"),
        }
    }
    assert!(noticed * 2 > positions.len(), "only {noticed} of {} flips were noticed", positions.len());

    let safetensors = safetensors(|v| v.to_le_bytes().to_vec(), Dtype::F32, |_| {});
    for length in [0, 4, 9, 100, safetensors.len() / 2, safetensors.len() - 1] {
        std::fs::write(&path, &safetensors[..length]).unwrap();
        assert!(import(&path).is_err(), "{length} bytes of safetensors");
    }
    for (bytes, reason) in [(&b"\x80\x02}q\x00."[..], "before 1.6"), (b"hello, world", "neither"), (b"", "empty")] {
        std::fs::write(&path, bytes).unwrap();
        let error = import(&path).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    assert!(matches!(import(&folder.path().join("none")), Err(Error::Io { .. })));
}

#[test]
fn a_failed_import_leaves_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, b"before").unwrap();
    struct Failing;
    impl Weights for Failing {
        fn shapes(&self) -> Option<&BTreeMap<String, Vec<usize>>> {
            None
        }
        fn read(&mut self, key: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
            if key.starts_with("classifier_merge") {
                return Err(Error::Configuration { field: "test", actual: String::new(), expected: String::new() });
            }
            Seeded.read(key, shape)
        }
    }
    let network = Network::new(&tiny()).unwrap();
    assert!(network.save(&path, &mut Failing, &Metadata::imagenet(3), &mut |_, _| {}).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"before");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    network.save(&path, &mut Seeded, &Metadata::imagenet(3), &mut |_, _| {}).unwrap();
    assert!(std::fs::read(&path).unwrap() == network.to_bytes(&mut Seeded, &Metadata::imagenet(3)).unwrap());
}
