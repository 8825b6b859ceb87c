//! A network that has most of its weights from another one, stored without them.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use prost::Message as _;
use tract_onnx::pb::{ModelProto, TensorProto};

use crate::Error;

/// The ONNX file `whole` without the weights that `base` has, under the same names and equal bit for bit.
///
/// # Errors
/// [`Error::Malformed`] when one of them is no ONNX file, or the weights of `base` stand in another order, so that [`with_weights_of`] would
/// not give the same bytes.
pub fn without_weights_of(base: &[u8], whole: &[u8]) -> Result<Vec<u8>, Error> {
    let weights = weights(base)?;
    let mut model = decode(whole)?;
    let shared: HashMap<&str, &TensorProto> = weights.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    if let Some(graph) = &mut model.graph {
        graph.initializer.retain(|tensor| shared.get(tensor.name.as_str()).is_none_or(|other| **other != *tensor));
    }
    let rest = model.encode_to_vec();
    if with_weights_of(base, &rest)? != whole {
        return Err(malformed("weights that both networks have stand in another order, or are left out"));
    }
    Ok(rest)
}

/// What [`without_weights_of`] was made of.
///
/// # Errors
/// [`Error::Malformed`] when one of them is no ONNX file.
pub fn with_weights_of(base: &[u8], rest: &[u8]) -> Result<Vec<u8>, Error> {
    let mut model = decode(rest)?;
    if let Some(graph) = &mut model.graph {
        let own: HashSet<String> = graph.initializer.iter().map(|tensor| tensor.name.clone()).collect();
        let mut all = weights(base)?;
        all.retain(|tensor| !own.contains(&tensor.name));
        all.append(&mut graph.initializer);
        graph.initializer = all;
    }
    Ok(model.encode_to_vec())
}

fn malformed(reason: impl Into<String>) -> Error {
    Error::malformed(Path::new("ONNX file"), "network", reason)
}

fn decode(file: &[u8]) -> Result<ModelProto, Error> {
    ModelProto::decode(file).map_err(|error| malformed(error.to_string()))
}

fn weights(file: &[u8]) -> Result<Vec<TensorProto>, Error> {
    Ok(decode(file)?.graph.map(|graph| graph.initializer).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use tract_onnx::pb::GraphProto;

    use super::*;

    fn file(weights: &[(&str, u8)]) -> Vec<u8> {
        let tensor = |&(name, value): &(&str, u8)| TensorProto {
            name: name.into(),
            raw_data: vec![value; 4],
            ..TensorProto::default()
        };
        let graph = GraphProto { initializer: weights.iter().map(tensor).collect(), ..GraphProto::default() };
        ModelProto { graph: Some(graph), ..ModelProto::default() }.encode_to_vec()
    }

    #[test]
    fn shared_weights_are_left_out_and_come_back() {
        let (base, whole) = (file(&[("a", 1), ("b", 2)]), file(&[("a", 1), ("b", 2), ("c", 3)]));
        let rest = without_weights_of(&base, &whole).unwrap();
        assert_eq!(rest, file(&[("c", 3)]));
        assert_eq!(with_weights_of(&base, &rest).unwrap(), whole);
        assert!(without_weights_of(&base, &file(&[("b", 2), ("a", 1)])).is_err());
        assert!(without_weights_of(&base, &file(&[("a", 1)])).is_err());
        assert!(with_weights_of(&base, b"no file").is_err());
    }
}
