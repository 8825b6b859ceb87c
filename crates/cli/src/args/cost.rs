//! What a frame costs: units on the command line, and the costs of every set of exits.

use std::path::Path;
use std::sync::Arc;

use dyn_perceiver::calibrate::records::Costs;
use dyn_perceiver::collect;
use dyn_perceiver::exit::{CostUnit, Frontier};
use dyn_perceiver::plan::Plan;

use super::profile;
use crate::output::failure::{Failure, OrInput as _, wrong};
use crate::output::table::cost;
use crate::output::text;

/// A budget in the frontier's unit: `3.5M`, `20ms`, `5mJ`, or a plain number of MACs, seconds or joules.
pub(crate) fn budget(text: &str, frontier: &Frontier) -> Result<f32, Failure> {
    let unit = frontier.unit();
    let units: &[(&str, f32)] = match unit {
        CostUnit::Macs => {
            &[("GMAC", 1e9), ("MMAC", 1e6), ("kMAC", 1e3), ("MAC", 1.0), ("G", 1e9), ("M", 1e6), ("k", 1e3)]
        }
        CostUnit::Seconds => &[("ms", 1e-3), ("us", 1e-6), ("s", 1.0)],
        CostUnit::Joules => &[("mJ", 1e-3), ("J", 1.0)],
    };
    let text = text.trim();
    let (number, factor) = units
        .iter()
        .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?.trim(), *factor)))
        .unwrap_or((text, 1.0));
    let value = number.parse::<f32>().ok().map(|n| n * factor).filter(|b| b.is_finite() && *b > 0.0);
    let Some(value) = value else {
        return wrong(format!("budget {text:?}: the policy is in {unit}, expected such as 3.5M, 20ms or 5mJ"));
    };
    let cheapest = frontier.points()[0].cost;
    if value < cheapest {
        let (asked, least) = (cost(value.into(), unit), cost(cheapest.into(), unit));
        return wrong(format!("a budget of {asked} per frame is below the cheapest policy's, {least}"));
    }
    Ok(value)
}

/// The costs that `--cost` asks for: `macs`, `latency` measured here, or a board's profile in joules.
pub(crate) fn costs(cost: &str, plan: &Arc<Plan>) -> Result<Costs, Failure> {
    match cost {
        "macs" => collect::mac_costs(plan).or_input(),
        "latency" => Ok(collect::latency_costs(plan)?),
        file => joules(Path::new(file), plan),
    }
}

/// The costs in joules by a board's profile.
pub(crate) fn joules(file: &Path, plan: &Arc<Plan>) -> Result<Costs, Failure> {
    let profile = profile::read(file)?;
    let exits: Vec<&str> = profile.stages.iter().map(|stage| stage.exit.as_str()).collect();
    if exits != plan.info().exits {
        let (found, expected) = (text::names(exits), text::names(&plan.info().exits));
        return wrong(format!("{}: stages to {found}, but the model's exits are {expected}", file.display()));
    }
    // What a frame adds is what exits are weighed by: the idle consumption is there anyway.
    let power = profile::power_model(&profile, file)?;
    collect::joule_costs(plan, &power).or_input()
}
