"""Weights out of an ONNX file that `dyn-perceiver import` or `train` wrote: what is left where the checkpoint is not.

Batch normalisations are folded into the layers in front of or behind them there, and stay so: they begin as ones that change nothing.
"""

import numpy as np
import torch
from torch import nn

from .attention import Attention
from .int8 import make_identity

# Of ONNX's protocol buffers: numbers of fields, and of element types.
GRAPH, NODES, TENSORS = 7, 1, 5
NODE_INPUT, NODE_KIND = 1, 4
DIMENSIONS, ELEMENT, NAME, BYTES, PLACE = 1, 2, 8, 9, 14
ELEMENTS = {1: np.float32, 10: np.float16}
ELSEWHERE = 1


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def fields(data):
    """Number and value of each field of a message: an integer, or bytes."""
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = varint(data, at)
        elif kind in (1, 2, 5):
            length, at = varint(data, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
            value = data[at : at + length]
            at += length
            if at > len(data):
                raise ValueError("a field is longer than its message")
        else:
            raise ValueError(f"a field of kind {kind}")
        yield number, value


def dimensions(value):
    """One of them, or several in a row."""
    if isinstance(value, int):
        return [value]
    found, at = [], 0
    while at < len(value):
        length, at = varint(value, at)
        found.append(length)
    return found


def tensor(message):
    """Name and values; none where these are no floats in this file."""
    shape, element, name, raw, place = [], 0, "", b"", 0
    for number, value in fields(message):
        if number == DIMENSIONS:
            shape += dimensions(value)
        elif number == ELEMENT:
            element = value
        elif number == NAME:
            name = bytes(value).decode()
        elif number == BYTES:
            raw = value
        elif number == PLACE:
            place = value
    if place == ELSEWHERE:
        raise ValueError("its weights are in another file")
    if element not in ELEMENTS:
        return name, None
    values = np.frombuffer(raw, np.dtype(ELEMENTS[element]).newbyteorder("<")).astype(np.float32)
    return name.removesuffix("/half"), torch.from_numpy(values.reshape(shape))


def read(path):
    """All float tensors by name; those that matrices are multiplied with as PyTorch has them, (out, in)."""
    try:
        data = memoryview(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    try:
        graph = next(value for number, value in fields(data) if number == GRAPH)
        tensors, transposed = {}, set()
        for number, message in fields(graph):
            if number == TENSORS:
                name, values = tensor(message)
                if values is not None:
                    tensors[name] = values
            elif number == NODES:
                parts = [(n, bytes(value).decode()) for n, value in fields(message) if n in (NODE_INPUT, NODE_KIND)]
                if (NODE_KIND, "MatMul") in parts:
                    transposed.update(name for n, name in parts if n == NODE_INPUT)
    except (IndexError, StopIteration, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as ONNX: {error}") from None
    return {name: values.T if name in transposed and values.dim() == 2 else values for name, values in tensors.items()}


def norm_behind(key):
    """The key of the batch normalisation behind a convolution."""
    parent, _, last = key.rpartition(".")
    return f"{parent}.{int(last) + 1}" if last.isdigit() else f"{parent}.{last.replace('conv', 'bn')}"


def state_from(path, model):
    """The state dict of `model` that computes what the file does. Shapes are the file's, as of other classes."""
    found, state = read(path), {}
    modules, own = dict(model.named_modules()), model.state_dict()
    for name, module in modules.items():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            make_identity(module)
            state.update({f"{name}.{key}": value.clone() for key, value in module.state_dict().items()})
    for name, values in found.items():
        owner, _, last = name.rpartition(".")
        if name in own:
            if own[name].numel() == values.numel() and name == "latent":
                values = values.reshape(own[name].shape)
            state[name] = values.contiguous()
        elif last == "bias" and isinstance(modules.get(owner), nn.Conv2d):
            # What the normalisation added.
            state[f"{norm_behind(owner)}.bias"] = values
    for name, module in modules.items():
        key = f"{name}.q_proj.weight"
        if isinstance(module, Attention) and key in state:
            # The scale of the scores is in the file's queries.
            state[key] = state[key] * (module.q_proj.out_features / module.heads) ** 0.5
    missing = [key for key in own if key not in state]
    if missing:
        raise ValueError(f"{path}: it does not have '{missing[0]}'; is it of {model.config.name} with the options given here?")
    return state
