use std::collections::VecDeque;

use super::super::layout::{Layout, unpad, used_bytes};
use super::*;

/// What the scripted device does when it is asked for a buffer.
enum Event {
    Frame {
        sequence: u32,
        bytes: Vec<u8>,
        damaged: bool,
    },
    /// Nothing is ready at this moment.
    Pause,
    Error(i32),
}

struct Scripted {
    offers: Vec<Offer>,
    sets: Option<Layout>,
    events: VecDeque<Event>,
}

impl CaptureDevice for Scripted {
    fn name(&self) -> &str {
        "/dev/scripted"
    }

    fn offers(&mut self) -> io::Result<Vec<Offer>> {
        Ok(self.offers.clone())
    }

    fn start(&mut self, format: PixelFormat, size: (u32, u32), _: Option<FrameInterval>) -> io::Result<Layout> {
        Ok(self.sets.unwrap_or(Layout::new(format, size.0, size.1)))
    }

    fn wait(&mut self, timeout: Duration) -> io::Result<bool> {
        // A pause is over once somebody really waits, unless nothing follows.
        if matches!(self.events.front(), Some(Event::Pause)) {
            self.events.pop_front();
            return Ok(timeout > Duration::ZERO && !self.events.is_empty());
        }
        Ok(!self.events.is_empty())
    }

