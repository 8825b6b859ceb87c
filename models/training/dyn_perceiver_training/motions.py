"""Moving fashion, clips for a network of videos: `python -m dyn_perceiver_training.motions --help`.

A piece of clothing from Fashion-MNIST does one of ten things over eight frames of 48x48 pixels, on a textured ground
among clutter, some of which moves. Where, how large and how turned the item is does not depend on what it does in the
frame that the motion is laid out from, and that is one in the middle: a single frame does not tell. The same seed and number
give the same clip.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
from PIL import Image

from . import items

SIDE = 48
FRAMES = 8
LABELS = ("left", "right", "up", "down", "grow", "shrink", "clockwise", "counterclockwise", "shake", "still")
SPLITS = {"train": 11, "val": 12, "test": 13}
# What a motion is when seen in a mirror, with rows and columns changed, and backwards.
MIRRORED = (1, 0, 2, 3, 4, 5, 7, 6, 8, 9)
TRANSPOSED = (2, 3, 0, 1, 4, 5, 7, 6, 8, 9)
REVERSED = (1, 0, 3, 2, 5, 4, 7, 6, 8, 9)
TOWARDS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


def clip(pieces, seed, split, number):
    """The frames (FRAMES, H, W, 3) of uint8, the motion, and x, y, side and angle of the item in each frame."""
    rng = np.random.default_rng([seed, SPLITS[split], number])
    motion = int(rng.integers(len(LABELS)))
    shape = (SIDE, SIDE)
    still = items.ground(rng, shape)
    for _ in range(rng.integers(0, 4)):
        part, opacity = items.clutter(rng, shape, rng.uniform(5, 18), rng.uniform(0, SIDE, 2))
        items.paint(still[part], items.colour(rng), opacity)
    wanderer = rng.random() < 0.25
    wanderer_at, wanderer_step = rng.uniform(6, SIDE - 6, 2), rng.uniform(-1.5, 1.5, 2)
    wanderer_side, wanderer_tint, wanderer_seed = rng.uniform(4, 8), items.colour(rng), rng.integers(1 << 30)
    which, tint, mirrored = rng.integers(len(pieces.labels)), items.colour(rng), rng.random() < 0.5
    light = rng.uniform(0.7, 1.15)
    frames, way = [], list(path(rng, LABELS[motion]))
    for middle, side, angle in way:
        canvas = still.copy()
        if wanderer:
            part, opacity = items.clutter(np.random.default_rng(wanderer_seed), shape, wanderer_side, wanderer_at)
            items.paint(canvas[part], wanderer_tint, opacity)
            wanderer_at = wanderer_at + wanderer_step
        part, grey, opacity = items.turned(pieces.pictures[which], side, angle, mirrored, middle, shape)
        items.paint(canvas[part], items.dye(grey, tint), opacity)
        noise = rng.standard_normal(canvas.shape, np.float32) * 2
        frames.append(np.clip(canvas * np.float32(light) + noise, 0, 255).astype(np.uint8))
    return np.stack(frames), motion, np.array([(*middle, side, angle) for middle, side, angle in way], np.float32)


def path(rng, motion):
    """Middle (x, y), root of area and angle of the item in each frame."""
    middle, side = rng.uniform(15, SIDE - 15, 2), math.exp(rng.uniform(math.log(14), math.log(23)))
    angle, pivot = rng.uniform(0, 2 * math.pi), rng.integers(2, FRAMES - 2)
    speed, growth = rng.uniform(2.5, 4.0), rng.uniform(0.09, 0.13)
    turn, swing, across = rng.uniform(0.2, 0.4), rng.uniform(2.5, 4.0), rng.uniform(0, 2 * math.pi)
    for frame in range(FRAMES):
        t = frame - pivot
        at, size, turned = middle, side, angle
        if motion in TOWARDS:
            at = middle + t * speed * np.array(TOWARDS[motion])
        elif motion in ("grow", "shrink"):
            size = side * math.exp(t * growth * (1 if motion == "grow" else -1))
        elif motion in ("clockwise", "counterclockwise"):
            turned = angle + t * turn * (1 if motion == "clockwise" else -1)
        elif motion == "shake":
            at = middle + swing * (t % 2) * np.array([math.cos(across), math.sin(across)])
        yield at, size, turned


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", default=items.FOLDER, help="folder with Fashion-MNIST's four IDX files")
    p.add_argument("--out", type=Path, required=True, help="folder for a folder of frames per clip, and labels.json")
    p.add_argument("--split", choices=sorted(SPLITS), default="test", help="whose items: of the training or the test images")
    p.add_argument("--count", type=int, default=1000)
    p.add_argument("--seed", type=int, default=20231)
    p.add_argument("--format", choices=sorted(items.QUALITY), default="png", help="jpg is smaller, and not quite the picture")
    args = p.parse_args()
    pieces = items.Items.load(args.split, args.data)
    labels = []
    for number in range(args.count):
        frames, motion, _ = clip(pieces, args.seed, args.split, number)
        folder = args.out / LABELS[motion] / f"{number:05}"
        folder.mkdir(parents=True, exist_ok=True)
        for k, frame in enumerate(frames):
            Image.fromarray(frame).save(folder / f"{k}.{args.format}", **items.QUALITY[args.format])
        labels.append({"clip": f"{LABELS[motion]}/{number:05}", "class": LABELS[motion]})
    (args.out / "labels.json").write_text(json.dumps({"classes": LABELS, "clips": labels}) + "\n")


if __name__ == "__main__":
    main()
