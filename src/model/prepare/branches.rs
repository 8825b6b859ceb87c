//! `If` nodes whose condition is known give way to the branch that is taken.

use tract_onnx::pb::{GraphProto, ValueInfoProto};

use super::edit::node;

/// Puts the branches in place; `decided` are the nodes' positions and conditions. The names inside a branch are unique
/// in the whole model, as ONNX demands.
pub(in super::super) fn take(graph: &mut GraphProto, decided: &[(usize, bool)]) {
    let mut nodes = vec![];
    for (index, mut owner) in std::mem::take(&mut graph.node).into_iter().enumerate() {
        let Some(&(_, condition)) = decided.iter().find(|(at, _)| *at == index) else {
            nodes.push(owner);
            continue;
        };
        let name = if condition { "then_branch" } else { "else_branch" };
        let branch = owner.attribute.iter_mut().find(|a| a.name == name).and_then(|a| a.g.take());
        let Some(branch) = branch else { continue };
        graph.initializer.extend(branch.initializer);
        nodes.extend(branch.node);
        for (ValueInfoProto { name: inner, .. }, outer) in branch.output.iter().zip(&owner.output) {
            if !outer.is_empty() {
                nodes.push(node("Identity", &[inner], &[outer]));
            }
        }
    }
    graph.node = nodes;
}
