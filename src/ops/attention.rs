//! Scaled dot-product attention: a product of queries and keys, a soft-max, and a product with values.

use serde::{Deserialize, Serialize};
use tract_core::internal::*;

use super::fused::{Fused, fused_op, product, sequence, volume};
use dyn_perceiver_kernels::attention::{Roundings, Sizes, attention};
use dyn_perceiver_kernels::fake_quantise::Rounding;
use dyn_perceiver_kernels::thread_pool::ThreadPool;

/// `softmax(scale * q * k^T) * v` for each head. Inputs: queries (batch, queries, heads, depth), keys (batch, keys,
/// heads, depth), values (batch, keys, heads, value depth), each with axes of size 1 left out or put in at will; the
/// output is (batch, queries, heads, value depth), in `shape`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attention {
    pub sizes: Sizes,
    /// Bits of the scale, so that the operator has an equality.
    pub scale: u32,
    #[serde(with = "sequence")]
    pub shape: TVec<usize>,
    /// Roundings of the scores, one after another, in a network that was quantised elsewhere.
    pub scores: Vec<Rounding>,
    /// Those of the probabilities.
    pub probabilities: Vec<Rounding>,
}

impl Fused for Attention {
    fn name(&self) -> &'static str {
        "Attention"
    }

    fn output_shape(&self, _inputs: &[&[usize]]) -> TractResult<TVec<usize>> {
        Ok(self.shape.clone())
    }

    fn check(&self, inputs: &[&[usize]]) -> TractResult<()> {
        let Sizes { queries, keys, heads, depth, value_depth } = self.sizes;
        ensure!([queries, keys, heads, depth, value_depth].iter().all(|size| *size > 0) && inputs.len() == 3);
        let batch = product(&self.shape)? / product(&[queries, heads, value_depth])?;
        for size in [[queries, depth], [keys, depth], [keys, value_depth], [queries, keys]] {
            product(&[batch, heads, size[0], size[1]])?;
        }
        let sizes = [queries * depth, keys * depth, keys * value_depth].map(|size| batch * heads * size);
        ensure!(inputs.iter().zip(sizes).all(|(shape, size)| volume(shape) == size), "inputs {inputs:?}");
        ensure!(volume(&self.shape) == batch * heads * queries * value_depth);
        ensure!(self.scores.iter().chain(&self.probabilities).all(Rounding::is_sound), "{self:?}");
        Ok(())
    }

    fn scratch_len(&self, _inputs: &[&[usize]], threads: usize) -> usize {
        self.sizes.scratch_len(threads)
    }

    fn compute(
        &self,
        inputs: &[(&[f32], &[usize])],
        pool: &mut ThreadPool,
        scratch: &mut [f32],
        out: &mut [f32],
    ) -> TractResult<()> {
        let Sizes { queries, keys, heads, depth, value_depth } = self.sizes;
        let q = inputs[0].0.chunks_exact(queries * heads * depth);
        let k = inputs[1].0.chunks_exact(keys * heads * depth);
        let v = inputs[2].0.chunks_exact(keys * heads * value_depth);
        let out = out.chunks_exact_mut(queries * heads * value_depth);
        for (((q, k), v), out) in q.zip(k).zip(v).zip(out) {
            let roundings = Roundings { scores: &self.scores, probabilities: &self.probabilities };
            attention(pool, [q, k, v], self.sizes, f32::from_bits(self.scale), roundings, scratch, out);
        }
        Ok(())
    }

    fn macs(&self, _inputs: &[&[usize]]) -> TractResult<usize> {
        let batch =
            self.shape.iter().product::<usize>() / (self.sizes.queries * self.sizes.heads * self.sizes.value_depth);
        let Sizes { queries, keys, heads, depth, value_depth } = self.sizes;
        Ok(batch * queries * keys * heads * (depth + value_depth))
    }

    fn details(&self) -> Vec<String> {
        vec![format!("{:?}", self.sizes)]
    }
}
fused_op!(Attention);
