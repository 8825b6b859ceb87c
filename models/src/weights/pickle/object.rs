//! What a pickle is made of.

use std::sync::Arc;

pub(crate) use super::names::Id;
use super::names::Name;
use crate::weights::element::Element;

/// Tensors have at most this many dimensions; PyTorch's own kernels take 64 at most.
pub(super) const MAX_RANK: usize = 64;
/// Longest name of a storage, a module or a class.
pub(super) const MAX_NAME: usize = 255;
/// Objects and references of one pickle. A checkpoint of a thousand tensors has some ten thousand.
pub(super) const MAX_OBJECTS: usize = 8 << 20;

/// A Python object, as far as a checkpoint needs it.
#[derive(Debug)]
pub(crate) enum Object {
    Int(i64),
    Bool(bool),
    Text(String),
    /// Tuple, list or set.
    Sequence(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Storage(Box<Storage>),
    Tensor(Box<Tensor>),
    Name(Name),
    /// What calling the name of that index would give, if it is none that weights depend on.
    Foreign(Id),
    /// The number that a file of the format before PyTorch 1.6 begins with.
    LegacyMagic,
    /// None, floats, bytes, and whatever else no weights depend on.
    Inert,
}

/// Numbers of one type under a key, in a file of the archive or behind the pickles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Storage {
    /// Shared by all tensors that are views of it.
    pub key: Arc<str>,
    pub element: Element,
    pub count: usize,
    /// First element and number of elements that may be used: all, unless the storage is a view of another one.
    pub window: (usize, usize),
}

impl Storage {
    /// Length in bytes; the pickle was refused if it does not fit.
    pub(crate) fn bytes(&self) -> usize {
        self.count.saturating_mul(self.element.size())
    }
}

/// A view of a storage; offset and strides in elements. Every element lies within the storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tensor {
    pub storage: Storage,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

/// Why a pickle was refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A name that no checkpoint has a use for.
    Forbidden(String),
    /// Damaged, or an instruction no checkpoint contains; position and reason.
    Malformed(u64, String),
}
