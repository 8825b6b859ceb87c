//! Hostile graphs: each is refused with the node's name before tract sees it.

use prost::Message as _;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};

use super::*;

fn node(operator: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        op_type: operator.into(),
        input: inputs.iter().map(ToString::to_string).collect(),
        output: vec![output.into()],
        attribute,
        ..NodeProto::default()
    }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: AttributeType::Int as i32, i: value, ..AttributeProto::default() }
}

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    let ints = values.to_vec();
    AttributeProto { name: name.into(), r#type: AttributeType::Ints as i32, ints, ..AttributeProto::default() }
}

fn value(name: &str, dims: Vec<dimension::Value>) -> ValueInfoProto {
    let dim = dims.into_iter().map(|value| Dimension { value: Some(value), ..Dimension::default() }).collect();
    let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape: Some(TensorShapeProto { dim }) };
    let r#type = Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() });
    ValueInfoProto { name: name.into(), r#type, ..ValueInfoProto::default() }
}

/// A classifier of images of 3 x 4 x 4 with logits of 5 classes, to which `nodes` are added; they make `odd`, whose mean is
/// added to the logits of a second exit.
fn model(nodes: Vec<NodeProto>, mut weights: Vec<TensorProto>) -> ModelProto {
    let mut all = vec![
        node("GlobalAveragePool", &["image"], "pooled", vec![]),
        node("Flatten", &["pooled"], "flat", vec![]),
        node("MatMul", &["flat", "w"], "logits", vec![]),
    ];
    all.extend(nodes);
    all.push(node("ReduceMean", &["odd"], "mean", vec![int("keepdims", 0)]));
    all.push(node("Add", &["logits", "mean"], "second", vec![]));
    weights.push(tensor::of_floats("w", &[3, 5], &[0.5; 15]));
    let dims = vec![
        dimension::Value::DimParam("N".into()),
        dimension::Value::DimValue(3),
        dimension::Value::DimValue(4),
        dimension::Value::DimValue(4),
    ];
    let graph = GraphProto {
        node: all,
        initializer: weights,
        input: vec![value("image", dims)],
        output: ["logits", "second"]
            .map(|name| ValueInfoProto { name: name.into(), ..ValueInfoProto::default() })
            .to_vec(),
        ..GraphProto::default()
    };
    let opset = OperatorSetIdProto { domain: String::new(), version: 17 };
    ModelProto { ir_version: 8, opset_import: vec![opset], graph: Some(graph), ..ModelProto::default() }
}

fn load(model: &ModelProto) -> Result<Model, ModelError> {
    Model::from_bytes(model.encode_to_vec(), "hostile.onnx", &LoadOptions::default())
}

#[track_caller]
fn refused(model: &ModelProto, operator: &str, part: &str) {
    match load(model) {
        Err(ModelError::Node { operator: found, reason, .. }) => {
            assert_eq!(found, operator, "{reason}");
            assert!(reason.contains(part), "{reason}");
        }
        Err(error) => panic!("refused otherwise: {error}"),
        Ok(_) => panic!("{operator} is accepted"),
    }
}

#[test]
fn a_plain_graph_is_accepted() {
    let plain = model(vec![node("Relu", &["image"], "odd", vec![])], vec![]);
    assert_eq!(load(&plain).unwrap().info().exits, ["logits", "second"]);
}

#[test]
fn batch_normalisation_of_scalars_and_vectors_is_refused() {
    let vector = |name: &str| tensor::of_floats(name, &[1], &[1.0]);
    for x in [tensor::of_floats("x", &[], &[1.0]), vector("x")] {
        let weights = vec![x, vector("s"), vector("b"), vector("m"), vector("v")];
        let norm = node("BatchNormalization", &["x", "s", "b", "m", "v"], "odd", vec![]);
        refused(&model(vec![norm], weights), "BatchNormalization", "axes");
    }
}

