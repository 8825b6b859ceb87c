//! What an operator of a bundle may read: checked before tract, which takes much of it for granted.

use tract_core::internal::*;

use super::{Operator, Padding, Window};

impl Operator {
    /// That the operator takes inputs of these shapes, as far as tract takes it for granted.
    pub(in crate::bundle_format) fn check_inputs(&self, inputs: &[&[usize]]) -> TractResult<()> {
        let expected = match self {
            // These check their inputs themselves.
            Operator::Own(_) => return Ok(()),
            Operator::Concat { axis } => {
                ensure!(inputs.iter().all(|shape| *axis < shape.len()), "axis {axis} of {inputs:?}");
                return Ok(());
            }
            Operator::Binary(_) => 2,
            Operator::Convolution { .. } => 3,
            Operator::Product(axes) => axes.split("->").next().unwrap_or_default().split(',').count(),
            _ => 1,
        };
        ensure!(inputs.len() == expected, "expected {expected} inputs, found {}", inputs.len());
        let rank = inputs.first().map_or(0, |shape| shape.len());
        let within = |axis: usize, rank: usize| -> TractResult<()> {
            ensure!(axis < rank, "axis {axis} of {rank}");
            Ok(())
        };
        match self {
            Operator::AddAxis(axis) => within(*axis, rank + 1),
            Operator::RemoveAxis(axis) | Operator::RmsNorm { axis, .. } => within(*axis, rank),
            Operator::MoveAxis(from, to) => within(*from, rank).and(within(*to, rank)),
            Operator::Reduce { axes, .. } | Operator::Softmax { axes, .. } => {
                axes.iter().try_for_each(|axis| within(*axis, rank))
            }
            Operator::Slice { axis, end, .. } => {
                within(*axis, rank)?;
                ensure!(*end <= inputs[0][*axis], "a slice to {end} of {inputs:?}");
                Ok(())
            }
            Operator::Sample { axis, .. } => within(*axis, rank),
            Operator::Reshape { at, from, to } => {
                ensure!(to.len() <= 8 && inputs[0].get(*at..).is_some_and(|rest| rest.starts_with(from)));
                Ok(())
            }
            Operator::Convolution { window, .. } => {
                window.check(inputs[0])?;
                ensure!(inputs[1].len() == window.kernel.len() + 2, "weights of shape {:?}", inputs[1]);
                ensure!(inputs[1][2..] == window.kernel[..], "weights of shape {:?}", inputs[1]);
                ensure!(inputs[2].len() <= 1, "bias of shape {:?}", inputs[2]);
                Ok(())
            }
            Operator::MaxPool(window) | Operator::SumPool { window, .. } => window.check(inputs[0]),
            _ => Ok(()),
        }
    }
}

impl Window {
    /// That it slides over an image of this shape; tract indexes axes without a check.
    fn check(&self, input: &[usize]) -> TractResult<()> {
        const LARGEST: usize = 1 << 20;
        let rank = self.kernel.len();
        ensure!((1..=3).contains(&rank), "a window of {rank} axes");
        ensure!(input.len() == rank + 1 + usize::from(self.batch), "an image of shape {input:?}");
        let lists = [Some(&self.kernel), self.dilations.as_ref(), self.strides.as_ref()];
        for list in lists.into_iter().flatten() {
            let sound = list.len() == rank && list.iter().all(|size| (1..=LARGEST).contains(size));
            ensure!(sound, "a window of {list:?}");
        }
        if let Padding::Explicit(before, after) | Padding::ExplicitOnnx(before, after, _) = &self.padding {
            let sound = |list: &[usize]| list.len() == rank && list.iter().all(|size| *size <= LARGEST);
            ensure!(sound(before) && sound(after), "a padding of {before:?} and {after:?}");
        }
        let channels = input[if self.channels_last { input.len() - 1 } else { usize::from(self.batch) }];
        ensure!(self.input_channels == channels, "{channels} channels, expected {}", self.input_channels);
        let taps = self.kernel.iter().try_fold(1_usize, |taps, size| taps.checked_mul(*size));
        ensure!(taps.is_some_and(|taps| taps <= LARGEST), "a kernel of {:?}", self.kernel);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tract_core::ops::array::{Slice, TypedConcat};
    use tract_core::ops::cnn::{MaxPool, PaddingSpec, PoolSpec};
    use tract_core::ops::math;
    use tract_core::ops::nn::{DataFormat, Reduce, Reducer};

    use super::super::tests::window;
    use super::*;

    #[test]
    fn inputs_that_an_operator_does_not_take_are_refused() {
        let of = |op: &dyn TypedOp| Operator::of(op).unwrap();
        let image: &[usize] = &[1, 4, 9, 9];
        let add = of(&math::add());
        assert!(add.check_inputs(&[image, image]).is_ok());
        for inputs in [&[image][..], &[image, image, image], &[]] {
            assert!(add.check_inputs(inputs).is_err(), "{inputs:?}");
        }
        let pool = |spec: PoolSpec| of(&MaxPool { pool_spec: spec, with_index_outputs: None });
        let spec = || window(DataFormat::NCHW, PaddingSpec::Valid);
        assert!(pool(spec()).check_inputs(&[image]).is_ok());
        // tract indexes the channels' axis without a check.
        for shape in [&[][..], &[4], &[4, 9], &[4, 9, 9], &[1, 3, 9, 9], &[1, 1, 4, 9, 9]] {
            assert!(pool(spec()).check_inputs(&[shape]).is_err(), "{shape:?}");
        }
        for kernel in [tvec!(0, 2), tvec!(usize::MAX, 2), tvec!(3), tvec!(1 << 15, 1 << 15)] {
            assert!(pool(PoolSpec { kernel_shape: kernel, ..spec() }).check_inputs(&[image]).is_err());
        }
        let padding = PaddingSpec::Explicit(tvec!(1 << 62, 0), tvec!(0, 0));
        assert!(pool(PoolSpec { padding, ..spec() }).check_inputs(&[image]).is_err());
        let reduce = of(&Reduce { axes: tvec!(4), reducer: Reducer::Sum });
        assert!(reduce.check_inputs(&[image]).is_err());
        assert!(of(&AxisOp::Add(5)).check_inputs(&[image]).is_err());
        assert!(of(&AxisOp::Move(0, 4)).check_inputs(&[image]).is_err());
        assert!(of(&Slice::new(1, 2, 5)).check_inputs(&[image]).is_err());
        assert!(of(&TypedConcat { axis: 4 }).check_inputs(&[image, image]).is_err());
    }
}
