//! Nodes over integers that are computed from the image, which some operators of tract refuse in the first frame only.
//!
//! tract takes integers of 64 bits for sizes and gives them a type of its own (`TDim`), symbols included. Many operators
//! compute with it; a few fail when they run. Such a model has to be refused when it is loaded, by the node's name.

use tract_core::internal::*;

use crate::quiet;

/// A node that cannot run: its name, its operator, why.
pub(super) struct Unable {
    pub node: String,
    pub operator: String,
    pub reason: String,
}

/// Runs every node that takes such integers once, by itself.
///
/// # Errors
/// The first node that fails whatever its inputs are.
pub(super) fn try_each(model: &TypedModel) -> Result<(), Unable> {
    for node in &model.nodes {
        let unknown = |outlet: &OutletId| {
            model.outlet_fact(*outlet).is_ok_and(|fact| fact.datum_type == DatumType::TDim && fact.konst.is_none())
        };
        if !node.inputs.iter().any(unknown) {
            continue;
        }
        // Zeros are no divisors, ones may be no indices: what works with either can work.
        let failed = |value: i64| match quiet::catch(|| run(model, node, value)) {
            Ok(done) => done.err().map(|error| error.to_string()),
            Err(panic) => Some(panic),
        };
        if let Some(reason) = failed(0)
            && failed(1).is_some()
        {
            let (node, operator) = (node.name.clone(), node.op.name().to_string());
            return Err(Unable { node, operator, reason: format!("over integers computed from the image: {reason}") });
        }
    }
    Ok(())
}

/// Runs `node` on constants as they are and on tensors full of `value`; nothing if a shape is open or the node keeps a state.
fn run(model: &TypedModel, node: &TypedNode, value: i64) -> TractResult<()> {
    let mut inputs = tvec![];
    for outlet in &node.inputs {
        let fact = model.outlet_fact(*outlet)?;
        let Some(shape) = fact.shape.as_concrete() else { return Ok(()) };
        inputs.push(match &fact.konst {
            Some(constant) => constant.clone().into_tvalue(),
            None => {
                let full = tensor0(value).cast_to_dt(fact.datum_type)?.into_owned().broadcast_scalar_to_shape(shape)?;
                full.into_tvalue()
            }
        });
    }
    node.op.eval_out_of_plan(inputs).map(|_| ())
}
