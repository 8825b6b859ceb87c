//! Exits learned anew: the features in front of them, and the network with other classifiers.

use std::sync::Arc;

use dyn_perceiver::calibrate::learn::{Features, Linear, Options, learn};
use dyn_perceiver::frame::PixelFormat;
use dyn_perceiver::learn::{HeadsError, Learner, NONE_OF_THESE, Part, View};
use dyn_perceiver::model::LoadOptions;
use dyn_perceiver::{Classifier, Frame, Model, Plan};
use dyn_perceiver_models::{Config, Metadata, Network, Seeded};

fn onnx(name: &str, half: bool) -> Vec<u8> {
    let config = Config::from_name(name).unwrap().with_input_size(64).with_classes(10).with_sa_widening(1);
    let network = Network::new(&config).unwrap().with_half_weights(half);
    network.to_bytes(&mut Seeded, &Metadata::imagenet(10)).unwrap()
}

/// A picture of one colour with some structure.
fn picture(class: usize, number: usize) -> Frame {
    let pixel = |i: usize| ((i * 37 + number * 11) % 60) as u8 + if i % 3 == class { 150 } else { 20 };
    Frame::new((0..70 * 70 * 3).map(pixel).collect(), PixelFormat::Rgb, 70, 70)
}

#[test]
fn a_network_learns_other_classes_and_its_exits_give_what_was_fitted() {
    for (name, half) in [("efficientnet_lite0_perceiver_t8", true), ("mobilenetV3_0x1_perceiver_t8", false)] {
        let mut learner = Learner::from_bytes(onnx(name, half), "model.onnx", &LoadOptions::default()).unwrap();
        assert_eq!(learner.exits(), ["early3", "att", "cnn", "merge"]);
        if name.starts_with("efficientnet") {
            // Beside what a classifier read stand the means of the trunk's maps, the last of every width up to stride 16.
            assert!(learner.widths().iter().all(|&width| width > 600), "{:?}", learner.widths());
        }
        let mut seen: Vec<Features> = learner.widths().into_iter().map(|width| Features::new(width, 3)).collect();
        let photos: Vec<(usize, Frame)> = (0..12).map(|i| (i % 3, picture(i % 3, i))).collect();
        for (class, photo) in &photos {
            for (features, row) in seen.iter_mut().zip(learner.features(photo).unwrap()) {
                features.push(&row, *class).unwrap();
            }
        }
        let learned: Vec<_> = seen.iter().map(|features| learn(features, &Options::default()).unwrap()).collect();
        let linear: Vec<Linear> = learned.iter().map(|crossed| crossed.classifier.clone()).collect();
        let labels = ["blue", "green", "red"].map(str::to_owned);
        let bytes = learner.finish(&linear, &labels).unwrap();
        let model = Model::from_bytes(bytes, "mine.onnx", &LoadOptions::default()).unwrap();
        assert_eq!((model.info().classes, model.info().labels.clone().unwrap()), (3, labels.to_vec()));
        let plan = Arc::new(Plan::new(model).unwrap());
        let mut classifier = Classifier::new(plan.clone()).unwrap();
        for (class, photo) in &photos {
            let rows = learner.features(photo).unwrap();
            let input = classifier.tensor(photo).unwrap().to_vec();
            let logits = classifier.runtime().all_logits(&input).unwrap();
            // What a gate behind the first exit compares is what its old classifier read.
            let first = learner.exits().iter().position(|exit| *exit == plan.stages()[0].exit).unwrap();
            let code = classifier.runtime().code().unwrap();
            assert!(
                code.len() == plan.code_len() && code.len() > 3 && code.len() <= rows[first].len(),
                "{}",
                code.len()
            );
            assert!(code.iter().zip(&rows[first]).all(|(a, b)| (a - b).abs() < 1e-3 * (1.0 + b.abs())), "{name}");
            for (stage, logits) in plan.stages().iter().zip(logits) {
                let exit = learner.exits().iter().position(|exit| *exit == stage.exit).unwrap();
                let expected = linear[exit].logits(&rows[exit]);
                let largest = expected.iter().fold(1.0f32, |most, value| most.max(value.abs()));
                for (found, expected) in logits.iter().zip(&expected) {
                    assert!((found - expected).abs() < 1e-3 * largest, "{name} {}: {found} {expected}", stage.exit);
                }
                let best = (0..3).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
                assert_eq!(best, *class, "{name} {}", stage.exit);
            }
        }
    }
}

