//! `doctor`: what board this is, what is missing, and how to mend it.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args as ClapArgs;
use dyn_perceiver_host::{Board, State, System, detect, generic};
use serde::Serialize;

use crate::args::boards;
use crate::args::model::ModelArgs;
use crate::args::system;
use crate::output::failure::Failure;
#[cfg(feature = "http")]
use crate::output::json;
use crate::output::out::Out;
use crate::output::text;

mod checks;
mod equipment;

use checks::{Check, Status};

/// Say what board this is, what is missing and how to mend it
///
/// Exit code 0 when nothing keeps the loop from running well, 1 when something does. JSON: see docs/json.md.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Take this to be the board, by its short name or the path of a board.toml [default: by the device tree]
    #[arg(long, value_name = "NAME|FILE")]
    board: Option<String>,
    /// Look below this folder instead of /: an image that is mounted somewhere [default: what DYN_PERCEIVER_SYSTEM names, else /]
    #[arg(long, value_name = "FOLDER")]
    root: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
    /// Read this fuel gauge, too, as `run` would: max17048:/dev/i2c-1, for instance
    #[arg(long, value_name = "NAME")]
    gauge: Option<String>,
    /// List the boards whose data is known, and do nothing else
    #[arg(long)]
    list: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Boards<'a> {
    #[cfg_attr(test, schemars(with = "Vec<crate::schemas::Object>"))]
    boards: &'a [Board],
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Report<'a> {
    #[cfg_attr(test, schemars(with = "crate::schemas::Object"))]
    board: &'a Board,
    detected: Option<&'a str>,
    model: Option<String>,
    #[cfg_attr(test, schemars(with = "crate::schemas::State"))]
    state: &'a State,
    checks: &'a [Check],
    ok: bool,
}

/// The board as a running loop finds it, as one line of JSON; what the loop itself has open is left out.
#[cfg(feature = "http")]
pub(crate) fn health() -> Vec<u8> {
    #[derive(Serialize)]
    struct Health<'a> {
        kind: &'static str,
        board: &'a str,
        checks: &'a [Check],
        ok: bool,
    }
    let system = system::here();
    let boards = boards::all().unwrap_or_default();
    let detected = detect(&system, &boards).cloned();
    let board = detected.clone().unwrap_or_else(generic);
    let state = State::read(&system, &board);
    let mut checks = checks::all(&system, &board, detected.as_ref(), &state);
    checks.push(equipment::watts(&board));
    let ok = checks.iter().all(|check| check.status != Status::Fail);
    let health = Health { kind: "health", board: &board.name, checks: &checks, ok };
    json::line(&json::Versioned::new(&health)).unwrap_or_default()
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let boards = boards::all()?;
    let mut out = Out::stdout();
    if args.list {
        if args.json {
            return Ok(out.json(&Boards { boards: &boards })?);
        }
        for board in &boards {
            writeln!(out, "{:<24} {}", board.id, board.name)?;
        }
        return Ok(());
    }
    let system = args.root.as_ref().map_or_else(system::here, System::at);
    let detected = detect(&system, &boards).cloned();
    let board = match &args.board {
        Some(name) => boards::find(name)?,
        None => detected.clone().unwrap_or_else(generic),
    };
    let state = State::read(&system, &board);
    let mut checks = checks::all(&system, &board, detected.as_ref(), &state);
    checks.push(equipment::watts(&board));
    checks.push(equipment::model(&args.model));
    checks.extend(args.gauge.as_deref().map(|name| equipment::gauge(&system, name)));
    let ok = checks.iter().all(|check| check.status != Status::Fail);
    if args.json {
        out.json(&Report {
            board: &board,
            detected: detected.as_ref().map(|board| board.id.as_str()),
            model: system.model(),
            state: &state,
            checks: &checks,
            ok,
        })?;
    } else {
        for check in &checks {
            writeln!(out, "{:<5} {:<12} {}", check.status, check.check, text::name(&check.found))?;
            if let Some(fix) = &check.fix {
                writeln!(out, "{:>18} {fix}", "->")?;
            }
        }
    }
    out.flush()?;
    if ok { Ok(()) } else { Err(Failure::Failed(anyhow::anyhow!("something keeps the loop from running; see above"))) }
}
