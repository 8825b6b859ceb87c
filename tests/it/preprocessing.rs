//! Frames reach the network as its training package would hand them over. The expected values are PyTorch's, written by
//! `tests/fixtures/camera/generate.py`.
use std::path::{Path, PathBuf};

use dyn_perceiver::camera::{Frame, FrameSource, IdxSource, ImageSource, PixelFormat};
use dyn_perceiver::preprocess::{Crop, Interpolation, Preprocess, Preprocessor};

const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/camera").join(name)
}

fn floats(name: &str) -> Vec<f32> {
    let bytes = std::fs::read(fixture(name)).unwrap();
    bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

/// The largest difference between what `preprocess` makes of `frame` and `expected`.
fn difference(preprocess: Preprocess, frame: &Frame, expected: &[f32]) -> f32 {
    let mut out = vec![f32::NAN; preprocess.len()];
    Preprocessor::new(preprocess).unwrap().run(frame, &mut out).unwrap();
    assert_eq!(out.len(), expected.len());
    out.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn grey_frames_are_enlarged_as_in_training() {
    let preprocess = Preprocess::new(48, 48).with_normalisation([0.2860; 3], [0.3530; 3]);
    let labels = fixture("grey-labels-idx1-ubyte.gz");
    let mut source = IdxSource::open(fixture("grey-images-idx3-ubyte.gz"), Some(&labels)).unwrap();
    let planes = floats("grey-48x48.f32");
    for (plane, label) in planes.chunks_exact(48 * 48).zip([4, 0, 9]) {
        let frame = source.next().unwrap().unwrap();
        assert_eq!(frame.label, Some(label));
        let difference = difference(preprocess, &frame, &plane.repeat(3));
        assert!(difference < 1e-3, "off by {difference}");
    }
    assert!(source.next().unwrap().is_none());
}

#[test]
fn colour_frames_are_reduced_and_cut_as_in_training() {
    let frame = ImageSource::open(fixture("colour.png")).unwrap().next().unwrap().unwrap();
    let (mean, std) = IMAGENET;
    for (name, width, height, crop, interpolation) in [
        ("colour-stretch-30x20.f32", 30, 20, Crop::Stretch, Interpolation::Bilinear),
        ("colour-bicubic-30x20.f32", 30, 20, Crop::Stretch, Interpolation::Bicubic),
        ("colour-centre-28x28.f32", 28, 28, Crop::Centre(0.875), Interpolation::Bilinear),
    ] {
        let preprocess = Preprocess::new(width, height)
            .with_normalisation(mean, std)
            .with_crop(crop)
            .with_interpolation(interpolation);
        let difference = difference(preprocess, &frame, &floats(name));
        assert!(difference < 1e-3, "{name}: off by {difference}");
    }
}

#[test]
fn a_jpeg_frame_is_the_picture_it_encodes() {
    let source = ImageSource::open(fixture("colour.jpg")).unwrap().next().unwrap().unwrap();
    let jpeg = Frame::new(std::fs::read(fixture("colour.jpg")).unwrap(), PixelFormat::Mjpeg, 80, 64);
    let (mean, std) = IMAGENET;
    let preprocess = Preprocess::new(30, 20).with_normalisation(mean, std);
    let mut expected = vec![0.0; preprocess.len()];
    Preprocessor::new(preprocess).unwrap().run(&source, &mut expected).unwrap();
    let difference = difference(preprocess, &jpeg, &expected);
    assert!(difference < 1e-3, "off by {difference}");
}
