//! What a camera costs a loop that seldom takes a frame: processor time of the program per second.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Args as ClapArgs;
use serde_json::Value;

/// Measure the processor time that reading a camera takes, at several rates of the loop
///
/// The camera is a command that writes VGA frames as Motion JPEG, once at 30 a second whatever the loop does and once at the
/// rate that the loop wants. Time of the camera's own process is not counted. The network is the built-in one; its share is
/// measured by a loop on frames that need neither camera nor decoding.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// The program
    #[arg(long, value_name = "FILE")]
    binary: PathBuf,
    /// Seconds of each measurement
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    seconds: u64,
    /// Rates of the loop in frames per second
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', default_value = "0.2,1,5,30")]
    fps: Vec<f64>,
}

/// Write a file to the output again and again, as a camera does its frames
#[derive(ClapArgs)]
pub(crate) struct PlayArgs {
    /// The frame
    file: PathBuf,
    /// Frames per second
    #[arg(long, value_name = "NUMBER")]
    fps: u32,
}

/// Frames for whoever reads them, until nobody does.
pub(crate) fn play(args: &PlayArgs) -> Result<()> {
    let frame = std::fs::read(&args.file).with_context(|| args.file.display().to_string())?;
    let mut out = std::io::stdout().lock();
    let mut next = Instant::now();
    while out.write_all(&frame).and_then(|()| out.flush()).is_ok() {
        next += Duration::from_secs(1) / args.fps.max(1);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let frame = crate::root().join("tests/fixtures/camera/vga.jpg");
    let camera = std::env::current_exe()?;
    let command = |fps: &str| format!("command:exec {} play-frames {} --fps {fps}", camera.display(), frame.display());
    println!("| loop | camera at 30 fps | camera follows | without a camera |");
    println!("| ---: | ---: | ---: | ---: |");
    for fps in &args.fps {
        let camera = |rate: &str| vec!["--camera".into(), command(rate), "--camera-format".into(), "mjpeg".into()];
        let cost = |source: Vec<String>| milliseconds(args, *fps, &source);
        let (fixed, follows) = (cost(camera("30"))?, cost(camera("{fps}"))?);
        let plain = cost(vec!["--synthetic".into(), "1000000".into()])?;
        println!("| {fps} fps | {fixed:.1} ms/s | {follows:.1} ms/s | {plain:.1} ms/s |");
    }
    Ok(())
}

/// Milliseconds of processor time a second that the program takes with these frames, once it has classified the first.
fn milliseconds(args: &Args, fps: f64, source: &[String]) -> Result<f64> {
    let mut command = Command::new(&args.binary);
    command.args(["run", "--json", "--no-compare", "--battery", "mains", "--fps", &fps.to_string()]).args(source);
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| args.binary.display().to_string())?;
    let result = watch(args, &mut child);
    // It ends its camera, too.
    let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    let _ = child.wait();
    result
}

fn watch(args: &Args, child: &mut Child) -> Result<f64> {
    let output = BufReader::new(child.stdout.take().context("no standard output")?);
    let mut lines = output.lines();
    let first = lines.next().context("no record: the program ended")??;
    let record: Value = serde_json::from_str(&first)?;
    ensure!(record["kind"] == "frame", "not a frame: {first}");
    let reader = std::thread::spawn(move || lines.for_each(drop));
    // What a start costs is over by then.
    std::thread::sleep(Duration::from_secs(2));
    let (before, began) = (processor_time(child.id())?, Instant::now());
    std::thread::sleep(Duration::from_secs(args.seconds));
    let spent = processor_time(child.id())? - before;
    let seconds = began.elapsed().as_secs_f64();
    drop(reader);
    Ok(1e3 * spent / seconds)
}

/// Seconds of processor time of all threads of a process, from the kernel's scheduler.
fn processor_time(pid: u32) -> Result<f64> {
    let tasks = PathBuf::from(format!("/proc/{pid}/task"));
    let threads = std::fs::read_dir(&tasks).with_context(|| tasks.display().to_string())?;
    let nanoseconds = threads.map(|thread| {
        let path = thread?.path().join("schedstat");
        nanoseconds(&path).with_context(|| path.display().to_string())
    });
    Ok(nanoseconds.sum::<Result<f64>>()? / 1e9)
}

fn nanoseconds(path: &Path) -> Result<f64> {
    let text = std::fs::read_to_string(path)?;
    Ok(text.split_whitespace().next().context("empty")?.parse()?)
}
