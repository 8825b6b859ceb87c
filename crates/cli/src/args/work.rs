//! Work in multiply-accumulates, and how long it takes on a core of which only the speed is known.

use dyn_perceiver::plan::Plan;

/// Multiply-accumulates per second of one core of the boards this is for, as a round figure.
pub(crate) const MACS_PER_SECOND: f64 = 2e9;
/// Multiply-accumulates that take as long as what a node of the graph costs besides its own. Fitted to the stages of the
/// built-in model on an x86-64 machine; without it the early stages of small networks would come out too cheap.
const MACS_PER_NODE: f64 = 4300.0;
/// Multiply-accumulates that take as long as decoding and resizing a pixel of a JPEG: a VGA frame takes 2.6 ms where
/// MobileNetV3 0.75 of 247.5 million takes 14.6.
const MACS_PER_PIXEL: f64 = 143.0;

/// Where the time of decoding comes from, in words.
pub(crate) const DECODE_SOURCE: &str = "as many multiply-accumulates as take as long on x86-64 (cargo xtask camera-cost, \
                                        docs/performance.md), over the speed of a core";

/// Work of each stage; of a detector, of each goal of boxes, too.
pub(crate) fn stages(plan: &Plan) -> impl Iterator<Item = f64> {
    plan.outcome_costs().into_iter().map(|(macs, nodes)| macs as f64 + MACS_PER_NODE * nodes.max(1) as f64)
}

/// Work of decoding and resizing a JPEG of this size.
pub(crate) fn decode_macs(width: u32, height: u32) -> f64 {
    MACS_PER_PIXEL * f64::from(width) * f64::from(height)
}
