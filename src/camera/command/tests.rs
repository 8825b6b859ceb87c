use super::*;
use crate::camera::open;

const JPEG: &[u8] = include_bytes!("../../../tests/fixtures/camera/colour.jpg");

fn request(format: PixelFormat, size: Option<(u32, u32)>) -> CameraRequest {
    CameraRequest { size, ..CameraRequest::default().with_format(format) }
}

/// A source over a command that writes `stream` and ends.
fn source(stream: &[u8], format: PixelFormat, size: Option<(u32, u32)>) -> (tempfile::TempDir, CommandSource) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stream");
    std::fs::write(&path, stream).unwrap();
    let source = CommandSource::spawn(&format!("cat {}", path.display()), request(format, size)).unwrap();
    (folder, source)
}

#[test]
fn jpeg_frames_are_read_until_the_command_ends() {
    let (_folder, mut source) = source(&JPEG.repeat(3), PixelFormat::Mjpeg, None);
    let mut frame = Frame::default();
    for sequence in 0..3 {
        assert!(source.read(&mut frame).unwrap());
        assert_eq!((&*frame.pixels, frame.sequence), (JPEG, sequence));
    }
    let error = source.read(&mut frame).unwrap_err().to_string();
    assert!(error.ends_with("ended (exit status: 0) between two frames"), "{error}");
}

#[test]
fn a_damaged_jpeg_frame_is_an_error_of_its_own_and_keeps_its_number() {
    let stream = [JPEG, &JPEG[..3000], JPEG, &[0; 9], JPEG, &JPEG[..300]].concat();
    let (_folder, mut source) = source(&stream, PixelFormat::Mjpeg, None);
    let mut frame = Frame::default();
    assert!(source.read(&mut frame).unwrap());
    let error = source.read(&mut frame).unwrap_err();
    assert!(matches!(error, CameraError::Damaged { sequence: 1, .. }), "{error}");
    assert!(error.is_temporary());
    for sequence in 2..4 {
        assert!(source.read(&mut frame).unwrap());
        assert_eq!((&*frame.pixels, frame.sequence), (JPEG, sequence));
    }
    assert_eq!((source.damaged(), source.dropped()), (1, 1));
    let error = source.read(&mut frame).unwrap_err().to_string();
    assert!(error.ends_with("ended (exit status: 0) inside a frame"), "{error}");
}

#[test]
fn raw_frames_are_cut_by_their_size() {
    let (_folder, mut source) = source(&[1, 1, 1, 1, 2, 2, 2, 2, 3], PixelFormat::Grey, Some((2, 2)));
    assert_eq!(source.next().unwrap().unwrap().pixels, [1; 4]);
    assert_eq!(source.next().unwrap().unwrap().pixels, [2; 4]);
    assert!(source.next().unwrap_err().to_string().contains("inside a frame"));
}

#[test]
fn a_command_is_read_until_it_ends_and_its_status_is_told() {
    let command = "sh -c 'printf aaaabbbbcccc; sleep 0.2; printf dddd; exit 3'";
    let mut source = CommandSource::spawn(command, request(PixelFormat::Grey, Some((2, 2)))).unwrap();
    let mut frame = Frame::default();
    let mut read = 0;
    let error = loop {
        match source.read(&mut frame) {
            Ok(_) => read += 1,
            Err(error) => break error.to_string(),
        }
    };
    assert_eq!((frame.pixels.as_slice(), frame.sequence), (&b"dddd"[..], 3));
    assert_eq!(read + source.dropped(), 4);
    assert!(error.contains("exit status: 3") && error.contains("between two frames"), "{error}");
}

/// Whether a process lives whose arguments hold `text`.
#[cfg(target_os = "linux")]
fn lives(text: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let arguments = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    arguments.into_iter().any(|arguments| String::from_utf8_lossy(&arguments).contains(text))
}

#[cfg(target_os = "linux")]
fn until(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < Duration::from_secs(60), "not in time");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Starts a command that never ends, with children that hold its output, and drops its source.
#[cfg(target_os = "linux")]
fn ends_with_its_source(command: &str, mark: &str) {
    let mut source = CommandSource::spawn(command, request(PixelFormat::Grey, Some((8, 8)))).unwrap();
    let stop = StopToken::default();
    source.stop_on(&stop);
    assert_eq!(source.next().unwrap().unwrap().pixels.len(), 64);
    until(|| lives(mark));
    let reader = std::thread::spawn(move || {
        // Ends by the token: nothing more is written.
        while source.next().unwrap().is_some() {}
        drop(source);
    });
    stop.stop();
    reader.join().unwrap();
    // The system takes a moment to take away what it has ended.
    until(|| !lives(mark));
}

#[cfg(target_os = "linux")]
#[test]
fn a_command_is_ended_with_all_that_it_started() {
    ends_with_its_source("head -c 64 /dev/zero; sleep 100001", "sleep\x00100001");
    ends_with_its_source("head -c 64 /dev/zero; sleep 100002 | cat", "sleep\x00100002");
    ends_with_its_source("(head -c 64 /dev/zero; sleep 100003) & wait", "sleep\x00100003");
    ends_with_its_source("trap '' TERM; head -c 64 /dev/zero; sleep 100004", "sleep\x00100004");
}

#[cfg(target_os = "linux")]
#[test]
fn a_command_that_closes_its_output_and_goes_on_is_told_and_ended() {
    let command = "head -c 64 /dev/zero; exec >&-; exec sleep 100005";
    let mut source = CommandSource::spawn(command, request(PixelFormat::Grey, Some((8, 8)))).unwrap();
    assert!(source.next().unwrap().is_some());
    let error = source.next().unwrap_err().to_string();
    assert!(error.ends_with("ended (its output is closed, and it goes on) between two frames"), "{error}");
    drop(source);
    until(|| !lives("sleep\x00100005"));
}

#[test]
fn a_command_that_hangs_is_told() {
    let mut source = CommandSource::spawn("sleep 100006", request(PixelFormat::Mjpeg, None)).unwrap();
    source = source.with_timeout(Duration::from_millis(50));
    assert!(source.next().unwrap_err().to_string().ends_with("sleep 100006: no frame for 50ms"));
}

#[test]
fn an_endless_command_is_ended_with_its_source() {
    let mut source = CommandSource::spawn("yes", request(PixelFormat::Grey, Some((8, 8)))).unwrap();
    assert_eq!(source.next().unwrap().unwrap().pixels[..4], *b"y\ny\n");
    drop(source);
}

#[test]
fn what_a_command_writes_must_be_known() {
    let error =
        |request| CommandSource::spawn("true", request).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error(CameraRequest::default()).contains("pixel format"));
    assert!(error(request(PixelFormat::Nv12, None)).contains("size of the nv12 frames"));
    let huge = error(request(PixelFormat::Rgb, Some((u32::MAX, u32::MAX))));
    assert_eq!(huge, "true: at most 16384 pixels a side expected of rgb frames, not 4294967295x4294967295");
    let missing = CommandSource::spawn("no-such-command 2>/dev/null", request(PixelFormat::Mjpeg, None));
    assert!(missing.unwrap().next().unwrap_err().to_string().contains("exit status: 127"));
}

#[test]
fn a_command_that_does_not_exist_is_given_up_at_once() {
    let mut source = open("command:no-such-camera 2>/dev/null", request(PixelFormat::Mjpeg, None)).unwrap();
    let error = source.next().unwrap_err();
    assert!(error.never_came(), "{error}");
    assert!(error.to_string().ends_with("no frame ever came, in 1 attempts"), "{error}");
}
