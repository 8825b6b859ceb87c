//! How many threads a command works on.

use std::num::NonZeroUsize;
use std::sync::Arc;

use clap::Args;
use dyn_perceiver::plan::Plan;
use dyn_perceiver::runtime::{ThreadChoice, Threads};

use crate::output::failure::Failure;
use crate::output::message;

/// How many threads a command works on.
#[derive(Args, Clone, Debug)]
pub(crate) struct ThreadsArgs {
    /// Run the network on so many threads, or auto to measure at the start how many are fastest here
    #[arg(long, value_name = "N|auto", default_value_t)]
    threads: Threads,
}

impl ThreadsArgs {
    /// The number of threads, measured if that is asked for and nothing is `kept`. What was measured is told.
    pub(crate) fn choose(&self, plan: &Arc<Plan>, kept: Option<NonZeroUsize>) -> Result<ThreadChoice, Failure> {
        let choice = match (self.threads, kept) {
            (Threads::Auto, Some(kept)) => ThreadChoice::given(kept),
            (threads, _) => threads.choose(plan)?,
        };
        if self.is_auto() {
            let origin = if kept.is_some() { ", as measured before" } else { "" };
            message::note(&format!("threads: {choice}{origin}"));
        }
        Ok(choice)
    }

    /// The number, where one was given or is the default.
    pub(crate) fn given(&self) -> Option<NonZeroUsize> {
        match self.threads {
            Threads::Count(threads) => Some(threads),
            _ => None,
        }
    }

    /// Whether the number is to be measured.
    pub(crate) fn is_auto(&self) -> bool {
        self.threads == Threads::Auto
    }
}
