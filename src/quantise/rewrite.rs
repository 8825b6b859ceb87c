//! Layers of a rewritten graph that can be int8, and the graph with some of them so.

use std::collections::HashMap;

use dyn_perceiver_kernels::gemm::{KernelFamily, PackedI8, Reduction, pack_i8};
use dyn_perceiver_kernels::memory::words_of;
use tract_core::internal::*;
use tract_core::ops::konst::Const;

use crate::graph::partition::SegmentGraph;
use crate::ops::linear::Linear;
use crate::ops::quantised_linear::QuantisedLinear;
use crate::weights;

/// A layer's operator and its weights as int8.
pub(super) struct Found {
    pub name: String,
    pub linear: Linear,
    pub packed: PackedI8,
}

/// A layer's int8 form: what a step of its input's bytes stands for, the byte of 0, and the weights.
#[derive(Clone, Copy)]
pub(super) struct Scheme<'a> {
    pub scale: f32,
    pub zero_point: u8,
    pub packed: &'a PackedI8,
}

impl Scheme<'_> {
    /// For each column, the input's scale times that of the weights.
    pub(super) fn scales(&self) -> Vec<f32> {
        self.packed.scales.iter().map(|weights| self.scale * weights).collect()
    }
}

/// The products with constant, finite weights.
pub(super) fn layers(segments: &[SegmentGraph]) -> TractResult<Vec<Found>> {
    let mut found = vec![];
    for graph in segments.iter().map(|segment| &segment.graph) {
        for node in graph.eval_order()?.into_iter().map(|id| graph.node(id)) {
            let Some(linear) = node.op_as::<Linear>() else { continue };
            let Some(constant) = graph.node(node.inputs[1].node).op_as::<Const>() else { continue };
            let packed = weights::floats(constant.val())?;
            let (whole, columns) = (Reduction::whole(linear.reduction), linear.columns);
            if linear.reduction > 1 << 16 || !packed.iter().all(|weight| weight.is_finite()) {
                continue;
            }
            let plain = KernelFamily::F32.unpack(whole, columns, packed);
            let packed = pack_i8(whole, columns, |k, n| plain[k * columns + n]);
            found.push(Found { name: node.name.clone(), linear: linear.clone(), packed });
        }
    }
    Ok(found)
}

/// Puts int8 layers in place of those named.
pub(super) fn replace(graph: &mut TypedModel, schemes: &HashMap<&str, Scheme<'_>>) -> TractResult<()> {
    let chosen = |node: &&TypedNode| node.op_is::<Linear>() && schemes.contains_key(node.name.as_str());
    let ids: Vec<usize> = graph.nodes().iter().filter(chosen).map(|node| node.id).collect();
    for id in ids {
        let node = graph.node(id);
        let (Some(scheme), Some(linear)) = (schemes.get(node.name.as_str()), node.op_as::<Linear>()) else { continue };
        let name = &node.name;
        let mut patch = TypedModelPatch::default();
        let x = patch.tap_model(graph, node.inputs[0])?;
        let PackedI8 { weights, column_sums, .. } = scheme.packed;
        let weights = patch.add_const(format!("{name}.int8"), tensor1(&words_of(weights)))?;
        let sums = patch.add_const(format!("{name}.sums"), tensor1(column_sums))?;
        let scales = patch.add_const(format!("{name}.scales"), tensor1(&scheme.scales()))?;
        let mut inputs = tvec!(x, weights, sums, scales);
        for tail in &node.inputs[2..] {
            inputs.push(patch.tap_model(graph, *tail)?);
        }
        let (scale, zero_point) = (scheme.scale.to_bits(), scheme.zero_point);
        let op = QuantisedLinear { linear: linear.clone(), scale, zero_point };
        let wire = patch.wire_node(name, op, &inputs)?[0];
        patch.shunt_outside(graph, id.into(), wire)?;
        patch.apply(graph)?;
    }
    // The float weights of layers that were replaced.
    graph.compact()
}
