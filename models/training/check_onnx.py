"""Checks ONNX files against the official checker, ONNX Runtime, and a reference of the deterministic weights.

    python check_onnx.py MODEL.onnx [REFERENCE.json] ...

Each model runs on the deterministic image of its input size at batch 1 and 3; with a reference file after it, its
logits are compared with those: the first 16, the L2 norm and the arg-max of each exit, to 1e-4.
"""

import json
import sys

import numpy as np
import onnx
import onnxruntime

EXITS = ("early3", "att", "cnn", "merge")
TOLERANCE = 1e-4


def fnv1a64(text):
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def uniform(key, count):
    """The deterministic numbers in [0, 1) of a key: splitmix64, top 24 bits."""
    z = (np.arange(count, dtype=np.uint64) + 1) * 0x9E3779B97F4A7C15 + np.uint64(fnv1a64(key))
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9
    z = (z ^ z >> 27) * 0x94D049BB133111EB
    z ^= z >> 31
    return (z >> 40).astype(np.float32) / np.float32(2**24)


def check(path, reference=None):
    """Raises if anything is wrong with the model; returns a line to print."""
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    side = model.graph.input[0].type.tensor_type.shape.dim[2].dim_value
    shape_operators = {node.op_type for node in model.graph.node} & {"Shape", "Gather", "Slice", "ConstantOfShape"}
    assert not shape_operators, f"{path}: shape arithmetic {shape_operators}"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    assert tuple(output.name for output in session.get_outputs()) == EXITS, f"{path}: outputs are not {EXITS}"
    image = (2 * uniform("image", 3 * side * side) - 1).reshape(1, 3, side, side)
    logits = session.run(EXITS, {"image": image})
    batch = session.run(EXITS, {"image": np.concatenate([image, -image, image])})
    worst = 0.0
    for name, one, three in zip(EXITS, logits, batch):
        assert np.isfinite(one).all(), f"{path}: {name} is not finite"
        apart = np.linalg.norm(three[[0, 2]] - one) / np.linalg.norm(one)
        assert apart < TOLERANCE, f"{path}: {name} depends on the batch by {apart:.1e}"
        if reference:
            expected = np.array(reference["logits"][name])
            norm = np.linalg.norm(one)
            errors = (
                np.linalg.norm(one[0, : len(expected)] - expected) / np.linalg.norm(expected),
                abs(norm - reference["logits_l2"][name]) / reference["logits_l2"][name],
            )
            worst = max(worst, *errors)
            assert worst < TOLERANCE, f"{path}: {name} is off by {errors}"
            assert one.argmax() == reference["argmax"][name], f"{path}: arg-max of {name} is {one.argmax()}"
    compared = f", worst relative error {worst:.1e}" if reference else ""
    return f"{path}: {len(model.graph.node)} nodes, opset {model.opset_import[0].version}, ok{compared}"


def main(arguments):
    while arguments:
        path, *arguments = arguments
        reference = None
        if arguments and arguments[0].endswith(".json"):
            with open(arguments.pop(0)) as file:
                reference = json.load(file)
        print(check(path, reference))


if __name__ == "__main__":
    main(sys.argv[1:])
