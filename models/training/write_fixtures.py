"""Writes the checkpoints the Rust tests import, by `torch.save`, with deterministic weights.

    python write_fixtures.py ../tests/fixtures

Three files of one tiny network: a plain state dict, one under `model_ema` beside what a training script saves with it,
and a plain one in half precision. And for networks that have no published reference: the keys and shapes of their state
dict, and logits of PyTorch with deterministic weights.
"""

import argparse
import collections
import json
import sys
from pathlib import Path

import numpy as np
import torch
from check_onnx import uniform
from dyn_perceiver_training.model import EXITS, Config, DynPerceiver

BACKBONE, LATENTS, WIDENING, CLASSES = "mobilenetV3_0x05", 8, 1, 3
# Networks of which no reference was published: their state dict and logits are PyTorch's.
REFERENCES = ["efficientnet_lite0_perceiver_t64"]


def deterministic(key, tensor):
    """The deterministic weights of a key, by the kind of tensor."""
    u = uniform(key, tensor.numel()).astype(np.float32)
    half = np.float32(0.5)
    if key.endswith("running_mean"):
        values = np.float32(0.2) * (u - half)
    elif key.endswith("running_var"):
        values = half + u
    elif key == "latent":
        values = np.float32(2) * u - np.float32(1)
    elif key.endswith("relative_position_bias"):
        values = half * (u - half)
    elif tensor.dim() == 1 and key.endswith("weight"):
        values = np.float32(0.75) + half * u
    elif tensor.dim() == 1:
        values = np.float32(0.2) * (u - half)
    else:
        fan_in = tensor.numel() // tensor.shape[0]
        values = (np.float32(2) * u - np.float32(1)) * np.sqrt(np.float32(3) / np.float32(fan_in))
    return torch.from_numpy(values).reshape(tensor.shape)


def main(folder):
    model = DynPerceiver(Config(BACKBONE, LATENTS, sa_widening=WIDENING, classes=CLASSES))
    state = collections.OrderedDict(
        (key, value if key.endswith("num_batches_tracked") else deterministic(key, value))
        for key, value in model.state_dict().items()
    )
    torch.save(state, folder / "tiny_plain.pth")
    torch.save({key: value.half() if value.is_floating_point() else value for key, value in state.items()},
               folder / "tiny_half.pth")  # fmt: skip
    optimizer = {"state": {0: {"step": 3, "exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-3, "params": [0]}]}
    args = argparse.Namespace(model="tiny", depth_factor=[1, 1, 1, 1], lr=1e-3, output_dir=None)
    wrapped = {"model": {}, "model_ema": state, "optimizer": optimizer, "epoch": 7, "best": 0.5, "args": args}
    torch.save(wrapped, folder / "tiny_ema.pth")
    for name in REFERENCES:
        write_reference(folder, name)


def write_reference(folder, name):
    config = Config.from_name(name)
    model = DynPerceiver(config).eval()
    shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
    (folder / f"{name}.state_dict.json").write_text(json.dumps(shapes, indent=1) + "\n")
    model.load_state_dict({
        key: value if key.endswith("num_batches_tracked") else deterministic(key, value)
        for key, value in model.state_dict().items()
    })  # fmt: skip
    side = config.input_size
    image = torch.from_numpy(2 * uniform("image", 3 * side * side) - 1).reshape(1, 3, side, side)
    with torch.no_grad():
        logits = dict(zip(EXITS, (y[0] for y in model(image))))
    reference = {
        "arch": name, "depth_factor": list(config.depth_factor), "input_size": side,
        "params": sum(p.numel() for p in model.parameters()),
        "logits": {exit: [round(float(v), 6) for v in y[:16]] for exit, y in logits.items()},
        "logits_l2": {exit: float(y.norm()) for exit, y in logits.items()},
        "argmax": {exit: int(y.argmax()) for exit, y in logits.items()},
    }  # fmt: skip
    (folder / f"{name}.json").write_text(json.dumps(reference, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
