//! The plan of a mission on the live page: what `plan` prints, beside what the loop shows.

use std::time::Duration;

use dyn_perceiver::energy::Battery;
use dyn_perceiver::plan::Plan;

use super::Args;
use super::power::{Costs, Profiled};
use crate::args::policy::Points;
use crate::commands::plan::{LoopCosts, Running};
use crate::output::failure::{Failure, chain};
use crate::output::message;

/// What frames cost on the board alone, by what the loop counts with.
pub(super) fn costs(costs: &Costs) -> LoopCosts {
    LoopCosts {
        idle_watts: costs.power.idle_watts(),
        seconds: costs.seconds.clone(),
        joules: costs.power.stages().to_vec(),
        method: costs.origin.clone(),
    }
}

/// The plan of a mission of `length` as a line of JSON; none without a page, a mission or a battery, and where no plan can be made, which
/// is told.
pub(super) fn line(
    args: &Args,
    (plan, points, profiled): (&Plan, Option<&Points>, Option<&Profiled>),
    (length, period): (Option<Duration>, Duration),
    battery: Option<&Battery>,
    costs: LoopCosts,
) -> Option<Vec<u8>> {
    let (length, points, battery) = (length?, points?, battery?);
    if !args.http.is_asked_for() {
        return None;
    }
    let (fps, longest) = args.mission.wished(period);
    let line = || -> Result<Vec<u8>, Failure> {
        let board = args.watts.board_here()?;
        let running = Running {
            board: &board,
            plan,
            points,
            costs,
            profile: profiled.map(|profiled| &profiled.profile),
            battery_wh: battery.capacity_mwh() / 1000.0,
            reserve: args.mission.reserve(),
            solar_wp: args.mission.solar_wp(),
            length,
            fps,
            longest,
            radio: args.sends(),
        };
        running.line()
    };
    match line() {
        Ok(line) => Some(line),
        Err(Failure::Input(error) | Failure::Failed(error)) => {
            message::note(&format!("the page has no plan: {}", chain(&error)));
            None
        }
        Err(Failure::Partial) => None,
    }
}
