use std::num::NonZeroUsize;

use dyn_perceiver_kernels::IsaError;
use dyn_perceiver_kernels::thread_pool::PoolError;
use thiserror::Error;

use crate::detect::MapError;
use crate::exit::LogitsError;

/// Why an image could not be classified.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// The image has the wrong number of values.
    #[error("the input has {actual} values, expected {expected}")]
    InputLength {
        /// Values that the model takes.
        expected: usize,
        /// Values given.
        actual: usize,
    },
    /// The image holds NaN or infinity.
    #[error("value {index} of the input is {value}, expected finite numbers")]
    InputNotFinite {
        /// Which value.
        index: usize,
        /// What it is.
        value: f32,
    },
    /// An exit that the model does not have.
    #[error("there is no exit {}, the model has {exits}", exit + 1)]
    NoSuchExit {
        /// The exit, from 0.
        exit: usize,
        /// How many there are.
        exits: usize,
    },
    /// A goal of boxes that the model does not have.
    #[error("there are no boxes {}, the model has {goals} goals of boxes", goal + 1)]
    NoSuchGoal {
        /// The goal, from 0.
        goal: usize,
        /// How many there are.
        goals: usize,
    },
    /// A runtime of images that have nothing to do with each other was given a network of videos.
    #[error("the model carries states from frame to frame, and images of a batch have no order")]
    States,
    /// Boxes were asked of a model that is no detector.
    #[error("the model is no detector: its metadata say nothing of boxes")]
    NoBoxes,
    /// The maps of a level are not those of its places and classes.
    #[error("the maps of a level do not fit")]
    Maps(#[source] MapError),
    /// The policy is for a model with another number of exits.
    #[error("the policy is for {actual} exits, the model has {expected}")]
    PolicyExits {
        /// Exits of the model.
        expected: usize,
        /// Exits of the policy.
        actual: usize,
    },
    /// The policy has a rule about a class where there is none to know.
    #[error("the policy's rule {} is about a class, which only a detector's levels after the coarsest can have", outcome + 1)]
    PolicyRule {
        /// The place of the rule, from 0.
        outcome: usize,
    },
    /// Exits are decided per image; this plan takes several at once.
    #[error("the plan takes {batch} images at once, exits are decided for one")]
    Batch {
        /// Images per run.
        batch: usize,
    },
    /// No image was given yet.
    #[error("no image was given before an exit was asked for")]
    NoImage,
    /// The network made logits that are no numbers.
    #[error("exit {exit:?}: its logits cannot be read")]
    Logits {
        /// The exit's name.
        exit: String,
        /// What is wrong with them.
        source: LogitsError,
    },
    /// A thread to work on could not be started.
    #[error("cannot run on {threads} threads")]
    Threads {
        /// Threads asked for.
        threads: usize,
        /// What the system says.
        source: std::io::Error,
    },
    /// The instruction set asked for cannot be used.
    #[error("the instruction set of the kernels cannot be chosen")]
    InstructionSet {
        /// Why.
        source: IsaError,
    },
    /// The plan itself failed.
    #[error("the plan failed")]
    Tract(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl RunError {
    pub(crate) fn pool(threads: NonZeroUsize, error: PoolError) -> Self {
        let threads = threads.get();
        match error {
            PoolError::Isa(source) => RunError::InstructionSet { source },
            PoolError::Spawn { source, .. } => RunError::Threads { threads, source },
            // The kernels know no other today.
            other => RunError::Threads { threads, source: std::io::Error::other(other) },
        }
    }

    pub(crate) fn tract(error: tract_core::prelude::TractError) -> Self {
        RunError::Tract(error.into())
    }
}
