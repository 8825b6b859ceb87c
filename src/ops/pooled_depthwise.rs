//! A depthwise convolution and the pooling behind it whose windows differ, in channels-last layout.

use serde::{Deserialize, Serialize};
use tract_core::internal::*;

use super::convolution::LARGEST_SIDE;
use super::fused::{Fused, WeightFormat, fused_op, product, volume};
use dyn_perceiver_kernels::pooled_depthwise::{Windows, filters_len, pooled_depthwise};
use dyn_perceiver_kernels::thread_pool::ThreadPool;

/// Inputs: x as ([batch,] height, width, channels); the filters and then the bias of each kind of window, as the kernel
/// has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PooledDepthwise {
    pub rows: Windows,
    pub columns: Windows,
    pub channels: usize,
}

/// That windows are of kinds that are there, and of sizes that sums of them do not wrap.
fn check_windows(windows: &Windows) -> TractResult<()> {
    let Windows { input, padding, starts, kinds, lengths } = windows;
    let side = |size: &usize| (1..=LARGEST_SIDE).contains(size);
    ensure!(side(input) && *padding <= LARGEST_SIDE, "an axis of {windows:?}");
    ensure!(lengths.len() <= starts.len() && lengths.iter().all(side), "lengths of {windows:?}");
    ensure!(side(&starts.len()) && starts.iter().all(|start| *start <= 2 * LARGEST_SIDE), "starts of {windows:?}");
    ensure!(kinds.len() == starts.len() && kinds.iter().all(|kind| *kind < lengths.len()), "kinds of {windows:?}");
    Ok(())
}

impl Fused for PooledDepthwise {
    fn name(&self) -> &'static str {
        "PooledDepthwise"
    }

    fn weights(&self) -> Option<WeightFormat> {
        Some(WeightFormat::F32)
    }

    fn output_shape(&self, inputs: &[&[usize]]) -> TractResult<TVec<usize>> {
        let mut shape: TVec<usize> = inputs[0].into();
        let rank = shape.len();
        ensure!(rank >= 3, "an image of shape {shape:?}");
        (shape[rank - 3], shape[rank - 2]) = (self.rows.output(), self.columns.output());
        Ok(shape)
    }

    fn check(&self, inputs: &[&[usize]]) -> TractResult<()> {
        let &[image, filters, bias] = inputs else { bail!("expected 3 inputs, found {}", inputs.len()) };
        let Self { rows, columns, channels } = self;
        check_windows(rows)?;
        check_windows(columns)?;
        ensure!(*channels > 0 && image.ends_with(&[rows.input, columns.input, *channels]), "image of shape {image:?}");
        let kinds = [rows.lengths.len(), columns.lengths.len(), *channels];
        ensure!(product(&kinds)? == volume(bias), "expected a bias of {kinds:?} values");
        let kind = product(&[rows.longest(), columns.longest(), *channels])?;
        ensure!(product(&[kinds[0], kinds[1], kind])? == volume(filters), "expected filters of {kinds:?} windows");
        product(&self.output_shape(inputs)?)?;
        Ok(())
    }

    fn compute(
        &self,
        inputs: &[(&[f32], &[usize])],
        pool: &mut ThreadPool,
        _scratch: &mut [f32],
        out: &mut [f32],
    ) -> TractResult<()> {
        let Self { rows, columns, channels } = self;
        let image = rows.input * columns.input * channels;
        let result = rows.output() * columns.output() * channels;
        debug_assert_eq!(inputs[1].0.len(), filters_len(rows, columns, *channels));
        for (x, out) in inputs[0].0.chunks_exact(image).zip(out.chunks_exact_mut(result)) {
            pooled_depthwise(pool, x, [rows, columns], *channels, [inputs[1].0, inputs[2].0], out);
        }
        Ok(())
    }

    fn macs(&self, inputs: &[&[usize]]) -> TractResult<usize> {
        let image = product(&[self.rows.input, self.columns.input, self.channels])?;
        product(&[volume(inputs[0]) / image, self.rows.taps(), self.columns.taps(), self.channels])
    }

    fn details(&self) -> Vec<String> {
        vec![format!("{:?} {:?} {}", self.rows, self.columns, self.channels)]
    }
}
fused_op!(PooledDepthwise);

#[cfg(test)]
mod tests {
    use super::*;

    fn op() -> PooledDepthwise {
        let windows = Windows { input: 5, padding: 1, starts: vec![0, 3], kinds: vec![0, 1], lengths: vec![3, 4] };
        PooledDepthwise { rows: windows.clone(), columns: windows, channels: 2 }
    }

    #[test]
    fn what_a_stored_graph_gets_wrong_is_refused() {
        let (image, filters, bias) = ([1, 5, 5, 2], [128], [8]);
        let inputs: [&[usize]; 3] = [&image, &filters, &bias];
        op().check(&inputs).unwrap();
        assert_eq!(
            (op().output_shape(&inputs).unwrap().as_slice(), op().macs(&inputs).unwrap()),
            (&[1, 2, 2, 2][..], 98)
        );
        let edits: [fn(&mut PooledDepthwise); 9] = [
            |op| op.rows.kinds[0] = 2,
            |op| op.rows.kinds.truncate(1),
            |op| op.columns.starts[1] = usize::MAX,
            |op| op.columns.padding = usize::MAX,
            |op| op.rows.lengths[0] = 0,
            |op| op.rows.lengths[0] = 1 << 62,
            |op| op.rows.lengths.clear(),
            |op| op.columns.input = 1 << 40,
            |op| op.channels = 1 << 62,
        ];
        for edit in edits {
            let mut wrong = op();
            edit(&mut wrong);
            assert!(wrong.check(&inputs).is_err(), "{wrong:?}");
        }
        for wrong in [&[&image[..], &[127], &bias], &[&image[..], &filters, &[7]], &[&[5, 5, 3][..], &filters, &bias]] {
            assert!(op().check(wrong).is_err(), "{wrong:?}");
        }
        assert!(op().check(&[&image, &filters]).is_err());
    }
}
