//! Everything in a bundle but the weights. The order of fields is part of the format.

use dyn_perceiver_kernels::gemm::KernelFamily;
use serde::{Deserialize, Serialize};

use super::Target;
use super::operator::Operator;
use crate::exit::{CalibratedPolicy, ModelDigest};
use crate::graph::cost::GroupCost;
use crate::graph::parts::Stage;
use crate::graph::{ExitSet, Slot, StateSlots};
use crate::model::{BoxSpec, InputSpec, PreprocessingSource, Presence, VideoSpec};

#[derive(Serialize, Deserialize)]
pub(super) struct Manifest {
    /// Version of the program that compiled the bundle.
    pub program: String,
    pub target: Target,
    /// The kernels that its weights are packed for.
    pub kernels: KernelFamily,
    /// How these lay weights out, see [`super::target::layout`].
    pub layout: u32,
    pub model: Model,
    pub policy: Option<CalibratedPolicy>,
    pub stages: Vec<Stage>,
    pub costs: Vec<(ExitSet, GroupCost)>,
    pub segments: Vec<StoredSegment>,
    pub slots: usize,
    pub input: Slot,
    pub exits: Vec<Slot>,
    /// For each goal of boxes, class scores and deltas of each of its levels.
    pub levels: Vec<Vec<Slot>>,
    pub states: Vec<StateSlots>,
}

/// What is known of the model that was compiled.
#[derive(Serialize, Deserialize)]
pub(super) struct Model {
    /// Name of its file.
    pub source: String,
    /// SHA-256 of its file.
    pub digest: ModelDigest,
    pub input: InputSpec,
    pub classes: usize,
    pub exits: Vec<String>,
    pub labels: Option<Vec<String>>,
    /// Where the normalisation comes from.
    pub preprocessing_source: PreprocessingSource,
    /// What a user should be told.
    pub warnings: Vec<String>,
    pub boxes: Option<BoxSpec>,
    pub presence: Option<Presence>,
    pub video: Option<VideoSpec>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct StoredSegment {
    pub need: ExitSet,
    pub inputs: Vec<Slot>,
    pub outputs: Vec<Slot>,
    /// In an order in which they can run.
    pub nodes: Vec<Node>,
    /// What each output of the segment is.
    pub results: Vec<Outlet>,
}

/// An output of a node, the node given by its place in the segment.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct Outlet {
    pub node: usize,
    pub output: usize,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Node {
    pub name: String,
    pub kind: Kind,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Kind {
    /// The segment's next input.
    Source {
        shape: Vec<usize>,
    },
    /// Floats from byte `at` of the weights on.
    Weights {
        shape: Vec<usize>,
        at: usize,
    },
    Operator {
        operator: Operator,
        inputs: Vec<Outlet>,
    },
    /// Words of integers from byte `at` of the weights on: int8 weights, four in each, and their sums.
    Words {
        shape: Vec<usize>,
        at: usize,
    },
    /// Floats that are whole numbers of steps, from byte `at` of the weights on; see [`super::steps`].
    Steps {
        shape: Vec<usize>,
        columns: usize,
        at: usize,
    },
}
