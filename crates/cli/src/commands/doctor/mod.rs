use std::io::Write as _;
use std::path::PathBuf;

use clap::Args as ClapArgs;
use dyn_perceiver_host::{State, System, detect, generic};
use serde_json::json;

use crate::args::watts as boards;
use crate::output::failure::Failure;

mod checks;

/// Say what board this is, what is missing and how to mend it
///
/// Exit code 0 when nothing keeps the loop from running well, 1 when something does. JSON keys: board {id, name, ...},
/// detected, model, state {cores [{core, mhz, limit_mhz, max_mhz, governor}], celsius, throttled {bits}, cooling [{kind,
/// step, steps}]}, checks [{check, status: "ok", "warn" or "fail", found, fix}], ok.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Board, by its short name or the path of a board.toml [default: by the device tree]
    #[arg(long, value_name = "NAME|FILE")]
    board: Option<String>,
    /// Look below this folder instead of /: an image that is mounted somewhere
    #[arg(long, value_name = "FOLDER", default_value = "/")]
    root: PathBuf,
    /// List the boards whose data is known, and do nothing else
    #[arg(long)]
    list: bool,
    /// One JSON object on stdout
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let boards = boards::all()?;
    let mut out = std::io::stdout().lock();
    if args.list {
        if args.json {
            writeln!(out, "{}", json!({ "boards": boards }))?;
        } else {
            for board in &boards {
                writeln!(out, "{:<24} {}", board.id, board.name)?;
            }
        }
        return Ok(());
    }
    let system = System::at(&args.root);
    let detected = detect(&system, &boards).cloned();
    let board = match &args.board {
        Some(name) => boards::find(name)?,
        None => detected.clone().unwrap_or_else(generic),
    };
    let state = State::read(&system, &board);
    let checks = checks::all(&system, &board, detected.as_ref(), &state);
    let ok = checks.iter().all(|check| check.status != checks::Status::Fail);
    if args.json {
        let object = json!({
            "board": board, "detected": detected.map(|board| board.id), "model": system.model(), "state": state,
            "checks": checks, "ok": ok,
        });
        writeln!(out, "{object}")?;
    } else {
        for check in &checks {
            writeln!(out, "{:<5} {:<12} {}", check.status, check.check, check.found)?;
            if let Some(fix) = &check.fix {
                writeln!(out, "{:>18} {fix}", "->")?;
            }
        }
    }
    drop(out);
    if ok { Ok(()) } else { Err(Failure::Failed(anyhow::anyhow!("something keeps the loop from running; see above"))) }
}