    fn take(&mut self, bytes: &mut Vec<u8>) -> io::Result<Filled> {
        match self.events.pop_front() {
            Some(Event::Frame { sequence, bytes: filled, damaged }) => {
                *bytes = filled;
                Ok(Filled { sequence, damaged })
            }
            Some(Event::Error(code)) => Err(io::Error::from_raw_os_error(code)),
            Some(Event::Pause) | None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

fn single(fourcc: &str, format: Option<PixelFormat>, width: u32, height: u32) -> Offer {
    Offer { fourcc: fourcc.into(), format, min: (width, height), max: (width, height), step: (1, 1) }
}

fn webcam() -> Vec<Offer> {
    vec![
        single("MJPG", Some(PixelFormat::Mjpeg), 1920, 1080),
        single("MJPG", Some(PixelFormat::Mjpeg), 640, 480),
        single("YUYV", Some(PixelFormat::Yuyv), 640, 480),
        single("YUYV", Some(PixelFormat::Yuyv), 320, 240),
        single("H264", None, 640, 480),
    ]
}

fn grey(sequence: u32, value: u8) -> Event {
    Event::Frame { sequence, bytes: vec![value; 4], damaged: false }
}

fn source(events: Vec<Event>) -> DeviceSource<Scripted> {
    let offers = vec![single("GREY", Some(PixelFormat::Grey), 2, 2)];
    DeviceSource::new(Scripted { offers, sets: None, events: events.into() }, CameraRequest::default()).unwrap()
}

#[test]
fn the_cheapest_offered_format_of_the_size_is_chosen() {
    let ask = |format, size| choose(&webcam(), CameraRequest { format, size, ..CameraRequest::default() });
    assert_eq!(ask(None, None), Some((PixelFormat::Yuyv, (640, 480))));
    assert_eq!(ask(None, Some((320, 240))), Some((PixelFormat::Yuyv, (320, 240))));
    assert_eq!(ask(None, Some((1920, 1080))), Some((PixelFormat::Mjpeg, (1920, 1080))));
    assert_eq!(ask(Some(PixelFormat::Mjpeg), None), Some((PixelFormat::Mjpeg, (640, 480))));
    assert_eq!(ask(Some(PixelFormat::Nv12), None), None);
    assert_eq!(ask(None, Some((123, 45))), None);
}

#[test]
fn ranges_of_sizes_are_met_in_their_steps() {
    let offer = Offer { min: (32, 16), max: (1920, 1080), step: (2, 8), ..webcam().remove(2) };
    let ask =
        |size| choose(std::slice::from_ref(&offer), CameraRequest { size: Some(size), ..CameraRequest::default() });
    assert_eq!(ask((100, 48)), Some((PixelFormat::Yuyv, (100, 48))));
    assert_eq!(ask((101, 48)), None);
    assert_eq!(ask((100, 50)), None);
    assert_eq!(ask((4000, 1080)), None);
}

#[test]
fn a_mismatch_lists_what_the_device_offers() {
    let device = Scripted { offers: webcam(), sets: None, events: VecDeque::new() };
    let request = CameraRequest::default().with_format(PixelFormat::Grey).with_size(64, 64);
    let error = DeviceSource::new(device, request).err().map(|error| error.to_string());
    assert_eq!(
        error.as_deref(),
        Some(
            "/dev/scripted does not offer grey at 64x64; it offers MJPG 1920x1080, MJPG 640x480, YUYV 640x480, YUYV \
             320x240, H264 640x480"
        )
    );
    // A driver that sets itself to something else than it offered is not believed either.
    let sets = Some(Layout::new(PixelFormat::Yuyv, 176, 144));
    let device = Scripted { offers: webcam(), sets, events: VecDeque::new() };
    let error = DeviceSource::new(device, CameraRequest::default()).err().map(|error| error.to_string());
    assert!(error.is_some_and(|error| error.contains("set itself to yuyv 176x144")));
}

#[test]
fn the_newest_frame_is_read_and_the_others_are_counted() {
    // Frames 1 and 2 wait behind 0; then the device had no buffer for 3 to 6.
    let mut source = source(vec![grey(10, 0), grey(11, 1), grey(12, 2), Event::Pause, grey(17, 7), Event::Pause]);
    let frame = source.next().unwrap().unwrap();
    assert_eq!((frame.sequence, &*frame.pixels), (2, &[2; 4][..]));
    assert_eq!(source.dropped(), 2);
    let frame = source.next().unwrap().unwrap();
    assert_eq!((frame.sequence, frame.pixels[0]), (7, 7));
    assert_eq!(source.dropped(), 6);
}

#[test]
fn the_count_goes_on_where_the_devices_number_wraps_around() {
    let mut source = source(vec![grey(u32::MAX, 0), Event::Pause, grey(0, 1), Event::Pause]);
    assert_eq!(source.next().unwrap().unwrap().sequence, 0);
    assert_eq!(source.next().unwrap().unwrap().sequence, 1);
    assert_eq!(source.dropped(), 0);
}

#[test]
fn damaged_and_short_frames_are_dropped_and_counted() {
    let short = Event::Frame { sequence: 1, bytes: vec![1; 3], damaged: false };
    let damaged = Event::Frame { sequence: 0, bytes: vec![0; 4], damaged: true };
    let mut source = source(vec![damaged, short, grey(2, 9), Event::Pause]);
    assert_eq!(source.next().unwrap().unwrap().pixels, [9; 4]);
    assert_eq!((source.dropped(), source.damaged()), (2, 2));
    source.device.events =
        (0..100).map(|i| Event::Frame { sequence: 3 + i, bytes: vec![0; 4], damaged: true }).collect();
    let error = source.next().unwrap_err();
    let cause = std::error::Error::source(&error).map(ToString::to_string);
    assert_eq!(cause.as_deref(), Some("only damaged frames"));
}

#[test]
fn a_hung_or_unplugged_device_is_an_error() {
    const ENODEV: i32 = 19;
    let mut source = source(vec![Event::Pause]);
    assert!(matches!(source.next(), Err(CameraError::Hung { .. })));
    source.device.events.push_back(Event::Error(ENODEV));
    let error = source.next().unwrap_err();
    assert_eq!(error.to_string(), "/dev/scripted: reading failed");
}

#[test]
fn padding_of_rows_and_buffers_is_removed() {
    let layout = |format, stride| Layout::new(format, 2, 2).with_stride(stride);
    let mut bytes = vec![1, 2, 0, 0, 3, 4, 0, 0, 9];
    assert!(unpad(&mut bytes, layout(PixelFormat::Grey, 4)));
    assert_eq!(bytes, [1, 2, 3, 4]);
    let mut bytes = vec![1, 2, 0, 3, 4, 0, 5, 6, 0];
    assert!(unpad(&mut bytes, layout(PixelFormat::Nv12, 3)));
    assert_eq!(bytes, [1, 2, 3, 4, 5, 6]);
    // Planes of chroma have half the stride.
    let mut bytes = vec![1, 2, 0, 0, 3, 4, 0, 0, 5, 0, 6, 0];
    assert!(unpad(&mut bytes, layout(PixelFormat::I420, 4)));
    assert_eq!(bytes, [1, 2, 3, 4, 5, 6]);
    assert!(!unpad(&mut vec![0; 5], layout(PixelFormat::Grey, 4)));
    assert!(!unpad(&mut vec![], layout(PixelFormat::Mjpeg, 0)));
}

#[test]
fn an_empty_compressed_buffer_is_not_the_frame_that_was_in_it_before() {
    assert_eq!(used_bytes(PixelFormat::Mjpeg, 0, 5000), 0);
    assert_eq!(used_bytes(PixelFormat::Mjpeg, 1200, 5000), 1200);
    assert_eq!(used_bytes(PixelFormat::Yuyv, 0, 5000), 5000);
    assert_eq!(used_bytes(PixelFormat::Yuyv, 9000, 5000), 5000);
}

#[test]
fn a_read_that_waits_ends_when_it_is_told_to_stop() {
    let mut source = source(vec![]);
    let stop = StopToken::default();
    source.stop_on(&stop);
    stop.stop();
    assert!(source.next().unwrap().is_none());
}
