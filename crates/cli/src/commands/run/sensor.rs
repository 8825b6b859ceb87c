//! A sensor before the gate, such as a motion sensor: a GPIO line, a command that tells, or what a broker is told.
//!
//! It is read in a thread of its own, which never holds the loop up. Whatever goes wrong with it, the network runs: a
//! sensor that is broken must not make the board blind.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use dyn_perceiver::camera::StopToken;
use dyn_perceiver::pipeline::GateSignal;

use crate::args::gpio::GpioLine;
use crate::output::failure::{Failure, OrInput as _};
use crate::output::message;

/// Pauses before a command is started again.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Longest line that a command may write; what is longer says neither 1 nor 0.
const LONGEST_LINE: u64 = 256;

/// A sensor by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SensorName {
    /// A GPIO line.
    Gpio(GpioLine),
    /// A command for the shell.
    Command(String),
    /// A topic of the broker that is named by `--mqtt`.
    Mqtt(String),
}

impl SensorName {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("gpio", line)) => GpioLine::parse(line).map(SensorName::Gpio),
            Some(("command", command)) if !command.trim().is_empty() => Ok(SensorName::Command(command.to_owned())),
            Some(("mqtt", topic)) if is_topic(topic) => Ok(SensorName::Mqtt(topic.to_owned())),
            _ => Err("expected gpio:CHIP:LINE, command:COMMAND or mqtt:TOPIC".to_owned()),
        }
    }

    /// Opens the sensor and starts its thread.
    pub(super) fn open(&self) -> Result<Sensor, Failure> {
        let (signal, stop) = (GateSignal::new(true), StopToken::default());
        let mut sensor = Sensor { signal, stop, child: Arc::default(), topic: None };
        let (signal, stop, child) = (sensor.signal.clone(), sensor.stop.clone(), sensor.child.clone());
        let thread = std::thread::Builder::new().name("sensor".into());
        match self {
            SensorName::Gpio(line) => {
                let read = gpio(line).with_context(|| line.to_string()).or_input()?;
                thread.spawn(move || watch(read, &signal, &stop))?;
            }
            SensorName::Command(command) => {
                let command = command.clone();
                thread.spawn(move || keep_running(&command, &signal, &stop, &child))?;
            }
            // Whoever is connected to the broker reads it.
            SensorName::Mqtt(topic) => sensor.topic = Some(topic.clone()),
        }
        Ok(sensor)
    }
}

/// A sensor that is read; dropping it ends that.
pub(super) struct Sensor {
    signal: GateSignal,
    stop: StopToken,
    child: Arc<Mutex<Option<Child>>>,
    topic: Option<String>,
}

/// As MQTT has it, without patterns: one sensor.
fn is_topic(text: &str) -> bool {
    !text.is_empty() && text.len() <= 200 && !text.contains(['+', '#', '\0'])
}

impl Sensor {
    /// The topic of a broker, where that is what it reads.
    pub(super) fn topic(&self) -> Option<&str> {
        self.topic.as_deref()
    }

    /// What it says.
    pub(super) fn signal(&self) -> GateSignal {
        self.signal.clone()
    }
}

impl Drop for Sensor {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(child) = self.child.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            // One that has ended already cannot be killed, which is as well.
            let _ = child.kill();
        }
    }
}

/// Reads whether a line is active, waiting for a change at most some time.
type ReadLine = Box<dyn FnMut() -> std::io::Result<bool> + Send>;

/// Follows a GPIO line.
fn watch(mut read: ReadLine, signal: &GateSignal, stop: &StopToken) {
    let mut failed = false;
    while !stop.is_stopped() {
        match read() {
            Ok(active) => {
                failed = false;
                signal.set(active);
            }
            Err(error) => {
                signal.set(true);
                if !std::mem::replace(&mut failed, true) {
                    message::warning(&format!("the gate's sensor: {error}; frames run without it"));
                }
                stop.sleep_until(Instant::now() + SHORTEST_PAUSE);
            }
        }
    }
}

