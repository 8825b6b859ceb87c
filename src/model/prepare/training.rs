//! What a model keeps from training: Dropout is left out, batch statistics are refused.

use std::collections::HashMap;

use tract_onnx::pb::GraphProto;
use tract_onnx::pb::attribute_proto::AttributeType;

use super::super::guard::{Refusal, attribute};
use super::super::tensor;
use super::edit::{every_graph, used};

/// Puts identities in place of Dropout, and tells of those that were exported in training mode.
///
/// # Errors
/// A batch normalisation in training mode: at one image a time it means something else. A Dropout whose mask is used.
pub(in super::super) fn leave_out(graph: &mut GraphProto, warnings: &mut Vec<String>) -> Result<(), Refusal> {
    let used = used(graph);
    let mut trained: Vec<String> = vec![];
    every_graph(graph, &mut |graph: &mut GraphProto| {
        let truths: HashMap<String, bool> = graph
            .initializer
            .iter()
            .filter(|tensor| tensor.dims.iter().all(|&dim| dim == 1))
            .filter_map(|t| Some((t.name.clone(), *tensor::ints(t).ok()?.first()? != 0)))
            .collect();
        for node in graph.node.iter_mut().filter(|node| matches!(node.domain.as_str(), "" | "ai.onnx")) {
            let refuse = |operator: &str, reason: &str| Refusal::Node {
                node: node.name.clone(),
                operator: operator.into(),
                reason: reason.into(),
            };
            match node.op_type.as_str() {
                "Dropout" => {
                    if node.output.get(1).is_some_and(|mask| !mask.is_empty() && used.contains(mask)) {
                        return Err(refuse("Dropout", "its mask is used, which only training does"));
                    }
                    if node.input.get(2).is_some_and(|mode| truths.get(mode).copied().unwrap_or(!mode.is_empty())) {
                        trained.push(node.name.clone());
                    }
                    node.op_type = "Identity".into();
                    node.attribute.clear();
                    node.input.truncate(1);
                    node.output.truncate(1);
                }
                "BatchNormalization" => {
                    let mode = attribute(node, "training_mode", AttributeType::Int).ok().flatten();
                    let statistics = node.output.iter().skip(1).any(|name| !name.is_empty());
                    if mode.is_some_and(|mode| mode.i != 0) || statistics {
                        let reason = "it was exported in training mode, where it normalises by the batch: \
                                      call model.eval() before exporting";
                        return Err(refuse("BatchNormalization", reason));
                    }
                    node.output.truncate(1);
                }
                _ => {}
            }
        }
        Ok(())
    })?;
    if let Some(first) = trained.first() {
        warnings.push(format!(
            "{} Dropout node(s), the first {first:?}, were exported in training mode and are left out: call \
             model.eval() before exporting",
            trained.len()
        ));
    }
    Ok(())
}
