//! Half and double precision become float: kernels compute in float, and half-precision files are a way to be small.

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, TensorProto, TypeProto, type_proto};

use super::super::fact::Check;
use super::super::tensor;
use super::edit::every_graph;

/// Turns weights, casts, inputs and outputs of other precisions into float.
///
/// # Errors
/// A weight that is not what it says.
pub(in super::super) fn to_float(graph: &mut GraphProto) -> Check<()> {
    every_graph(graph, &mut |graph: &mut GraphProto| {
        for info in graph.input.iter_mut().chain(&mut graph.output) {
            if let Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), .. }) = &mut info.r#type
                && is_other(tensor.elem_type)
            {
                tensor.elem_type = DataType::Float as i32;
            }
        }
        for weight in &mut graph.initializer {
            convert(weight)?;
        }
        for attribute in graph.node.iter_mut().flat_map(|node| {
            let takes_type =
                matches!(node.op_type.as_str(), "Cast" | "EyeLike" | "QuantizeLinear" | "DequantizeLinear");
            let names_type = move |name: &str| takes_type && matches!(name, "to" | "dtype" | "output_dtype");
            node.attribute.iter_mut().map(move |attribute| (names_type(&attribute.name), attribute))
        }) {
            let (names_type, attribute) = attribute;
            if names_type && i32::try_from(attribute.i).is_ok_and(is_other) {
                attribute.i = i64::from(DataType::Float as i32);
            }
            if let Some(value) = &mut attribute.t {
                convert(value)?;
            }
        }
        Ok(())
    })
}

fn is_other(element: i32) -> bool {
    use DataType as T;
    [T::Float16, T::Bfloat16, T::Double].into_iter().any(|other| other as i32 == element)
}

fn convert(weight: &mut TensorProto) -> Check<()> {
    if is_other(weight.data_type) {
        let refuse = |reason| format!("weight {:?}: {reason}", weight.name);
        let dims = tensor::dims(weight).map_err(refuse)?;
        let values = tensor::floats(weight).map_err(refuse)?;
        *weight = tensor::of_floats(&weight.name, &dims, &values);
    }
    Ok(())
}