#[test]
fn constants_of_any_size_are_refused() {
    let scalar = |name: &str, value: i64| tensor::of_ints(name, &[], &[value]);
    let range = vec![node("Range", &["a", "b", "c"], "r", vec![]), node("Cast", &["r"], "odd", vec![int("to", 1)])];
    let bounds = vec![scalar("a", 0), scalar("b", 1 << 31), scalar("c", 1)];
    refused(&model(range, bounds), "Range", "elements");
    for shape in [&[1 << 40][..], &[1 << 20, 1 << 20], &[i64::MAX, i64::MAX], &[-1]] {
        let filled = node("ConstantOfShape", &["s"], "odd", vec![]);
        let weights = vec![tensor::of_ints("s", &[shape.len()], shape)];
        assert!(load(&model(vec![filled], weights)).is_err(), "{shape:?}");
    }
    let hot = vec![node("OneHot", &["i", "depth", "values"], "odd", vec![])];
    let weights = vec![
        tensor::of_ints("i", &[1], &[0]),
        scalar("depth", 1 << 33),
        tensor::of_floats("values", &[2], &[0.0, 1.0]),
    ];
    refused(&model(hot, weights), "OneHot", "limit");
    let scales = vec![tensor::of_floats("s", &[4], &[1.0, 1.0, 2e9, 2e9])];
    refused(&model(vec![node("Resize", &["image", "", "s"], "odd", vec![])], scales), "Resize", "scaled");
    let sizes = vec![tensor::of_ints("s", &[4], &[1, 3, 1 << 40, 1 << 20])];
    refused(&model(vec![node("Resize", &["image", "", "", "s"], "odd", vec![])], sizes), "Resize", "");
    let tile = vec![node("Tile", &["w", "t"], "odd", vec![])];
    refused(&model(tile, vec![tensor::of_ints("t", &[2], &[1 << 20, 1 << 20])]), "Tile", "limit");
    let eye = vec![node("ConstantOfShape", &["s"], "e", vec![]), node("Expand", &["e", "t"], "odd", vec![])];
    let weights = vec![tensor::of_ints("s", &[2], &[1, 1]), tensor::of_ints("t", &[2], &[1 << 30, 1 << 30])];
    assert!(load(&model(eye, weights)).is_err());
}

#[test]
fn empty_tensors_are_judged_like_others() {
    let nodes =
        vec![node("ConstantOfShape", &["s"], "e", vec![]), node("Slice", &["e", "a", "b", "c", "d"], "odd", vec![])];
    let vector = |name: &str, value: i64| tensor::of_ints(name, &[1], &[value]);
    let weights = vec![vector("s", 0), vector("a", 0), vector("b", 5), vector("c", 0), vector("d", -1)];
    assert!(!matches!(load(&model(nodes, weights)), Err(ModelError::Panic { .. })));
}

#[test]
fn weights_that_are_inputs_too_and_unused_are_no_inputs() {
    let mut old =
        model(vec![node("Relu", &["image"], "odd", vec![])], vec![tensor::of_floats("spare", &[2], &[0.0; 2])]);
    let graph = old.graph.as_mut().unwrap();
    graph.input.insert(0, value("spare", vec![dimension::Value::DimValue(2)]));
    assert_eq!(load(&old).unwrap().info().input.channels, 3);
}

#[test]
fn many_constants_share_one_limit() {
    let fill = |k: usize| node("ConstantOfShape", &["s"], &format!("c{k}"), vec![]);
    let mut nodes: Vec<NodeProto> = (0..40).map(fill).collect();
    nodes.push(node("Relu", &["image"], "odd", vec![]));
    let weights = vec![tensor::of_ints("s", &[2], &[1024, 1024])];
    refused(&model(nodes, weights), "ConstantOfShape", "would be computed on loading");
}

#[test]
fn multiplications_of_constants_are_bounded() {
    let nodes = vec![
        node("ConstantOfShape", &["a"], "x", vec![]),
        node("ConstantOfShape", &["b"], "y", vec![]),
        node("MatMul", &["x", "y"], "odd", vec![]),
    ];
    let weights = vec![tensor::of_ints("a", &[2], &[2048, 2048]), tensor::of_ints("b", &[2], &[2048, 2048])];
    refused(&model(nodes, weights), "MatMul", "multiplications");
}

