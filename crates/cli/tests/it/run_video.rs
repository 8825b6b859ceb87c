//! `run` with a network of videos: states and answers from frame to frame, and what forgets them.

use serde_json::Value;

use crate::cli::Folder;
use crate::program::{program, refuses};
use crate::run_detector::{frames, run};

pub(crate) fn video(folder: &Folder) -> String {
    let model = folder.path("video.onnx");
    let build = ["models", "build", "mobilenetV3_0x05_perceiver_t8", "--seeded", "--video", "online", "--frames", "4"];
    assert!(program(&[&build[..], &["--classes", "5", "--input-size", "64", "-o", &model]].concat()).status.success());
    model
}

/// Two clips of the same frames.
pub(crate) fn clips(folder: &Folder, frames: u32) -> String {
    let root = folder.path("clips");
    for clip in ["a", "b"] {
        std::fs::create_dir_all(format!("{root}/{clip}")).unwrap();
        for number in 0..frames {
            let picture = image::RgbImage::from_fn(64, 48, |x, y| image::Rgb([(x + 9 * number) as u8, y as u8, 90]));
            picture.save(format!("{root}/{clip}/{number}.png")).unwrap();
        }
    }
    root
}

#[test]
fn states_go_from_frame_to_frame_and_end_with_their_folder() {
    let folder = Folder::new();
    let (model, clips) = (video(&folder), clips(&folder, 5));
    let base = ["--model", &model, "--thresholds", "1,1,1", "--repeats", "2"];
    let (records, _) = run(&[&base[..], &["--frames", &clips]].concat());
    let frames = frames(&records);
    assert_eq!(frames.len(), 10);
    let resets: Vec<&Value> = frames.iter().map(|frame| &frame["video"]["reset"]).collect();
    let at = |n: usize| if n == 5 { Value::from("stream") } else { Value::Null };
    assert!(resets.iter().enumerate().all(|(n, reset)| **reset == at(n)), "{resets:?}");
    // The second clip is the first again, and nothing of that is left.
    for (first, second) in frames[..5].iter().zip(&frames[5..]) {
        let of = |frame: &Value| (frame["class"].clone(), frame["confidence"].clone(), frame["video"]["held"].clone());
        assert_eq!(of(first), of(second));
    }
    // No answer before two frames have said the same, and every frame has a class all the same.
    assert_eq!((&frames[0]["video"]["answer"], &frames[0]["video"]["changed"]), (&Value::Null, &false.into()));
    assert!(frames.iter().all(|frame| frame["class"].as_u64().is_some()));
    let summary = records.last().unwrap();
    assert_eq!(summary["resets"], 1);
    // One frame alone is another thing than a frame among others.
    let alone = format!("{clips}/a/4.png");
    let (records, _) = run(&[&base[..], &["--frames", &alone]].concat());
    assert_ne!(frames[4]["confidence"], records[0]["confidence"]);
}

#[test]
fn frames_that_leave_early_hold_states_until_they_are_stale() {
    let folder = Folder::new();
    let (model, clips) = (video(&folder), clips(&folder, 6));
    let clip = format!("{clips}/a");
    let base = ["--model", &model, "--frames", &clip, "--thresholds", "0,0,0", "--repeats", "1"];
    let (records, _) = run(&[&base[..], &["--hold", "3"]].concat());
    let frames = frames(&records);
    let held: Vec<u64> = frames.iter().map(|frame| frame["video"]["held"].as_u64().unwrap()).collect();
    assert_eq!(held, [1, 2, 3, 4, 5, 6]);
    let stale: Vec<bool> = frames.iter().map(|frame| frame["video"]["stale"].as_bool().unwrap()).collect();
    assert_eq!(stale, [false, false, false, true, true, true]);
    assert!(frames.iter().all(|frame| frame["exited_early"] == true && frame["video"]["certain"] == true));
    refuses(&["run", "--window", "4"], &["networks of videos"]);
    refuses(&["run", "--model", &model, "--window", "40"], &["--window", "32"]);
}

/// The command yields two frames and ends; each time it is started again, what came before counts no more.
#[cfg(unix)]
#[test]
fn a_camera_that_was_unplugged_begins_anew() {
    let folder = Folder::new();
    let model = video(&folder);
    let pixels: Vec<u8> = (0..2 * 8 * 8).map(|i| (i * 3) as u8).collect();
    let raw = folder.file("frames.raw", &pixels);
    let camera = format!("command:cat {raw}; sleep 0.2");
    let camera = ["--camera", &camera, "--camera-format", "grey", "--camera-size", "8x8", "--limit", "4"];
    let (records, code) = run(&[&["--model", &model], &camera[..]].concat());
    assert_eq!(code, Some(0));
    let frames = frames(&records);
    assert_eq!(frames.len(), 4);
    assert!(records.iter().any(|record| record["kind"] == "camera" && record["connected"] == false));
    assert!(frames[1..].iter().any(|frame| frame["video"]["reset"] == "stream"));
}

/// A stand-in for FFmpeg that writes the pictures it was asked for.
#[cfg(unix)]
#[test]
fn a_video_file_is_read_through_ffmpeg_to_its_end() {
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    let folder = Folder::new();
    let model = video(&folder);
    let picture = crate::program::repository().join("tests/fixtures/pictures/grey.jpg");
    let file = folder.file("it's a clip.mp4", b"frames");
    let script = format!("#!/bin/sh\ntest \"$5\" = \"file:{file}\" || exit 1\ncat {0} {0} {0}\n", picture.display());
    let ffmpeg = folder.file("ffmpeg", script.as_bytes());
    std::fs::set_permissions(&ffmpeg, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", folder.path("").trim_end_matches('/'), std::env::var("PATH").unwrap());
    let with = |path: &str| {
        let args = ["run", "--json", "--model", &model, "--video", &file];
        Command::new(env!("CARGO_BIN_EXE_dyn-perceiver")).args(args).env("PATH", path).output().unwrap()
    };
    let output = with(&path);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().filter(|line| line.contains("\"kind\":\"frame\"")).count(), 3);
    assert!(text.contains("\"ended\":\"end of frames\""));
    std::fs::write(&ffmpeg, "#!/bin/sh\nexit 1\n").unwrap();
    let message = String::from_utf8_lossy(&with(&path).stderr).into_owned();
    assert!(message.contains("no picture in it"), "{message}");
    refuses(&["run", "--video", "/no/such/clip.mp4"], &["/no/such/clip.mp4"]);
}
