"""Puts a trained model's files in place: `python -m dyn_perceiver_training.release --help`.

Writes the weights (.safetensors), the first 1,000 test images and labels (gzipped IDX) that serve as a simulated camera's
frames, and the logits of PyTorch for some of them, which the Rust tests compare with. The ONNX file is made from the
weights by `dyn-perceiver import`, the model card by `dyn-perceiver`'s own measurements.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file

from .data import load, preprocess, write_idx
from .model import EXITS, Config, DynPerceiver

FRAMES = 1000
COMPARED = 8


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", default="/usr/share/datasets/fashion-mnist", help="folder with the four IDX files")
    p.add_argument("--trained", type=Path, help="folder that training wrote; without it, only the frames are written")
    p.add_argument("--out", type=Path, required=True, help="folder for weights and frames")
    p.add_argument("--logits", type=Path, help="JSON file for PyTorch's logits")
    args = p.parse_args()

    images, labels = load(args.data)["test"]
    args.out.mkdir(parents=True, exist_ok=True)
    write_idx(args.out / "frames-images-idx3-ubyte.gz", images[:FRAMES].numpy())
    write_idx(args.out / "frames-labels-idx1-ubyte.gz", labels[:FRAMES].numpy())
    if not args.trained:
        return
    training = json.loads((args.trained / "training.json").read_text())
    shutil.copy(args.trained / "weights.safetensors", args.out / "weights.safetensors")
    shutil.copy(args.trained / "training.json", args.out / "training.json")
    asked = training["arguments"]
    depth = tuple(int(d) for d in asked["depth_factor"].strip("()").split(","))
    backbone = f"mobilenetV3_{float(asked['width']):g}".replace(".", "x")
    model = DynPerceiver(Config(backbone, int(asked["latents"]), depth, int(asked["sa_widening"]), int(asked["size"]), 10))
    model.load_state_dict(load_file(args.out / "weights.safetensors"))
    model.eval()
    with torch.no_grad():
        logits = model(preprocess(images[:COMPARED], int(asked["size"])))
    if args.logits:
        rows = {name: [[float(v) for v in row] for row in y] for name, y in zip(EXITS, logits)}
        args.logits.write_text(json.dumps({"frames": COMPARED, "logits": rows}) + "\n")


if __name__ == "__main__":
    main()
