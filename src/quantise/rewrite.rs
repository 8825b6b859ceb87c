//! Layers of a rewritten graph that can be int8, and the graph with some of them so.

use std::collections::HashMap;

use dyn_perceiver_kernels::convolution::winograd;
use dyn_perceiver_kernels::gemm::{KernelFamily, PackedI8, Reduction, pack_i8};
use dyn_perceiver_kernels::memory::words_of;
use tract_core::internal::*;
use tract_core::ops::konst::Const;

use crate::graph::partition::SegmentGraph;
use crate::ops::Fused;
use crate::ops::convolution::Convolution;
use crate::ops::linear::Linear;
use crate::ops::quantised_convolution::QuantisedConvolution;
use crate::ops::quantised_linear::{LONGEST, QuantisedLinear};
use crate::ops::winograd::Winograd;
use crate::weights;

/// An operator of the float graph that has an int8 form.
#[derive(Clone)]
pub(super) enum Product {
    Linear(Linear),
    Convolution(Convolution),
    Winograd(Winograd),
}

impl Product {
    /// The operator of a node, if int8 kernels compute such a product.
    fn of(node: &TypedNode) -> Option<Product> {
        if let Some(linear) = node.op_as::<Linear>() {
            return (linear.reduction <= LONGEST).then(|| Product::Linear(linear.clone()));
        }
        if let Some(convolution) = node.op_as::<Convolution>() {
            return convolution.shape.fits_i8().then(|| Product::Convolution(convolution.clone()));
        }
        let winograd = node.op_as::<Winograd>()?;
        winograd.convolution.shape.fits_i8().then(|| Product::Winograd(winograd.clone()))
    }

    /// What it computes in float.
    pub(super) fn float(&self) -> &dyn Fused {
        match self {
            Product::Linear(linear) => linear,
            Product::Convolution(convolution) => convolution,
            Product::Winograd(winograd) => winograd,
        }
    }

    /// Its int8 form, for an input of this scale and zero point.
    pub(super) fn int8(&self, scheme: Scheme<'_>) -> Int8 {
        let (scale, zero_point) = (scheme.scale.to_bits(), scheme.zero_point);
        let convolution = match self {
            Product::Linear(linear) => {
                return Int8::Linear(QuantisedLinear { linear: linear.clone(), scale, zero_point, wide: false });
            }
            Product::Convolution(convolution) => convolution.clone(),
            Product::Winograd(winograd) => winograd.convolution.clone(),
        };
        Int8::Convolution(QuantisedConvolution { convolution, scale, zero_point, wide: false })
    }

    /// Rows of its input, entries of a row, and entries of a row of its output.
    pub(super) fn size(&self) -> [usize; 3] {
        let shape = match self {
            Product::Linear(linear) => {
                let rows = linear.shape.iter().product::<usize>() / linear.columns;
                return [rows, linear.reduction, linear.columns];
            }
            Product::Convolution(convolution) => &convolution.shape,
            Product::Winograd(winograd) => &winograd.convolution.shape,
        };
        let [pixels, taps] = [shape.window.output, shape.window.kernel].map(|pair| pair[0] * pair[1]);
        [pixels, taps * shape.channels_in / shape.groups, shape.channels_out]
    }

    /// Its weights as int8.
    fn packed(&self, weights: &[f32]) -> PackedI8 {
        match self {
            Product::Linear(Linear { reduction, columns, .. }) => {
                let whole = Reduction::whole(*reduction);
                let plain = KernelFamily::F32.unpack(whole, *columns, weights);
                pack_i8(whole, *columns, |k, n| plain[k * columns + n])
            }
            Product::Convolution(convolution) => convolution.shape.pack_i8(weights),
            Product::Winograd(Winograd { convolution }) => {
                convolution.shape.pack_i8(&winograd::restore(&convolution.shape, weights))
            }
        }
    }
}

/// The int8 form of an operator.
pub(super) enum Int8 {
    Linear(QuantisedLinear),
    Convolution(QuantisedConvolution),
}

impl Int8 {
    /// What it computes.
    pub(super) fn fused(&self) -> &dyn Fused {
        match self {
            Int8::Linear(linear) => linear,
            Int8::Convolution(convolution) => convolution,
        }
    }

    fn into_op(self) -> Box<dyn TypedOp> {
        match self {
            Int8::Linear(linear) => Box::new(linear),
            Int8::Convolution(convolution) => Box::new(convolution),
        }
    }
}

/// A layer's operator and its weights as int8.
pub(super) struct Found {
    pub name: String,
    pub product: Product,
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
            let Some(product) = Product::of(node) else { continue };
            let Some(constant) = graph.node(node.inputs[1].node).op_as::<Const>() else { continue };
            let weights = weights::floats(constant.val())?;
            if weights.iter().all(|weight| weight.is_finite()) {
                let packed = product.packed(weights);
                found.push(Found { name: node.name.clone(), product, packed });
            }
        }
    }
    Ok(found)
}

/// Puts int8 layers in place of those named.
pub(super) fn replace(graph: &mut TypedModel, schemes: &HashMap<&str, Scheme<'_>>) -> TractResult<()> {
    let chosen = |node: &&TypedNode| schemes.contains_key(node.name.as_str()) && Product::of(node).is_some();
    let ids: Vec<usize> = graph.nodes().iter().filter(chosen).map(|node| node.id).collect();
    for id in ids {
        let node = graph.node(id);
        let (Some(scheme), Some(product)) = (schemes.get(node.name.as_str()), Product::of(node)) else { continue };
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
        let wire = patch.wire_node(name, product.int8(*scheme).into_op(), &inputs)?[0];
        patch.shunt_outside(graph, id.into(), wire)?;
        patch.apply(graph)?;
    }
    // The float weights of layers that were replaced.
    graph.compact()
}
