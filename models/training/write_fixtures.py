"""Writes the checkpoints the Rust tests import, by `torch.save`, with deterministic weights.

    python write_fixtures.py ../tests/fixtures

Three files of one tiny network: a plain state dict, one under `model_ema` beside what a training script saves with it,
and a plain one in half precision.
"""

import argparse
import collections
import sys
from pathlib import Path

import numpy as np
import torch
from check_onnx import uniform
from dyn_perceiver_training.model import DynPerceiver

WIDTH, LATENTS, WIDENING, CLASSES = 0.05, 8, 1, 3


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
    model = DynPerceiver(WIDTH, LATENTS, sa_widening=WIDENING, classes=CLASSES)
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


if __name__ == "__main__":
    main(Path(sys.argv[1]))
