//! Weights that stay where a bundle has them: constants of a graph whose bytes lie in a mapped file.
//!
//! The operators of [`crate::ops`] read them in place, by [`floats`]. An operator of tract's that comes upon one gets
//! a copy, made when it first reads, so that it works too; bundles give those operators constants of their own.

use std::fmt;
use std::hash::Hasher;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use dyn_perceiver_kernels::memory::as_floats;
use tract_core::internal::*;
use tract_core::ops::konst::Const;

mod mapping;

pub(crate) use mapping::Mapping;

/// Floats in a mapped file.
struct Mapped {
    mapping: Arc<Mapping>,
    /// Where they are in the file; checked when this was made.
    bytes: Range<usize>,
    /// A copy, once an operator of tract's has wanted one.
    copy: OnceLock<PlainStorage>,
}

impl Mapped {
    fn floats(&self) -> &[f32] {
        self.mapping.floats(self.bytes.clone()).unwrap_or_default()
    }
}

/// The 32-bit words of a tensor, wherever they lie: floats, or integers as kernels take them, see [`is_words`].
pub(crate) fn floats(tensor: &Tensor) -> TractResult<&[f32]> {
    match tensor.storage_as::<Mapped>() {
        Some(mapped) => Ok(mapped.floats()),
        None if is_words(tensor.datum_type()) => Ok(as_floats(tensor.try_as_plain_ram()?.as_slice::<i32>()?)),
        None => tensor.try_as_plain_ram()?.as_slice::<f32>(),
    }
}

/// Whether constants of this type are words of integers: 32-bit ones, or four int8 weights each. The arena and bundles hold
/// words, and need not know which.
pub(crate) fn is_words(datum_type: DatumType) -> bool {
    datum_type == i32::datum_type()
}

/// Whether a tensor's floats lie in a mapped file.
pub(crate) fn is_mapped(tensor: &Tensor) -> bool {
    tensor.storage_as::<Mapped>().is_some()
}

/// A constant of `shape` whose words are found at `bytes` of a mapped file; none when the file has no such place.
pub(crate) fn constant(
    mapping: &Arc<Mapping>,
    bytes: Range<usize>,
    datum_type: DatumType,
    shape: &[usize],
) -> TractResult<Option<Const>> {
    let found = mapping.floats(bytes.clone());
    rule_if!(found.is_some_and(|floats| floats.len() == shape.iter().product::<usize>()));
    let fact = MappedFact { bytes: bytes.len() };
    let storage = Mapped { mapping: mapping.clone(), bytes, copy: OnceLock::new() };
    let tensor = Tensor::from_storage(datum_type, shape, storage);
    // With a fact of its own a constant keeps its storage: without, it is copied when it is made.
    Const::new_with_exotic_fact(Arc::new(tensor), Box::new(fact)).map(Some)
}

/// What a graph knows of a constant that is [`Mapped`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct MappedFact {
    bytes: usize,
}

impl ExoticFact for MappedFact {
    fn buffer_sizes(&self) -> TVec<TDim> {
        tvec!(self.bytes.to_dim())
    }
}

impl fmt::Debug for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bytes {:?} of a bundle", self.bytes)
    }
}

impl fmt::Display for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl PartialEq for Mapped {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.mapping, &other.mapping) && self.bytes == other.bytes
    }
}

impl Eq for Mapped {}

impl TensorStorage for Mapped {
    fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn deep_clone(&self) -> Box<dyn TensorStorage> {
        Box::new(Mapped { mapping: self.mapping.clone(), bytes: self.bytes.clone(), copy: OnceLock::new() })
    }

    fn as_plain_ram(&self) -> Option<&PlainStorage> {
        self.copy.get()
    }

    fn as_plain_ram_mut(&mut self) -> Option<&mut PlainStorage> {
        None
    }

    fn into_plain_ram(self: Box<Self>) -> Option<PlainStorage> {
        self.materialize_plain_ram().ok()?;
        self.copy.into_inner()
    }

    fn dyn_hash(&self, state: &mut dyn Hasher) {
        state.write_usize(self.bytes.start);
        state.write_usize(self.bytes.end);
    }

    fn exotic_fact(&self, _shape: &[usize]) -> TractResult<Option<Box<dyn ExoticFact>>> {
        Ok(None)
    }

    fn is_exotic(&self) -> bool {
        false
    }

    fn materialize_plain_ram(&self) -> TractResult<&PlainStorage> {
        if let Some(copy) = self.copy.get() {
            return Ok(copy);
        }
        let bytes = self.mapping.bytes().get(self.bytes.clone()).unwrap_or_default();
        let copy = PlainStorage::from(Blob::from_bytes(bytes)?);
        Ok(self.copy.get_or_init(|| copy))
    }
}
