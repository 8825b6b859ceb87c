//! Which outputs of a graph are exits.

use std::path::Path;

use tract_core::prelude::{DatumType, TypedModel};

use super::ModelError;
use crate::exit::MAX_EXITS;

/// Indices of the exits among the graph's outputs, and their number of classes.
pub(super) fn find(
    path: &Path,
    graph: &TypedModel,
    names: &[String],
    batch: usize,
    wanted: Option<&[String]>,
) -> Result<(Vec<usize>, usize), ModelError> {
    let shapes: Vec<_> = graph
        .outputs
        .iter()
        .map(|&outlet| graph.outlet_fact(outlet))
        .collect::<Result<_, _>>()
        .map_err(|e| ModelError::Unsupported { path: path.into(), reason: format!("{e:#}") })?;
    let shown = |output: usize| {
        let dims: Vec<String> = shapes[output].shape.iter().map(|d| d.to_string()).collect();
        let kind = match shapes[output].datum_type {
            DatumType::F32 => String::new(),
            other => format!(" of {other:?}"),
        };
        format!("({}){kind}", dims.join(", "))
    };
    let outputs = || {
        let all: Vec<String> = names.iter().enumerate().map(|(i, name)| format!("{name} {}", shown(i))).collect();
        if all.is_empty() { "none".to_string() } else { all.join(", ") }
    };
    let classes_of = |output: usize| match shapes[output].shape.as_concrete() {
        Some(&[n, classes]) if n == batch && classes > 0 && shapes[output].datum_type == DatumType::F32 => {
            Some(classes)
        }
        _ => None,
    };

    let exits: Vec<usize> = match wanted {
        Some(wanted) => wanted
            .iter()
            .map(|name| {
                names.iter().position(|output| output == name).ok_or_else(|| ModelError::UnknownExit {
                    path: path.into(),
                    name: name.clone(),
                    outputs: outputs(),
                })
            })
            .collect::<Result<_, _>>()?,
        None => (0..names.len()).filter(|&output| classes_of(output).is_some()).collect(),
    };
    let Some(&first) = exits.first() else {
        return Err(ModelError::NoExit { path: path.into(), outputs: outputs() });
    };
    if exits.len() > MAX_EXITS {
        return Err(ModelError::TooManyExits { path: path.into(), exits: exits.len(), max: MAX_EXITS });
    }
    let classes = classes_of(first);
    for (position, &exit) in exits.iter().enumerate() {
        let repeated = exits[..position].contains(&exit);
        if classes_of(exit).is_none() || classes_of(exit) != classes || repeated {
            let expected = match classes {
                _ if repeated => "each exit once".to_string(),
                Some(classes) => format!("({batch}, {classes}) of floats"),
                None => format!("({batch}, classes) of floats"),
            };
            return Err(ModelError::ExitShape {
                path: path.into(),
                name: names[exit].clone(),
                actual: shown(exit),
                expected,
            });
        }
    }
    Ok((exits, classes.unwrap_or(0)))
}