#[test]
fn a_network_that_was_learned_says_none_of_these() {
    let bytes = onnx("efficientnet_lite0_perceiver_t8", false);
    let mut learner = Learner::from_bytes(bytes, "model.onnx", &LoadOptions::default()).unwrap();
    assert_eq!(learner.exits()[learner.deepest()], "merge");
    let of_exit = |width| Features::new(width, 2).with_views(2);
    let mut seen: Vec<Features> = learner.widths().into_iter().map(of_exit).collect();
    let photos: Vec<(usize, Frame)> = (0..40).map(|i| (i % 2, picture(i % 2, i))).collect();
    for (class, photo) in &photos {
        let views = View::several(2).into_iter().map(|view| learner.look(photo, view).unwrap());
        let views: Vec<_> = views.collect();
        for (exit, features) in seen.iter_mut().enumerate() {
            let row: Vec<f32> = views.iter().flat_map(|rows| rows[exit].features.iter().copied()).collect();
            features.push(&row, *class).unwrap();
        }
    }
    let options = Options::default().with_reject(Some(0.2));
    let learned: Vec<_> = seen.iter().map(|features| learn(features, &options).unwrap()).collect();
    let linear: Vec<Linear> = learned.iter().map(|crossed| crossed.classifier.clone()).collect();
    let outside: Vec<_> = learned.iter().map(|crossed| crossed.outside.clone().unwrap().0).collect();
    let labels = ["blue", "green"].map(str::to_owned);
    let bytes = learner.finish_with_none(&linear, &outside, &labels).unwrap();
    let model = Model::from_bytes(bytes.clone(), "mine.onnx", &LoadOptions::default()).unwrap();
    assert_eq!(model.info().labels.clone().unwrap(), ["blue", "green", NONE_OF_THESE]);
    let plan = Arc::new(Plan::new(model.clone()).unwrap());
    let mut classifier = Classifier::new(plan.clone()).unwrap();
    let noise = |i: usize| (i.wrapping_mul(2_654_435_761) >> 13) as u8;
    let other = Frame::new((0..70 * 70 * 3).map(noise).collect(), PixelFormat::Rgb, 70, 70);
    for (is_own, photo) in [(true, &photos[0].1), (true, &photos[1].1), (false, &other)] {
        let rows = learner.features(photo).unwrap();
        let input = classifier.tensor(photo).unwrap().to_vec();
        for (stage, logits) in plan.stages().iter().zip(classifier.runtime().all_logits(&input).unwrap()) {
            let exit = learner.exits().iter().position(|exit| *exit == stage.exit).unwrap();
            let classes = linear[exit].logits(&rows[exit]);
            let top = classes.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let none = outside[exit].logit(&rows[exit], top);
            let near = |a: f32, b: f32| (a - b).abs() < 2e-3 * (1.0 + b.abs().max(top.abs()));
            assert!(
                near(logits[2], none) && near(logits[0], classes[0]),
                "{}: {logits:?} {classes:?} {none}",
                stage.exit
            );
            assert_eq!(logits[2] <= top, is_own, "{}: {logits:?}", stage.exit);
        }
    }
    // A bundle says the same, and what was learned can be learned anew.
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("mine.dynp");
    dyn_perceiver::bundle::compile(model, None, dyn_perceiver::bundle::Target::host(), &path).unwrap();
    let answer = Classifier::builder(&path).build().unwrap().classify(&other).unwrap();
    assert_eq!(&*answer.label, NONE_OF_THESE);
    let again = Learner::from_bytes(bytes, "mine.onnx", &LoadOptions::default()).unwrap();
    assert_eq!(again.widths(), learner.widths());
}

#[test]
fn a_view_is_of_its_part_alone_and_a_mirrored_one_of_the_mirrored_photo() {
    let bytes = onnx("mobilenetV3_0x05_perceiver_t8", false);
    let mut learner = Learner::from_bytes(bytes, "model.onnx", &LoadOptions::default()).unwrap();
    let alike = |a: &[Vec<f32>], b: &[Vec<f32>]| {
        let mut pairs = a.iter().flatten().zip(b.iter().flatten());
        pairs.all(|(a, b)| (a - b).abs() < 1e-3 * (1.0 + b.abs()))
    };
    let mut look = |photo: &Frame, view: View| -> Vec<Vec<f32>> {
        learner.look(photo, view).unwrap().into_iter().map(|seen| seen.features).collect()
    };
    let photo = picture(1, 5);
    let changed = |at: fn(usize, usize) -> bool| {
        let pixel = |(i, &value): (usize, &u8)| if at(i / 3 % 70, i / 210) { 255 - value } else { value };
        let pixels = photo.pixels.iter().enumerate().map(pixel).collect();
        Frame::new(pixels, PixelFormat::Rgb, 70, 70)
    };
    let rows = photo.pixels.chunks_exact(210).flat_map(|row| row.chunks_exact(3).rev().flatten().copied());
    let mirrored = Frame::new(rows.collect(), PixelFormat::Rgb, 70, 70);
    // The lower left three quarters of the sides.
    let corner = |right| Part::Corner { right, lower: true };
    let seen = look(&photo, View::new(corner(false), false));
    assert!(alike(&look(&changed(|x, y| x > 60 || y < 10), View::new(corner(false), false)), &seen));
    assert!(!alike(&look(&changed(|x, y| x < 20 && y > 50), View::new(corner(false), false)), &seen));
    assert!(alike(&look(&mirrored, View::new(corner(true), true)), &seen));
    assert!(!alike(&look(&photo, View::default()), &seen));
    assert!(View::several(View::MOST).into_iter().all(|view| look(&photo, view).len() == 4));
}

#[test]
fn classifiers_that_do_not_fit_are_refused() {
    let bytes = onnx("mobilenetV3_0x05_perceiver_t8", false);
    let learner = Learner::from_bytes(bytes, "model.onnx", &LoadOptions::default()).unwrap();
    let labels = ["a", "b"].map(str::to_owned);
    let fitting = |width: usize| Linear::new(vec![0.0; 2 * width], vec![0.0; 2]);
    let mut linear: Vec<Linear> = learner.widths().into_iter().map(fitting).collect();
    assert!(learner.finish(&linear, &labels).is_ok());
    linear[1].weights.pop();
    let error = learner.finish(&linear, &labels).unwrap_err();
    assert!(matches!(error, HeadsError::Classifiers { .. }) && error.to_string().contains("\"att\""), "{error}");
    assert!(learner.finish(&linear[..2], &labels).unwrap_err().to_string().contains("2 for 4 exits"));
    let damaged = Learner::from_bytes(b"no model".to_vec(), "x.onnx", &LoadOptions::default()).unwrap_err();
    assert!(damaged.to_string().contains("x.onnx"), "{damaged}");
}
