//! Turns parameters of a checkpoint into constants of the graph; batch normalisations vanish here.

use super::Weights;
use crate::graph::{Norm, Parameter, Source};
use crate::{Error, Network};

/// The numbers of a constant.
pub(crate) enum Constant {
    Integers(Vec<i64>),
    Numbers(Vec<f32>),
}

/// Computes a constant of `network`'s graph.
pub(crate) fn constant(network: &Network, source: &Source, weights: &mut dyn Weights) -> Result<Constant, Error> {
    let mut read = |key: &str| {
        let shape: &[usize] = network.parameters().get(key).map_or(&[], |p: &Parameter| &p.shape);
        weights.read(key, shape)
    };
    let numbers = match source {
        Source::Integers(values) => return Ok(Constant::Integers(values.clone())),
        Source::Numbers(values) => values.clone(),
        Source::Parameter(key) => read(key)?,
        Source::Transposed { weight, scale } => {
            let values = read(weight)?;
            let columns = network.parameters().get(weight).and_then(|p| p.shape.last()).copied().unwrap_or(1);
            let rows = values.len() / columns;
            let mut transposed = Vec::with_capacity(values.len());
            for column in 0..columns {
                transposed.extend((0..rows).map(|row| values[row * columns + column] * scale));
            }
            transposed
        }
        Source::NormalisedWeight { weight, norm } => {
            let (scale, _) = affine(norm, &mut read)?;
            let mut values = read(weight)?;
            let row = values.len() / scale.len();
            for (row, scale) in values.chunks_exact_mut(row).zip(scale) {
                row.iter_mut().for_each(|v| *v = (f64::from(*v) * scale) as f32);
            }
            values
        }
        Source::NormalisedBias { bias, norm } => {
            let (scale, shift) = affine(norm, &mut read)?;
            let bias = match bias {
                Some(key) => read(key)?,
                None => vec![0.0; scale.len()],
            };
            bias.iter()
                .zip(scale)
                .zip(shift)
                .map(|((&b, scale), shift)| (f64::from(b) * scale + shift) as f32)
                .collect()
        }
        Source::PrenormalisedWeight { weight, norm } => {
            let (scale, _) = affine(norm, &mut read)?;
            let mut values = read(weight)?;
            for row in values.chunks_exact_mut(scale.len()) {
                row.iter_mut().zip(&scale).for_each(|(v, scale)| *v = (f64::from(*v) * scale) as f32);
            }
            values
        }
        Source::PrenormalisedBias { weight, bias, norm } => {
            let (_, shift) = affine(norm, &mut read)?;
            let weight = read(weight)?;
            let dot = |row: &[f32]| row.iter().zip(&shift).map(|(&w, shift)| f64::from(w) * shift).sum::<f64>();
            let rows = weight.chunks_exact(shift.len());
            read(bias)?.iter().zip(rows).map(|(&b, row)| (f64::from(b) + dot(row)) as f32).collect()
        }
        Source::ResidualDepthwise { weight } => {
            let mut values = read(weight)?;
            let shape = network.parameters().get(weight).map_or(&[][..], |p| &p.shape);
            let taps: usize = shape.iter().skip(1).product();
            values.chunks_exact_mut(taps).for_each(|kernel| kernel[taps / 2] += 1.0);
            values
        }
    };
    Ok(Constant::Numbers(numbers))
}

/// Batch normalisation in evaluation mode as scale and shift per channel, in float64.
fn affine(norm: &Norm, read: &mut impl FnMut(&str) -> Result<Vec<f32>, Error>) -> Result<(Vec<f64>, Vec<f64>), Error> {
    let [gamma, beta, mean, variance] =
        ["weight", "bias", "running_mean", "running_var"].map(|suffix| read(&format!("{}.{suffix}", norm.key)));
    let scale: Vec<f64> = gamma?
        .iter()
        .zip(variance?)
        .map(|(&gamma, variance)| f64::from(gamma) / (f64::from(variance) + norm.epsilon).sqrt())
        .collect();
    let shift =
        beta?.iter().zip(mean?).zip(&scale).map(|((&b, m), scale)| f64::from(b) - f64::from(m) * scale).collect();
    Ok((scale, shift))
}
