//! Filters of depthwise convolutions rounded to int8: multiplied in float32, which is as fast, and a quarter of the bytes in a bundle.

use tract_core::internal::*;
use tract_core::ops::konst::Const;

use crate::graph::partition::SegmentGraph;
use crate::{ops, weights};

/// The largest number of steps from 0.
const LARGEST: f32 = 127.0;

/// Each channel's weights rounded to 127 steps to either side. A channel whose steps were too small for floats stays as it is.
fn rounded(filters: &[f32], channels: usize) -> Vec<f32> {
    let mut rounded = filters.to_vec();
    for channel in 0..channels {
        let column = || filters[channel..].iter().step_by(channels);
        let step = column().fold(0.0_f32, |most, weight| most.max(weight.abs())) / LARGEST;
        if step.is_normal() {
            for (to, weight) in rounded[channel..].iter_mut().step_by(channels).zip(column()) {
                *to = f32::from((weight / step).round_ties_even().clamp(-LARGEST, LARGEST) as i8) * step;
            }
        }
    }
    rounded
}

/// The filters of a node, and their channels: weights of a depthwise convolution, if these are finite constants.
fn filters<'a>(graph: &'a TypedModel, node: &TypedNode) -> TractResult<Option<(&'a [f32], usize)>> {
    let Some(channels) = ops::filter_channels(&*node.op) else { return Ok(None) };
    let Some(constant) = graph.node(node.inputs[1].node).op_as::<Const>() else { return Ok(None) };
    let filters = weights::floats(constant.val())?;
    Ok(filters.iter().all(|weight| weight.is_finite()).then_some((filters, channels)))
}

/// The squared error of rounded filters over the squared filters.
fn error(filters: &[f32], rounded: &[f32]) -> f64 {
    let square = |value: f32| f64::from(value).powi(2);
    let signal: f64 = filters.iter().map(|weight| square(*weight)).sum();
    let error: f64 = filters.iter().zip(rounded).map(|(a, b)| square(a - b)).sum();
    error / signal.max(f64::MIN_POSITIVE)
}

/// Names of the nodes that have filters, the largest error of rounded ones first.
pub(super) fn find(segments: &[SegmentGraph]) -> TractResult<Vec<String>> {
    let mut found = vec![];
    for SegmentGraph { graph, .. } in segments {
        for node in graph.nodes() {
            if let Some((filters, channels)) = filters(graph, node)? {
                found.push((error(filters, &rounded(filters, channels)), node.name.clone()));
            }
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    Ok(found.into_iter().map(|(_, name)| name).collect())
}

/// Rounds those of a graph whose nodes are named.
pub(super) fn round(graph: &mut TypedModel, names: &[String]) -> TractResult<()> {
    let named: Vec<usize> =
        graph.nodes().iter().filter(|node| names.contains(&node.name)).map(|node| node.id).collect();
    for id in named {
        let node = graph.node(id);
        let Some((filters, channels)) = filters(graph, node)? else { continue };
        let rounded = rounded(filters, channels);
        let mut patch = TypedModelPatch::default();
        let shape = graph.outlet_fact(node.inputs[1])?.shape.as_concrete().context("filters of a known shape")?;
        let rounded = Tensor::from_shape(shape, &rounded)?;
        let mut inputs = tvec!(patch.tap_model(graph, node.inputs[0])?);
        inputs.push(patch.add_const(format!("{}.rounded", node.name), rounded)?);
        for tail in &node.inputs[2..] {
            inputs.push(patch.tap_model(graph, *tail)?);
        }
        let wire = patch.wire_node(&node.name, node.op.clone(), &inputs)?[0];
        patch.shunt_outside(graph, id.into(), wire)?;
        patch.apply(graph)?;
    }
    // The filters that were replaced.
    graph.compact()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_rounded_channel_by_channel() {
        // Two channels, three taps.
        let filters = [1.0, 100.0, -127.4, 0.2, 254.0, -63.5];
        let steps = [2.0, 100.0 / 127.0];
        let found = rounded(&filters, 2);
        let expected = [0.0, 127.0 * steps[1], -64.0 * steps[0], 0.0, 254.0, -81.0 * steps[1]];
        assert_eq!(found, expected);
        let rounded_by = [1.0, 0.6, 0.2, 63.5 - 81.0 * steps[1]].map(|by: f32| f64::from(by).powi(2));
        let square = filters.map(|weight| f64::from(weight).powi(2));
        let expected = rounded_by.iter().sum::<f64>() / square.iter().sum::<f64>();
        assert!((error(&filters, &found) - expected).abs() < 1e-3 * expected);
        // Steps of a channel of tiny weights would be no normal numbers.
        assert_eq!(rounded(&[1e-38, 0.0], 1), [1e-38, 0.0]);
        assert_eq!(rounded(&[0.0; 4], 2), [0.0; 4]);
    }
}
