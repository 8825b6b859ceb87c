//! What the operators of this module have in common: float32 tensors of known shapes in, one out.

use tract_core::internal::*;

use crate::weights::floats;
use dyn_perceiver_kernels::thread_pool::ThreadPool;

/// An operator as its computation: [`fused_op!`] makes a tract operator from it.
pub(crate) trait Fused: Send + Sync + 'static {
    /// The operator's name in dumps and profiles.
    fn name(&self) -> &'static str;

    /// Shape of the output, from those of the inputs.
    fn output_shape(&self, inputs: &[&[usize]]) -> TractResult<TVec<usize>>;

    /// That the inputs have the sizes that `compute` relies on: a stored graph is not taken at its word.
    fn check(&self, inputs: &[&[usize]]) -> TractResult<()>;

    /// Floats of scratch memory that `compute` needs on so many threads, from the shapes of the inputs.
    fn scratch_len(&self, _inputs: &[&[usize]], _threads: usize) -> usize {
        0
    }

    /// Fills `out` from the inputs, each given with its shape, on the threads of `pool`. `scratch` has at least
    /// [`Fused::scratch_len`] floats, with whatever another operator has left in them.
    fn compute(
        &self,
        inputs: &[(&[f32], &[usize])],
        pool: &mut ThreadPool,
        scratch: &mut [f32],
        out: &mut [f32],
    ) -> TractResult<()>;

    /// Whether the output has the elements of the first input in the same order, so that its memory will do.
    fn is_reshape(&self, _inputs: &[&[usize]]) -> bool {
        false
    }

    /// Whether it is a linear layer, as classifiers are, of its first input.
    fn is_linear(&self) -> bool {
        false
    }

    /// What its constant weights are multiplied as; none where it has none.
    fn weights(&self) -> Option<WeightFormat> {
        None
    }

    /// Which inputs are words of integers and no floats, see [`crate::weights::is_words`].
    fn words(&self) -> std::ops::Range<usize> {
        0..0
    }

    /// Multiply-accumulates per evaluation, from the shapes of the inputs.
    fn macs(&self, _inputs: &[&[usize]]) -> TractResult<usize> {
        Ok(0)
    }

    /// Details for dumps.
    fn details(&self) -> Vec<String> {
        vec![]
    }
}

/// As what a layer's weights are kept and multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WeightFormat {
    F32,
    F16,
    Int8,
}

/// Evaluates a fused operator.
pub(crate) fn eval<F: Fused>(op: &F, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
    let shapes: TVec<&[usize]> = inputs.iter().map(|t| t.shape()).collect();
    let shape = op.output_shape(&shapes)?;
    let reshape = op.is_reshape(&shapes);
    let mut scratch = vec![0.0; op.scratch_len(&shapes, 1)];
    drop(shapes);
    if reshape {
        let mut tensor = inputs.into_iter().next().context("expected an input")?.into_tensor();
        tensor.set_shape(&shape)?;
        return Ok(tvec!(tensor.into_tvalue()));
    }
    let views: TVec<(&[f32], &[usize])> =
        inputs.iter().map(|t| Ok((floats(t)?, t.shape()))).collect::<TractResult<_>>()?;
    let mut out = Tensor::zero::<f32>(&shape)?;
    op.compute(&views, &mut ThreadPool::single(), &mut scratch, out.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?)?;
    Ok(tvec!(out.into_tvalue()))
}

/// The concrete shapes of facts.
pub(crate) fn shapes<'a>(facts: &[&'a TypedFact]) -> TractResult<TVec<&'a [usize]>> {
    facts.iter().map(|&fact| concrete(fact)).collect()
}

/// The concrete shape of a fact.
pub(crate) fn concrete(fact: &TypedFact) -> TractResult<&[usize]> {
    fact.shape.as_concrete().with_context(|| format!("expected a concrete shape, found {:?}", fact.shape))
}

/// How many elements a tensor of this shape has.
pub(crate) fn volume(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// A product of sizes that a file gave; an error where it would wrap or is no tensor's.
pub(crate) fn product(sizes: &[usize]) -> TractResult<usize> {
    let product = sizes.iter().try_fold(1_usize, |product, size| product.checked_mul(*size));
    product.filter(|product| *product <= LARGEST).with_context(|| format!("a tensor of {sizes:?} elements"))
}

/// Elements of the largest tensor.
const LARGEST: usize = 1 << 32;

/// Small vectors as serde knows sequences.
pub(crate) mod sequence {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
    use tract_core::internal::TVec;

    pub(crate) fn serialize<S: Serializer>(values: &TVec<usize>, serializer: S) -> Result<S::Ok, S::Error> {
        values.as_slice().serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TVec<usize>, D::Error> {
        Vec::deserialize(deserializer).map(TVec::from_vec)
    }
}

/// Implements tract's operator traits for a [`Fused`] type.
macro_rules! fused_op {
    ($op:ty) => {
        impl Op for $op {
            fn name(&self) -> StaticName {
                $crate::ops::fused::Fused::name(self).into()
            }

            fn info(&self) -> TractResult<Vec<String>> {
                Ok($crate::ops::fused::Fused::details(self))
            }

            op_as_typed_op!();
        }

        impl EvalOp for $op {
            op_out_of_plan!();

            fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
                $crate::ops::fused::eval(self, inputs)
            }
        }

        impl TypedOp for $op {
            fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
                use $crate::ops::fused::{Fused, shapes};
                let expected = |input: usize| match self.words().contains(&input) {
                    true => i32::datum_type(),
                    false => f32::datum_type(),
                };
                let typed = inputs.iter().enumerate().all(|(i, fact)| fact.datum_type == expected(i));
                ensure!(typed, "{} of {inputs:?}", Fused::name(self));
                let inputs = shapes(inputs)?;
                self.check(&inputs)?;
                let shape = self.output_shape(&inputs)?;
                Ok(tvec!(f32::datum_type().fact(&*shape)))
            }

            fn cost(&self, inputs: &[&TypedFact]) -> TractResult<TVec<(Cost, TDim)>> {
                use $crate::ops::fused::{Fused, shapes};
                let macs = self.macs(&shapes(inputs)?)?;
                Ok(if macs == 0 { tvec!() } else { tvec!((Cost::FMA(f32::datum_type()), macs.to_dim())) })
            }

            as_op!();
        }
    };
}
pub(crate) use fused_op;