#[test]
fn shapes_that_contradict_each_other_are_refused() {
    let conv = |pads: &[i64], strides: &[i64]| {
        let attributes = vec![ints("pads", pads), ints("strides", strides)];
        let nodes = vec![node("Conv", &["image", "k"], "h", attributes), node("Add", &["h", "image"], "odd", vec![])];
        model(nodes, vec![tensor::of_floats("k", &[3, 3, 1, 1], &[0.5; 9])])
    };
    assert!(load(&conv(&[0; 4], &[1, 1])).is_ok());
    refused(&conv(&[0, 0, 0, 10], &[1, 1]), "Add", "do not broadcast");
    refused(&conv(&[0; 4], &[1, 3]), "Add", "do not broadcast");
    refused(&conv(&[0, 0, 0, i64::MAX], &[1, 1]), "Conv", "pads");
    refused(&conv(&[0; 4], &[1, 0]), "Conv", "strides");
    let pool = node("MaxPool", &["image"], "odd", vec![ints("kernel_shape", &[2, 2, 1])]);
    refused(&model(vec![pool], vec![]), "MaxPool", "kernel_shape");
    let flat = node("MaxPool", &["logits"], "odd", vec![ints("kernel_shape", &[2, 2])]);
    refused(&model(vec![flat], vec![]), "MaxPool", "axes");
}

#[test]
fn indices_and_axes_outside_are_refused() {
    let gather = node("GatherND", &["image", "i"], "odd", vec![]);
    refused(&model(vec![gather], vec![tensor::of_ints("i", &[1], &[5])]), "GatherND", "index 5 of 1");
    let batched = node("GatherND", &["image", "i"], "odd", vec![int("batch_dims", i64::MIN)]);
    refused(&model(vec![batched], vec![tensor::of_ints("i", &[1], &[0])]), "GatherND", "size");
    let floats = node("GatherND", &["image", "logits"], "odd", vec![]);
    refused(&model(vec![floats], vec![]), "GatherND", "expected integers");
    for axis in [-5, 4, i64::MIN, i64::MAX] {
        let norm = node("LayerNormalization", &["image", "s"], "odd", vec![int("axis", axis)]);
        refused(&model(vec![norm], vec![tensor::of_floats("s", &[4], &[1.0; 4])]), "LayerNormalization", "axis");
    }
}