#[cfg(all(target_os = "linux", feature = "gpio"))]
fn gpio(line: &GpioLine) -> anyhow::Result<ReadLine> {
    use gpiocdev::line::{EdgeDetection, Value};

    let mut request = gpiocdev::Request::builder();
    request.on_chip(&line.chip).with_consumer("dyn-perceiver").with_line(line.line).as_input();
    if line.active_low {
        request.as_active_low();
    }
    let request = request.with_edge_detection(EdgeDetection::BothEdges).request()?;
    let mut known = false;
    Ok(Box::new(move || {
        // The first time nobody waits: the level counts, not the edge.
        if std::mem::replace(&mut known, true) && request.wait_edge_event(Duration::from_millis(200)).map_err(other)? {
            request.read_edge_event().map_err(other)?;
        }
        Ok(request.lone_value().map_err(other)? == Value::Active)
    }))
}

#[cfg(all(target_os = "linux", feature = "gpio"))]
fn other(error: gpiocdev::Error) -> std::io::Error {
    std::io::Error::other(error)
}

#[cfg(not(all(target_os = "linux", feature = "gpio")))]
fn gpio(_: &GpioLine) -> anyhow::Result<ReadLine> {
    anyhow::bail!("GPIO lines are read on Linux, by a program built with the feature `gpio`")
}

/// Runs a command, and again when it ends, until told to stop.
fn keep_running(command: &str, signal: &GateSignal, stop: &StopToken, child: &Mutex<Option<Child>>) {
    let mut pause = SHORTEST_PAUSE;
    while !stop.is_stopped() {
        let begun = Instant::now();
        let why = match follow(command, signal, stop, child) {
            Ok(()) => "its command ended".to_owned(),
            Err(error) => error.to_string(),
        };
        signal.set(true);
        if stop.is_stopped() {
            return;
        }
        message::warning(&format!("the gate's sensor: {why}; frames run without it until it is back"));
        pause = if begun.elapsed() > LONGEST_PAUSE { SHORTEST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        stop.sleep_until(Instant::now() + pause);
    }
}

/// Takes in what a command writes, until it ends.
fn follow(command: &str, signal: &GateSignal, stop: &StopToken, place: &Mutex<Option<Child>>) -> std::io::Result<()> {
    let mut child = Command::new("sh").args(["-c", command]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take();
    let lock = || place.lock().unwrap_or_else(PoisonError::into_inner);
    *lock() = Some(child);
    if let Some(output) = output {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while !stop.is_stopped() {
            line.clear();
            let mut limited = std::io::Read::take(&mut output, LONGEST_LINE);
            if limited.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            match line.trim_ascii() {
                b"1" => signal.set(true),
                b"0" => signal.set(false),
                _ => {}
            }
        }
    }
    if let Some(mut child) = lock().take() {
        let _ = child.kill();
        child.wait()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn until(what: impl Fn() -> bool) {
        let begun = Instant::now();
        while !what() {
            assert!(begun.elapsed() < Duration::from_secs(20), "not in time");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn sensors_are_named_by_kind() {
        assert!(matches!(SensorName::parse("gpio:/dev/gpiochip0:17"), Ok(SensorName::Gpio(_))));
        assert!(matches!(SensorName::parse("command:pir --follow"), Ok(SensorName::Command(_))));
        for text in ["", "gpio:17", "command:", "command: ", "pir"] {
            assert!(SensorName::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_command_says_when_there_may_be_something_to_see_and_its_end_counts_as_that() {
        let folder = tempfile::tempdir().unwrap();
        let go = folder.path().join("go");
        let command = format!("echo nonsense; echo 0; while [ ! -e {} ]; do sleep 0.02; done; exit", go.display());
        let sensor = SensorName::Command(command).open().unwrap();
        let signal = sensor.signal();
        until(|| !signal.is_active());
        std::fs::write(&go, "").unwrap();
        until(|| signal.is_active());
    }

    #[test]
    fn dropping_a_sensor_ends_its_command() {
        let sensor = SensorName::Command("echo 0; exec sleep 600".into()).open().unwrap();
        let (signal, child) = (sensor.signal(), sensor.child.clone());
        until(|| !signal.is_active());
        drop(sensor);
        until(|| child.lock().unwrap().is_none());
    }
}
