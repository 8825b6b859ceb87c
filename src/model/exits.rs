//! Which outputs of a graph are exits.

use std::collections::HashMap;
use std::path::Path;

use tract_onnx::pb::GraphProto;
use tract_onnx::pb::tensor_proto::DataType;

use super::ModelError;
use super::fact::Fact;
use super::prepare::heads::{Ending, ending};
use crate::exit::MAX_EXITS;

/// The exits of a graph.
#[derive(Debug)]
pub(super) struct Exits {
    /// Their output names.
    pub names: Vec<String>,
    /// Classes of the file's outputs; 1 for a binary classifier with one output.
    pub classes: usize,
}

/// Finds the exits among the graph's outputs: those that are wanted, or all of shape (N, classes).
pub(super) fn find(
    path: &Path,
    graph: &GraphProto,
    facts: &HashMap<String, Fact>,
    batch: usize,
    wanted: Option<&[String]>,
    notes: &mut Vec<String>,
    warnings: &mut Vec<String>,
) -> Result<Exits, ModelError> {
    let path = path.to_path_buf();
    let mut outputs: Vec<&str> = vec![];
    for output in &graph.output {
        if outputs.contains(&output.name.as_str()) {
            warnings.push(format!("output {:?} is listed twice and counts as one exit", output.name));
        } else {
            outputs.push(&output.name);
        }
    }
    let shown = |name: &str| facts.get(name).map_or_else(String::new, shape_of);
    let listed = || {
        let all: Vec<String> = outputs.iter().map(|name| format!("{name:?} {}", shown(name))).collect();
        if all.is_empty() { "none".to_string() } else { all.join(", ") }
    };
    let classes_of = |name: &str| facts.get(name).and_then(|fact| classes(fact, batch));

    let mut names: Vec<String> = vec![];
    match wanted {
        Some(wanted) => {
            for name in wanted {
                if !outputs.contains(&name.as_str()) {
                    return Err(ModelError::UnknownExit { path, name: name.clone(), outputs: listed() });
                }
                if names.contains(name) {
                    warnings.push(format!("exit {name:?} is asked for twice and counts once"));
                } else {
                    names.push(name.clone());
                }
            }
        }
        None => names.extend(outputs.iter().filter(|name| classes_of(name).is_some()).map(ToString::to_string)),
    }
    let Some(first) = names.first() else { return Err(ModelError::NoExit { path, outputs: listed() }) };
    if names.len() > MAX_EXITS {
        return Err(ModelError::TooManyExits { path, exits: names.len(), max: MAX_EXITS });
    }
    if let Some(name) = names.iter().find(|name| classes_of(name).is_none()) {
        let expected = format!("({batch}, classes) of floats");
        return Err(ModelError::ExitShape { path, name: name.clone(), actual: shown(name), expected });
    }
    let classes = classes_of(first).unwrap_or(0);
    if names.iter().any(|name| classes_of(name) != Some(classes)) {
        return Err(ModelError::Classes { path, outputs: listed() });
    }
    for name in &names {
        let refuse = |reason: String| Err(ModelError::Exit { path: path.clone(), name: name.clone(), reason });
        match ending(graph, facts, name) {
            Ending::Sigmoid if classes > 1 => {
                return refuse(format!(
                    "ends in a sigmoid over {classes} outputs: it gives several labels at once, and confidence is \
                     defined for one; leave it out with --exits, or export one label per image with a soft-max"
                ));
            }
            Ending::Softmax | Ending::LogSoftmax if classes == 1 => {
                return refuse("is a soft-max over one class, which is always 1: export the logit".into());
            }
            Ending::Softmax => notes.push(format!("exit {name:?} ends in a soft-max; its logits are read before it")),
            Ending::Sigmoid => notes.push(format!("exit {name:?} is a binary classifier that ends in a sigmoid")),
            Ending::Logits if classes == 1 => {
                notes.push(format!("exit {name:?} has one output, taken as the logit of class 1 against class 0"));
            }
            Ending::Logits | Ending::LogSoftmax => {}
        }
    }
    Ok(Exits { names, classes })
}

/// Classes of an output of shape (N, classes), any axes of 1 behind.
fn classes(fact: &Fact, batch: usize) -> Option<usize> {
    match fact.dims[..] {
        [n, classes, ref rest @ ..] if n == batch && classes > 0 && rest.iter().all(|&dim| dim == 1) => {
            (fact.element == DataType::Float).then_some(classes)
        }
        _ => None,
    }
}

fn shape_of(fact: &Fact) -> String {
    let dims: Vec<String> = fact.dims.iter().map(ToString::to_string).collect();
    let kind = match fact.element {
        DataType::Float => String::new(),
        other => format!(" of {other:?}"),
    };
    format!("({}){kind}", dims.join(", "))
}