#[test]
fn operators_are_known_and_have_their_arity() {
    for operator in ["HannWindow", "DFT", "NonZero", "Loop", "SequenceAt", "Nonsense"] {
        let odd = node(operator, &["image"], "odd", vec![]);
        refused(&model(vec![odd], vec![]), operator, "not supported");
    }
    let elsewhere = NodeProto { domain: "elsewhere".into(), ..node("Relu", &["image"], "odd", vec![]) };
    refused(&model(vec![elsewhere], vec![]), "elsewhere.Relu", "not supported");
    for inputs in [&["image"][..], &["image", "image", "image"], &[]] {
        refused(&model(vec![node("Add", inputs, "odd", vec![])], vec![]), "Add", "inputs");
    }
    let typed = AttributeProto { r#type: AttributeType::Float as i32, ..int("axis", 1) };
    let wrong = node("Softmax", &["image"], "odd", vec![typed]);
    refused(&model(vec![wrong], vec![]), "Softmax", "another type");
}

#[test]
fn names_of_dimensions_are_short_identifiers() {
    let mut deep = model(vec![node("Relu", &["image"], "odd", vec![])], vec![]);
    let dims = vec![
        dimension::Value::DimParam("(".repeat(20_000)),
        dimension::Value::DimValue(3),
        dimension::Value::DimValue(4),
        dimension::Value::DimValue(4),
    ];
    deep.graph.as_mut().unwrap().input[0] = value("image", dims);
    let error = load(&deep).unwrap_err().to_string();
    assert!(error.contains("no name of a dimension") && error.len() < 200, "{error}");
}

fn nested(depth: usize) -> GraphProto {
    let name = format!("o{depth}");
    let inner = match depth {
        0 => node("Identity", &["logits"], &name, vec![]),
        _ => {
            let branch = |name: &str| AttributeProto {
                name: name.into(),
                r#type: AttributeType::Graph as i32,
                g: Some(nested(depth - 1)),
                ..AttributeProto::default()
            };
            node("If", &["sure"], &name, vec![branch("then_branch"), branch("else_branch")])
        }
    };
    let output = vec![ValueInfoProto { name, ..ValueInfoProto::default() }];
    GraphProto { node: vec![inner], output, ..GraphProto::default() }
}

#[test]
fn branches_are_not_nested_deep() {
    let with = |depth| {
        let mut nodes = vec![
            node("ReduceMax", &["logits"], "m", vec![int("keepdims", 0)]),
            node("Greater", &["m", "half"], "sure", vec![]),
        ];
        let mut outer = nested(depth).node;
        outer[0].output = vec!["odd".into()];
        nodes.extend(outer);
        model(nodes, vec![tensor::of_floats("half", &[], &[0.5])])
    };
    assert!(load(&with(2)).is_ok());
    let error = load(&with(12)).unwrap_err().to_string();
    assert!(error.contains("deep in each other"), "{error}");
}

#[test]
fn the_number_of_nodes_is_bounded() {
    let mut nodes = vec![];
    for k in 0..20_000 {
        let from = if k == 0 { "image".into() } else { format!("r{}", k - 1) };
        nodes.push(node("Relu", &[&from], &format!("r{k}"), vec![]));
    }
    nodes.push(node("Relu", &["r19999"], "odd", vec![]));
    let error = load(&model(nodes, vec![])).unwrap_err().to_string();
    assert!(error.contains("more than 10000 nodes"), "{error}");
}

#[test]
fn functions_that_call_themselves_are_refused() {
    let function = |name: &str, calls: &[&str]| FunctionProto {
        name: Some(name.into()),
        domain: Some("own".into()),
        input: vec!["x".into()],
        output: vec!["y".into()],
        node: calls
            .iter()
            .enumerate()
            .map(|(k, call)| {
                let from = if k == 0 { "x".into() } else { format!("t{}", k - 1) };
                let to = if k + 1 == calls.len() { "y".into() } else { format!("t{k}") };
                NodeProto { domain: "own".into(), ..node(call, &[&from], &to, vec![]) }
            })
            .collect(),
        ..FunctionProto::default()
    };
    let call = |name: &str| NodeProto { domain: "own".into(), ..node(name, &["image"], "odd", vec![]) };
    let mut endless = model(vec![call("f")], vec![]);
    endless.functions = vec![function("f", &["f"])];
    assert!(load(&endless).unwrap_err().to_string().contains("deep"));
    let mut many = model(vec![call("f")], vec![]);
    many.functions = vec![function("f", &["f"; 10])];
    assert!(load(&many).unwrap_err().to_string().contains("nodes"));
}

#[test]
fn weights_have_the_length_of_their_shape() {
    let mut short =
        model(vec![node("Relu", &["short"], "odd", vec![])], vec![tensor::of_floats("short", &[4], &[0.0; 4])]);
    short.graph.as_mut().unwrap().initializer[0].dims = vec![1 << 40, 1 << 40];
    assert!(load(&short).unwrap_err().to_string().contains("\"short\""));
}

#[test]
fn limits_can_be_set() {
    let plain = model(vec![node("Relu", &["image"], "odd", vec![])], vec![]).encode_to_vec();
    let with = |limits: LoadLimits| {
        Model::from_bytes(plain.clone(), "small.onnx", &LoadOptions::default().with_limits(limits)).is_ok()
    };
    assert!(with(LoadLimits::default()));
    assert!(!with(LoadLimits::default().with_nodes(3)));
    assert!(!with(LoadLimits::default().with_tensor_elements(10)));
}
