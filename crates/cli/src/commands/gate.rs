//! `gate`: the threshold of the gate behind the first exit, from frames of a place.

use std::borrow::Cow;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args as ClapArgs;
use dyn_perceiver::calibrate::certify::Limit;
use dyn_perceiver::calibrate::gate::{GateError, GateThreshold, threshold};
use dyn_perceiver::file::atomic_write;
use dyn_perceiver::{camera, collect};
use serde::Serialize;

use crate::args::model::ModelArgs;
use crate::args::number;
use crate::args::share::Share;
use crate::output::failure::{Failure, OrInput as _};
use crate::output::out::Out;
use crate::output::{json, message, progress, table, text};

/// Most frames that lie between the two of a pair: their codes are kept.
const MOST: f64 = 100_000.0;

/// Find out how alike the codes of two frames must be for one answer to do, for `run --gate latent`
///
/// Frames of the place in their order, as many and as different ones as can be had, go through the whole network. Each is
/// compared with earlier ones up to --refresh seconds before it: the distance of their pooled latent codes, and whether the
/// answers are the same. The threshold is the largest at which answers that hold are wrong no more often than asked for,
/// with the confidence asked for. Exit code 1 when there is none: the gate then stays off. JSON: see docs/json.md.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Read frames in order of their names from a folder of images, or from an IDX file of images
    #[arg(long, value_name = "PATH")]
    frames: PathBuf,
    /// So many of these frames were taken a second
    #[arg(long, value_name = "NUMBER", default_value = "10", value_parser = number::fps)]
    fps: f64,
    /// Answers hold for at most so many seconds
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = number::seconds)]
    refresh: Duration,
    /// Let at most this share of the answers that hold be another than the whole network's
    #[arg(long, value_name = "SHARE", default_value_t = Share::new(0.01))]
    max_loss: Share,
    /// Be so confident of that, such as 95% or 0.95
    #[arg(long, value_name = "SHARE", default_value_t = Share::new(0.95))]
    confidence: Share,
    /// Write the threshold to this file, as settings for `run --config`
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
    /// Print one JSON object
    #[arg(long, help_heading = None)]
    json: bool,
}

/// What was found.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Report<'a> {
    /// The largest distance at which an answer may hold; null where there is none.
    threshold: Option<f32>,
    /// Pairs of frames that were compared.
    pairs: usize,
    /// Of them those within the threshold.
    held: usize,
    /// Of these those that the network answers differently.
    wrong: usize,
    max_loss: f32,
    confidence: f32,
    frames: u64,
    skipped: u64,
    /// The settings that were written.
    output: Option<Cow<'a, str>>,
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    // As they were written: a share that is stored as a short float is not what was meant.
    let share = |share: Share| (f64::from(share.get()) * 1e6).round() / 1e6;
    let limit = Limit::new(share(args.max_loss), share(args.confidence)).or_input()?;
    let plan = args.model.plan()?;
    let mut source = camera::open_path(&args.frames).or_input()?;
    let most = (args.refresh.as_secs_f64() * args.fps).clamp(1.0, MOST) as usize;
    let count = source.frames().and_then(|frames| usize::try_from(frames).ok()).unwrap_or(0);
    let bar = progress::images(count, 0, args.json);
    let collected = collect::pairs(&plan, &mut *source, most, |done| bar.set_position(done));
    bar.finish_and_clear();
    let collect::Pairs { pairs, frames, skipped, .. } = collected?;
    let found = threshold(&pairs, limit);
    if let (Ok(found), Some(path)) = (&found, &args.output) {
        let settings = format!(
            "# Found by `dyn-perceiver gate` in {frames} frames, for the model {}.\ngate = \"latent\"\nlatent-threshold = \
             {}\nrefresh = {}\n",
            plan.info().digest.hex(),
            found.threshold,
            args.refresh.as_secs_f64(),
        );
        atomic_write(path, settings.as_bytes()).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
    }
    tell(&args, &found, (pairs.len(), frames, skipped))?;
    match found {
        Ok(_) => Ok(()),
        Err(error) => Err(anyhow::Error::from(error).context("no threshold: the gate stays off").into()),
    }
}

fn tell(
    args: &Args,
    found: &Result<GateThreshold, GateError>,
    (pairs, frames, skipped): (usize, u64, u64),
) -> Result<(), Failure> {
    if skipped > 0 {
        message::warning(&format!("{skipped} frames could not be read or answered"));
    }
    let (held, wrong) = match found {
        Ok(found) => (found.held, found.wrong),
        Err(GateError::NotCertified { held, wrong }) => (*held, *wrong),
        Err(_) => (0, 0),
    };
    let mut out = Out::stdout();
    if args.json {
        out.json(&Report {
            threshold: found.as_ref().ok().map(|found| found.threshold),
            pairs,
            held,
            wrong,
            max_loss: args.max_loss.get(),
            confidence: args.confidence.get(),
            frames,
            skipped,
            output: args.output.as_deref().filter(|_| found.is_ok()).map(json::path),
        })?;
        return Ok(());
    }
    let Ok(found) = found else { return Ok(()) };
    let share = |count: usize, of: usize| table::percent(count as f64 / of.max(1) as f64);
    let (within, wrong_share) = (share(held, pairs), share(wrong, held));
    writeln!(out, "threshold {:.4}", found.threshold)?;
    writeln!(
        out,
        "{pairs} pairs of {frames} frames: {held} ({within}) within it, {wrong} ({wrong_share}) answered differently"
    )?;
    let (loss, confidence) = (args.max_loss, args.confidence);
    writeln!(
        out,
        "at most {loss} of the answers that hold are wrong, with {confidence} confidence if pairs were independent"
    )?;
    match &args.output {
        Some(path) => writeln!(out, "settings in {}", text::shown(path))?,
        None => writeln!(out, "run --gate latent --latent-threshold {:.4}", found.threshold)?,
    }
    Ok(())
}
