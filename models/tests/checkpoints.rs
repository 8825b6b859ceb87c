//! Checkpoints written by PyTorch (models/training/write_fixtures.py) and by others, sound and damaged.

mod pickles;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dyn_perceiver_models::{Checkpoint, Config, Error, Metadata, Network, Seeded, Weights};
use safetensors::tensor::{Dtype, TensorView, serialize};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn tiny() -> Config {
    Config::from_name("mobilenetV3_0x05_perceiver_t8").unwrap().with_sa_widening(1).with_classes(3).with_input_size(32)
}

/// What importing a file without saying anything about it gives.
fn import(path: &Path) -> Result<Vec<u8>, Error> {
    let mut weights = Checkpoint::open(path)?;
    let shapes = weights.shapes().unwrap().clone();
    let config = Config::recognise(path, &shapes, None)?.with_input_size(32);
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
    pickles::archive(pickle, &[])
}

/// Opens bytes as a checkpoint.
fn open(bytes: &[u8]) -> Result<Checkpoint, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.pth");
    std::fs::write(&path, bytes).unwrap();
    Checkpoint::open(&path)
}

#[test]
fn what_lies_beside_the_weights_is_inert() {
    let numbers = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    for (what, beside) in [
        ("numpy array", &b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02\x85cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R\x89U\x04abcdtb"[..]),
        ("numpy scalar", b"cnumpy._core.multiarray\nscalar\ncnumpy\ndtype\nU\x02f8K\x00K\x01\x87RC\x08\x00\x00\x00\x00\x00\x00\x00\x00\x86R"),
        ("counter", b"ccollections\nCounter\n}K\x07K\x02s\x85R"),
        ("set of protocol 2", b"c__builtin__\nset\n](K\x01K\x02e\x85R"),
        ("set of protocol 4", b"\x8f(K\x01K\x02\x90"),
        ("frozen set", b"(K\x01K\x02\x91"),
        ("date", b"cdatetime\ndatetime\nC\x0a\x07\xea\x0b\x1b\x00\x00\x00\x00\x00\x00\x85R"),
        ("configuration", b"cyacs.config\nCfgNode\n)\x81U\x02lrG\x00\x00\x00\x00\x00\x00\x00\x00s}b"),
        ("class of a script", b"c__main__\nSettings\n)\x81}U\x01aK\x01sb"),
        ("arguments by name", b"\x8c\x06easyda\x8c\x04Dict\x93)}\x92"),
        ("list of a class", b"cmmengine\nHistory\n)\x81(K\x01K\x02e"),
        ("long number", b"\x8b\x0c\x00\x00\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c"),
        ("quantised storage", b"(U\x07storagectorch\nQInt8Storage\nU\x019U\x03cpuK\x01tQ"),
    ] {
        let pickle = pickles::checkpoint("0", 6, &[2, 3], beside);
        let mut weights = open(&pickles::archive(&pickle, &[("0", &numbers)])).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(weights.read("w", &[2, 3]).unwrap(), numbers, "{what}");
        let mut weights = open(&pickles::legacy(&pickle, &[("0", &numbers)])).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(weights.read("w", &[2, 3]).unwrap(), numbers, "{what}, before 1.6");
    }
}

#[test]
fn a_whole_model_is_refused_with_the_cure() {
    for pickle in [
        &b"\x80\x02cmodels.msdnet\nMSDNet\n)\x81}U\x01aK\x01sb."[..],
        b"\x80\x02}U\x05modelcmodels.msdnet\nMSDNet\n)\x81}bs.",
    ] {
        let error = open(&archive(pickle)).unwrap_err().to_string();
        assert!(
            error.ends_with("an object of models.msdnet.MSDNet; save model.state_dict() in place of the model"),
            "{error}"
        );
    }
}

#[test]
fn checkpoints_before_pytorch_1_6_give_the_very_network_of_their_weights() {
    let network = Network::new(&tiny()).unwrap();
    let tensors = network.parameters().iter().map(|(key, p)| (key.as_str(), p.shape.clone()));
    let tensors: Vec<_> = tensors.map(|(key, shape)| (key, Seeded.read(key, &shape).unwrap(), shape)).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("legacy.pth");
    let sound = pickles::legacy_state_dict(&tensors);
    std::fs::write(&path, &sound).unwrap();
    let exact = expected(|v| v);
    assert!(import(&path).unwrap() == exact);

    for share in 0..40 {
        std::fs::write(&path, &sound[..sound.len() * share / 40]).unwrap();
        let error = import(&path).unwrap_err();
        assert!(error.to_string().contains("legacy.pth"), "{error}");
    }
    // The format has no checksum: changed bits of a number are changed weights. Nothing else may come of them.
    for position in (0..sound.len() - 1).step_by(sound.len() / 60) {
        let mut bytes = sound.clone();
        bytes[position] ^= 0x40;
        std::fs::write(&path, bytes).unwrap();
        let _ = import(&path);
    }
}

#[test]
fn views_before_pytorch_1_6_are_parts_of_their_storage() {
    let view = b"(U\x011K\x02K\x03t";
    let pickle = pickles::state_dict_of_view("0", 6, view, &[3]);
    let numbers = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let mut weights = open(&pickles::legacy(&pickle, &[("0", &numbers)])).unwrap();
    assert_eq!(weights.read("w", &[3]).unwrap(), [3.0, 4.0, 5.0]);
    // Four elements from the third on of a view that has three.
    let pickle = pickles::state_dict_of_view("0", 6, view, &[4]);
    assert!(matches!(open(&pickles::legacy(&pickle, &[("0", &numbers)])), Err(Error::Malformed { .. })));
}

#[test]
fn sizes_beyond_the_file_are_refused_before_memory_is_taken() {
    // 2^33 floats by the pickle and by the zip directory, in a file of some hundred bytes.
    let pickle = pickles::checkpoint("0", 1 << 33, &[1 << 33], b"N");
    let bytes = pickles::archive(&pickle, &[("0", &[1.0; 4])]);
    let mut lying = bytes.clone();
    for (from, to) in [(16u32.to_le_bytes(), u32::MAX.to_le_bytes())] {
        while let Some(at) = lying.windows(4).position(|window| window == from) {
            lying[at..at + 4].copy_from_slice(&to);
        }
    }
    for bytes in [bytes, lying] {
        match open(&bytes) {
            Err(Error::Malformed { .. }) => {}
            Ok(mut weights) => assert!(matches!(weights.read("w", &[1 << 33]), Err(Error::Malformed { .. }))),
            Err(other) => panic!("{other}"),
        }
    }
    // Products that wrap: 2^62 numbers of 4 bytes are 0 bytes.
    let pickle = pickles::checkpoint("0", 1 << 62, &[1 << 62], b"N");
    assert!(matches!(open(&pickles::archive(&pickle, &[("0", &[])])), Err(Error::Malformed { .. })));
    assert!(matches!(open(&pickles::legacy(&pickle, &[("0", &[])])), Err(Error::Malformed { .. })));
}

#[test]
fn a_long_storage_key_is_refused() {
    let key = "k".repeat(1 << 20);
    let pickle = pickles::checkpoint(&key, 1, &[1], b"N");
    assert!(matches!(open(&archive(&pickle)), Err(Error::Malformed { .. })));
}

#[test]
fn keys_that_steer_a_terminal_are_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.safetensors");
    let odd = |shapes: &mut BTreeMap<String, Vec<usize>>| drop(shapes.insert("\u{1b}[2J".to_owned(), vec![1]));
    std::fs::write(&path, safetensors(|v| v.to_le_bytes().to_vec(), Dtype::F32, odd)).unwrap();
    let text = import(&path).unwrap_err().to_string();
    assert!(text.contains("surplus   \\u{1b}[2J") && !text.contains('\u{1b}'), "{text:?}");
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
