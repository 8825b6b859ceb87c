//! Killed at any moment, the stored state is whole and loses at most one period.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use dyn_perceiver::energy::Learned;
use dyn_perceiver::energy::gauge::CoulombState;
use dyn_perceiver::energy::store::{Stored, load, save};

const FILE: &str = "ENERGY_STATE_FILE";

/// Not a test of its own: what the killed process does, one save after another, each told when it is done.
#[test]
fn saves_for_ever() {
    let Some(path) = std::env::var_os(FILE).map(PathBuf::from) else { return };
    let mut periods = load(&path).unwrap().map_or(0, |state| state.periods);
    let mut out = std::io::stdout();
    loop {
        periods += 1;
        let soc = 1.0 / periods as f32;
        let mut learned = Learned::new(36_000.0);
        learned.soc = Some(soc);
        save(&path, &Stored { periods, learned: Some(learned), coulomb: Some(CoulombState { soc }), power: None })
            .unwrap();
        writeln!(out, "saved {periods}").unwrap();
    }
}

#[test]
fn a_hundred_kills_lose_at_most_one_period() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    let mut last = 0;
    for kill in 0..100u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["saves_for_ever", "--exact", "--nocapture"])
            .env(FILE, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (teller, told) = channel();
        let reader = thread::spawn(move || {
            let told = lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("saved ")?.parse::<u64>().ok());
            told.for_each(|period| teller.send(period).unwrap());
        });
        // After the first save any moment will do: opening, writing, flushing, renaming.
        let first = told.recv_timeout(Duration::from_secs(60)).unwrap();
        thread::sleep(Duration::from_micros(307 * kill));
        child.kill().unwrap();
        child.wait().unwrap();
        reader.join().unwrap();
        let told = told.try_iter().last().unwrap_or(first);
        let state = load(&path).unwrap();
        let periods = state.as_ref().map_or(0, |state| state.periods);
        assert!(periods >= told && periods <= told + 1, "kill {kill}: told {told}, found {periods}");
        if let Some(state) = state {
            assert_eq!(state.coulomb.unwrap().soc, 1.0 / periods as f32);
        }
        last = periods;
    }
    assert!(last >= 100);
}
