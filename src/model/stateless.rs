//! Recurrent operators that begin anew with every frame.
//!
//! tract carries the state of LSTM, GRU, RNN and of other loops from one run to the next, for streams of sound. ONNX says
//! that a run begins with the states that the graph gives; what goes from frame to frame is an input and an output here.

use tract_core::internal::*;
use tract_core::ops::gru_seq::GruSeq;
use tract_core::ops::scan::Scan;

/// Makes every loop of the graph, and of loops inside it, take its first state from its inputs in each run.
pub(super) fn begin_anew(model: &mut TypedModel) {
    for node in &mut model.nodes {
        if let Some(scan) = node.op_as_mut::<Scan>() {
            scan.reset_every_turn = true;
            begin_anew(&mut scan.body);
        } else if let Some(gru) = node.op_as_mut::<GruSeq>() {
            gru.reset_every_turn = true;
        }
    }
}
