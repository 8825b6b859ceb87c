//! On a host: packs the configuration, plays the bench, reads messages.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use companion_mcu::Config;
use companion_mcu::bench::{play, play_bursts};
use companion_mcu::wake::{Counts, WakePlan};
use dyn_perceiver::{file::atomic_write, policy_file};
use dyn_perceiver_calibrate::records::Synthetic;
use dyn_perceiver_calibrate::solver::{EnsembleKind, SolveOptions, solve};
use dyn_perceiver_core::energy::companion::{Decoder, Message, Wakes};
use dyn_perceiver_core::energy::{GovernorSettings, Ladder, Mission, PowerModel};
use dyn_perceiver_core::exit::CalibratedPolicy;

const USAGE: &str = "\
usage: companion-mcu pack POLICY CONFIG.json OUT.postcard   check policy and configuration, write them for the flash
       companion-mcu bench-policy OUT.json                  the policy of a synthetic network, for the bench
       companion-mcu play CONFIG.postcard                   the day on the bench: the bytes of the UART on stdout
       companion-mcu wakes CONFIG.postcard                  the switch on that day, by the configuration's wake plan, one event a line
       companion-mcu read                                   messages from the bytes on stdin, one a line";

pub(crate) fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["pack", policy, config, to] => pack(policy, config, to),
        ["bench-policy", to] => bench_policy(to),
        ["play", from] => play_to_stdout(from),
        ["wakes", from] => wakes_to_stdout(from),
        ["read"] => read(),
        _ => {
            tell(USAGE);
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("error: {error}"));
            ExitCode::from(2)
        }
    }
}

/// The part of the configuration that is not in a policy file.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Board {
    power: PowerModel,
    mission: Mission,
    settings: GovernorSettings,
    #[serde(default)]
    wake: Option<WakePlan>,
}

fn pack(policy: &str, from: &str, to: &str) -> Result<(), String> {
    let policy = policy_file::load(Path::new(policy)).map_err(|error| error.to_string())?;
    let text = std::fs::read_to_string(from).map_err(|error| format!("{from}: {error}"))?;
    let board: Board = serde_json::from_str(&text).map_err(|error| format!("{from}: {error}"))?;
    let Board { power, mission, settings, wake } = board;
    let ladder = Ladder::new(policy.frontier(), &power).map_err(|error| format!("{from}: {error}"))?;
    let config = Config { ladder, power, mission, settings, wake };
    config.governor().map_err(|error| format!("{from}: {error}"))?;
    config.wake().map_err(|error| format!("{from}: {error}"))?;
    let mut buffer = vec![0; 64 * 1024];
    let bytes = postcard::to_slice(&config, &mut buffer).map_err(|error| format!("{from}: {error}"))?;
    atomic_write(Path::new(to), bytes).map_err(|error| format!("{to}: {error}"))
}

fn bench_policy(to: &str) -> Result<(), String> {
    let records = Synthetic::four_exits().records(4000, 1).map_err(|error| error.to_string())?;
    // Every other kind of ensemble makes the policy larger, and the bench does not look at it.
    let options = SolveOptions::default().with_ensembles([EnsembleKind::Own]);
    let solved = solve(&records, &records.rows(), &options).map_err(|error| error.to_string())?;
    let names = records.exits().iter().map(String::as_str);
    let policy = CalibratedPolicy::new(records.model(), names, records.len() as u32, None, solved.frontier);
    policy_file::save(&policy.map_err(|error| error.to_string())?, Path::new(to)).map_err(|error| error.to_string())
}

fn play_to_stdout(from: &str) -> Result<(), String> {
    let config = config(from)?;
    let mut line = Bytes(Vec::new());
    let played = match config.wake {
        Some(_) => play_bursts(&config, &mut line, |_, _| {}).map(|_| ()),
        None => play(&config, &mut line, |_, _| {}),
    };
    played.map_err(|error| format!("{from}: {error}"))?;
    std::io::stdout().write_all(&line.0).map_err(|error| error.to_string())
}

fn config(from: &str) -> Result<Config, String> {
    let bytes = std::fs::read(from).map_err(|error| format!("{from}: {error}"))?;
    Config::from_postcard(&bytes).map_err(|error| format!("{from}: {error}"))
}

fn wakes_to_stdout(from: &str) -> Result<(), String> {
    let mut text = String::new();
    let played = play_bursts(&config(from)?, Bytes(Vec::new()), |second, kept| {
        let Some(event) = kept.event else { return };
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        text += &format!("{hour:02}:{minute:02}:{second:02} {event:?}\n");
    });
    let counts = played.map_err(|error| format!("{from}: {error}"))?;
    let Counts { boots, by_motion, cuts, missed, on, .. } = counts;
    text += &format!("{boots} boots, {by_motion} by motion, {cuts} cut off, {missed} missed, {} s on\n", on.as_secs());
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| error.to_string())
}

fn read() -> Result<(), String> {
    let mut decoder = Decoder::new();
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    let mut out = std::io::stdout().lock();
    for byte in bytes {
        let Some(message) = decoder.push(byte) else { continue };
        let Message { sequence, point, reason, period_ms, soc, volts, wakes, .. } = message;
        let mut line = format!("{sequence} point {point} {reason} period {period_ms} ms soc {soc:.4} volts {volts:.3}");
        if let Some(Wakes { boots, by_motion, cuts, missed, next_s, .. }) = wakes {
            line += &format!(" boots {boots} by motion {by_motion} cut {cuts} missed {missed}");
            line += &next_s.map_or(String::new(), |seconds| format!(" next in {seconds} s"));
        }
        writeln!(out, "{line}").map_err(|error| error.to_string())?;
    }
    if decoder.rejected() > 0 {
        return Err(format!("{} frames were damaged", decoder.rejected()));
    }
    Ok(())
}

/// The line as a growing buffer.
struct Bytes(Vec<u8>);

impl embedded_io::ErrorType for Bytes {
    type Error = core::convert::Infallible;
}

impl embedded_io::Write for Bytes {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// Writes to stderr; one that cannot be written is nobody's failure.
fn tell(message: &str) {
    let _ = writeln!(std::io::stderr(), "{message}");
}
