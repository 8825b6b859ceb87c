//! How much a model file may ask for.

use std::time::Duration;

/// What loading a model may cost at most. The defaults take every published image classifier; a service that loads
/// files of strangers may set them lower.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadLimits {
    /// Bytes of the file, and of each file with weights beside it.
    pub file_bytes: u64,
    /// Nodes, those of subgraphs and of inlined functions counted in.
    pub nodes: usize,
    /// How deep subgraphs (the branches of `If`) may lie in each other.
    pub depth: usize,
    /// Elements of any one tensor that depends on the image, per image of the batch.
    pub tensor_elements: usize,
    /// Elements of all tensors that are computed on loading, beyond four times those that the file itself holds.
    pub constant_elements: usize,
    /// Multiply-accumulates that are computed on loading.
    pub constant_macs: u64,
    /// Time that loading may take; none for no limit. A load that exceeds it returns an error; its thread cannot be
    /// stopped and goes on until it is done or the process ends.
    pub deadline: Option<Duration>,
}

impl Default for LoadLimits {
    fn default() -> Self {
        LoadLimits {
            file_bytes: 1 << 32,
            nodes: 10_000,
            depth: 3,
            tensor_elements: 1 << 27,
            constant_elements: 1 << 24,
            constant_macs: 1 << 32,
            deadline: Some(Duration::from_secs(120)),
        }
    }
}

impl LoadLimits {
    /// With another limit on the file's bytes.
    #[must_use]
    pub fn with_file_bytes(mut self, bytes: u64) -> Self {
        self.file_bytes = bytes;
        self
    }

    /// With another limit on the number of nodes.
    #[must_use]
    pub fn with_nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// With another limit on the elements of one tensor per image.
    #[must_use]
    pub fn with_tensor_elements(mut self, elements: usize) -> Self {
        self.tensor_elements = elements;
        self
    }

    /// With another limit on the elements computed on loading.
    #[must_use]
    pub fn with_constant_elements(mut self, elements: usize) -> Self {
        self.constant_elements = elements;
        self
    }

    /// With another deadline; none for no limit.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Option<Duration>) -> Self {
        self.deadline = deadline;
        self
    }
}
