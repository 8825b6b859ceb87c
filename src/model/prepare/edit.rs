//! Small pieces that edits of a graph are made of: new nodes, attributes and names that do not occur yet.

use std::collections::HashSet;

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto};

/// Names that a model uses, subgraphs included.
pub(super) struct Names {
    taken: HashSet<String>,
}

impl Names {
    pub(super) fn of(graph: &GraphProto) -> Names {
        Names::of_parts(graph, &[])
    }

    /// Of a graph whose `nodes` have been taken out.
    pub(super) fn of_parts(graph: &GraphProto, nodes: &[NodeProto]) -> Names {
        let mut taken = HashSet::new();
        collect(graph, &mut taken);
        collect_nodes(nodes, &mut taken);
        Names { taken }
    }

    /// A name that begins like `base` and does not occur yet.
    pub(super) fn fresh(&mut self, base: &str) -> String {
        let mut name = base.to_string();
        let mut count = 1;
        while !self.taken.insert(name.clone()) {
            count += 1;
            name = format!("{base}.{count}");
        }
        name
    }
}

fn collect(graph: &GraphProto, taken: &mut HashSet<String>) {
    taken.extend(graph.initializer.iter().map(|tensor| tensor.name.clone()));
    taken.extend(graph.input.iter().chain(&graph.output).map(|info| info.name.clone()));
    collect_nodes(&graph.node, taken);
}

fn collect_nodes(nodes: &[NodeProto], taken: &mut HashSet<String>) {
    for node in nodes {
        taken.insert(node.name.clone());
        taken.extend(node.input.iter().chain(&node.output).cloned());
        node.attribute.iter().filter_map(|a| a.g.as_ref()).for_each(|inner| collect(inner, taken));
    }
}

/// A node of the default operator set, called as its first output.
pub(super) fn node(operator: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto {
        name: outputs.first().map_or("", |name| name).to_string(),
        op_type: operator.to_string(),
        input: inputs.iter().map(ToString::to_string).collect(),
        output: outputs.iter().map(ToString::to_string).collect(),
        ..NodeProto::default()
    }
}

/// An integer attribute.
pub(super) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: AttributeType::Int as i32, i: value, ..AttributeProto::default() }
}

/// An attribute of several integers.
pub(super) fn ints(name: &str, values: &[i64]) -> AttributeProto {
    let ints = values.to_vec();
    AttributeProto { name: name.into(), r#type: AttributeType::Ints as i32, ints, ..AttributeProto::default() }
}

/// Applies `edit` to a graph and to every graph inside it.
pub(super) fn every_graph<E>(
    graph: &mut GraphProto,
    edit: &mut impl FnMut(&mut GraphProto) -> Result<(), E>,
) -> Result<(), E> {
    edit(graph)?;
    for attribute in graph.node.iter_mut().flat_map(|node| &mut node.attribute) {
        if let Some(inner) = &mut attribute.g {
            every_graph(inner, edit)?;
        }
    }
    Ok(())
}

/// Every name that a node of the graph, or of one inside it, takes as input, and every output.
pub(super) fn used(graph: &GraphProto) -> HashSet<String> {
    let mut names: HashSet<String> = graph.output.iter().map(|output| output.name.clone()).collect();
    for node in &graph.node {
        names.extend(node.input.iter().cloned());
        for inner in node.attribute.iter().filter_map(|a| a.g.as_ref()) {
            names.extend(used(inner));
        }
    }
    names
}
