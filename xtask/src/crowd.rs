//! A loop alone and with a crowd of readers at its live page.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args as ClapArgs;
use serde_json::Value;

/// Measure a loop alone and with a crowd at its live page: frames per second and memory
///
/// Half of the crowd reads pictures and numbers as the page does, the other half asks for them and reads nothing. Fails
/// when the frame rate among the crowd is less than 97 % of that alone.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// The program
    #[arg(long, value_name = "FILE")]
    binary: PathBuf,
    /// Readers
    #[arg(long, value_name = "COUNT", default_value_t = 200)]
    readers: usize,
    /// Seconds of each measurement
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    seconds: u64,
    /// Measurements of each kind, taken in turns
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    rounds: usize,
    /// Frames per second of the camera
    #[arg(long, value_name = "NUMBER", default_value_t = 30)]
    fps: u32,
    /// Further options of `run`
    #[arg(last = true, value_name = "OPTIONS")]
    options: Vec<String>,
}

/// What one measurement gave.
#[derive(Clone, Copy)]
struct Measured {
    fps: f64,
    /// Most resident memory in MiB.
    resident: f64,
    /// Answers that readers read whole.
    answers: u64,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let (mut alone, mut crowded) = (Vec::new(), Vec::new());
    for round in 1..=args.rounds {
        for (readers, all) in [(0, &mut alone), (args.readers, &mut crowded)] {
            let measured = measure(args, readers)?;
            let Measured { fps, resident, answers } = measured;
            println!("round {round}, {readers:3} readers: {fps:.2} frames/s, {resident:.1} MiB, {answers} answers");
            all.push(measured);
        }
    }
    let median = |all: &[Measured], figure: fn(&Measured) -> f64| {
        let mut figures: Vec<f64> = all.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let rate = median(&crowded, |one| one.fps) / median(&alone, |one| one.fps);
    let more = median(&crowded, |one| one.resident) - median(&alone, |one| one.resident);
    println!("median: {:.1} % of the frame rate alone, {more:.1} MiB more", 100.0 * rate);
    ensure!(rate >= 0.97, "the crowd slows the loop");
    Ok(())
}

/// Ends the program however the measurement ends.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn measure(args: &Args, readers: usize) -> Result<Measured> {
    // A port that was free a moment ago.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut command = Command::new(&args.binary);
    command.args(["run", "--json", "--no-compare", "--camera", "synthetic", "--battery-wh", "1e6", "--fps"]);
    command.arg(args.fps.to_string()).args(["--http", &port.to_string()]).args(&args.options);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let program = Program(child.with_context(|| args.binary.display().to_string())?);
    let state = || -> Result<Value> {
        let answer = get(address, "/api/state")?;
        let body = answer.split("\r\n\r\n").nth(1).context("no body")?;
        Ok(serde_json::from_str(body)?)
    };
    let begun = (0..100).find_map(|_| {
        std::thread::sleep(Duration::from_millis(200));
        state().ok()
    });
    let begun = begun.context("the live page does not answer")?;
    let (over, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let crowd: Vec<_> = (0..readers)
        .map(|i| {
            let (over, answers) = (over.clone(), answers.clone());
            let reader = move || if i % 2 == 0 { read(address, i, &over, &answers) } else { stare(address, &over) };
            std::thread::Builder::new().stack_size(128 << 10).spawn(reader)
        })
        .collect::<Result<_, _>>()?;
    std::thread::sleep(Duration::from_secs(args.seconds));
    let ended = state()?;
    let resident = resident(program.0.id())?;
    over.store(true, Ordering::Relaxed);
    crowd.into_iter().for_each(|reader| drop(reader.join()));
    let figure = |of: &Value, key: &str| of[key].as_f64().with_context(|| format!("no {key}"));
    let frames = figure(&ended, "frames")? - figure(&begun, "frames")?;
    let seconds = figure(&ended, "uptime_s")? - figure(&begun, "uptime_s")?;
    Ok(Measured { fps: frames / seconds, resident, answers: answers.load(Ordering::Relaxed) })
}

/// Reads as the page does: a picture three times a second; numbers less often, each over a connection of its own.
fn read(address: SocketAddr, which: usize, over: &AtomicBool, answers: &AtomicU64) {
    std::thread::sleep(Duration::from_millis(which as u64 * 3));
    for turn in 0u64.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let path = if turn % 4 == 3 { "/api/state" } else { "/snapshot.jpg" };
        answers.fetch_add(u64::from(get(address, path).is_ok()), Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// Asks for more than anybody would and reads nothing of it.
fn stare(address: SocketAddr, over: &AtomicBool) {
    let request = "GET /snapshot.jpg HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100);
    while !over.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect(address) else { return };
        let _ = stream.set_write_timeout(Some(Duration::from_millis(100)));
        let mut alive = true;
        while alive && !over.load(Ordering::Relaxed) {
            let written = stream.write(request.as_bytes());
            alive = written.is_ok() || written.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "{path}: {}", String::from_utf8_lossy(&answer));
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Most resident memory of a process so far, in MiB.
fn resident(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    kib.map(|kib: f64| kib / 1024.0).context("no VmHWM")
}
