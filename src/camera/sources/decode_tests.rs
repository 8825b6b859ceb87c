use super::*;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/pictures");

fn read(name: &str) -> Result<Frame, CameraError> {
    decode_image(&Path::new(FOLDER).join(name), ImageLimits::default())
}

fn text(name: &str) -> String {
    let error = read(name).unwrap_err().to_string();
    error.strip_prefix(&format!("{FOLDER}/{name}: ")).unwrap_or(&error).to_owned()
}

/// The largest mean difference of a colour from the scene that all fixtures show.
fn difference(frame: &Frame) -> f32 {
    let scene = read("scene.png").unwrap();
    assert_eq!((frame.width, frame.height), (scene.width, scene.height));
    let grey = |rgb: &[u8]| 0.299 * f32::from(rgb[0]) + 0.587 * f32::from(rgb[1]) + 0.114 * f32::from(rgb[2]);
    let pairs: Vec<(f32, f32)> = match frame.format {
        PixelFormat::Grey => {
            frame.pixels.iter().zip(scene.pixels.chunks_exact(3)).map(|(&a, rgb)| (a.into(), grey(rgb))).collect()
        }
        _ => frame.pixels.iter().zip(&scene.pixels).map(|(&a, &b)| (a.into(), b.into())).collect(),
    };
    pairs.iter().map(|(a, b)| (a - b).abs()).sum::<f32>() / pairs.len() as f32
}

#[test]
fn every_kind_of_file_shows_the_same_scene() {
    for (name, format, most) in [
        ("scene.png", PixelFormat::Rgb, 0.0),
        ("scene.bmp", PixelFormat::Rgb, 0.0),
        ("scene.webp", PixelFormat::Rgb, 0.0),
        ("rgba.png", PixelFormat::Rgb, 0.0),
        ("palette.png", PixelFormat::Rgb, 20.0),
        ("grey-alpha.png", PixelFormat::Grey, 1.0),
        ("grey16.png", PixelFormat::Grey, 1.0),
        ("grey.jpg", PixelFormat::Grey, 6.0),
        ("progressive-grey.jpg", PixelFormat::Grey, 6.0),
        ("baseline-420.jpg", PixelFormat::Rgb, 12.0),
        ("baseline-444-optimised.jpg", PixelFormat::Rgb, 12.0),
        ("progressive.jpg", PixelFormat::Rgb, 12.0),
        ("restart.jpg", PixelFormat::Rgb, 12.0),
        ("cmyk.jpg", PixelFormat::Rgb, 12.0),
    ] {
        let frame = read(name).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(frame.format, format, "{name}");
        let found = difference(&frame);
        assert!(found <= most, "{name}: off by {found}");
    }
}

#[test]
fn the_exif_orientation_is_applied() {
    let names: Vec<_> = (2..=8).map(|tag| format!("orientation-{tag}.jpg")).collect();
    for name in names.iter().map(String::as_str).chain(["orientation-6.png", "orientation-6.webp"]) {
        let found = difference(&read(name).unwrap());
        assert!(found < 3.0, "{name}: off by {found}");
    }
}

#[test]
fn files_that_are_cut_short_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut");
    for name in ["baseline-420.jpg", "progressive.jpg", "scene.png", "scene.webp", "scene.bmp"] {
        let whole = std::fs::read(Path::new(FOLDER).join(name)).unwrap();
        for share in [3, 5, 7, 9] {
            std::fs::write(&path, &whole[..whole.len() * share / 10]).unwrap();
            let error = decode_image(&path, ImageLimits::default()).unwrap_err();
            assert!(matches!(error, CameraError::NotAnImage { .. }), "{name}: {error}");
        }
    }
    std::fs::write(&path, b"").unwrap();
    let error = decode_image(&path, ImageLimits::default()).unwrap_err().to_string();
    assert!(error.ends_with("cut: an image expected, but it is empty"), "{error}");
}

#[test]
fn a_small_file_of_a_huge_picture_is_refused_before_it_is_decoded() {
    assert_eq!(text("bomb-20000x20000.png"), "an image of 20000x20000 pixels; the limit is 67108864 pixels");
    let scene = |limits| decode_image(&Path::new(FOLDER).join("scene.png"), limits).map_err(|error| error.to_string());
    let pixels = ImageLimits::default().with_pixels(72 * 40);
    assert!(scene(pixels).is_ok());
    assert!(scene(pixels.with_pixels(72 * 40 - 1)).unwrap_err().ends_with("the limit is 2879 pixels"));
    let error = scene(ImageLimits::default().with_bytes(8000)).unwrap_err();
    assert!(error.ends_with("the limit is 8000 bytes, and it takes 8640"), "{error}");
    let jpeg = decode_image(&Path::new(FOLDER).join("grey.jpg"), ImageLimits::default().with_pixels(100));
    assert!(jpeg.unwrap_err().to_string().ends_with("an image of 72x40 pixels; the limit is 100 pixels"));
}

#[test]
fn kinds_that_are_not_read_are_named() {
    assert_eq!(
        text("phone.heic"),
        "this is an HEIC file, as phones write them, which is not supported; convert it to PNG or JPEG"
    );
    assert_eq!(text("picture.avif"), "this is an AVIF file, which is not supported; convert it to PNG or JPEG");
    assert_eq!(text("scene.gif"), "this is a GIF file, which is not supported; convert it to PNG or JPEG");
    assert!(text("scene.tif").starts_with("this is a TIFF or camera raw file"));
    assert_eq!(text("page.jpg"), "not a readable image: this is a web page; the download went wrong");
    assert_eq!(text(""), "cannot be read");
}

#[cfg(unix)]
#[test]
fn an_image_comes_through_a_pipe_and_under_any_name() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    let folder = tempfile::tempdir().unwrap();
    let scene = std::fs::read(Path::new(FOLDER).join("scene.png")).unwrap();
    let latin1 = folder.path().join(OsStr::from_bytes(b"caf\xe9.png"));
    std::fs::write(&latin1, &scene).unwrap();
    assert_eq!(decode_image(&latin1, ImageLimits::default()).unwrap().width, 72);

    let pipe = folder.path().join("pipe");
    let status = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(status.success());
    let writer = std::thread::spawn({
        let pipe = pipe.clone();
        move || std::fs::write(pipe, scene)
    });
    assert_eq!(decode_image(&pipe, ImageLimits::default()).unwrap().width, 72);
    writer.join().unwrap().unwrap();
}
