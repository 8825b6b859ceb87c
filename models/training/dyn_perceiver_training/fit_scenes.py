"""Trains a detector on fashion scenes: `python -m dyn_perceiver_training.fit_scenes --help`.

Classes of boxes by focal loss, deltas by L1 loss, and the exits by cross-entropy: nothing is there, all that is there is
large, something is small.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import one_hot

from . import items, loop, scenes
from .anchors import anchors, assign
from .detection_losses import detection_loss
from .detector import Detector
from .losses import total_loss
from .model import EXITS, Config
from .options import numbers

MEAN, STD = 0.45, 0.25
# Of the exits' loss beside that of the boxes.
EXIT_SHARE = 0.3
JUDGED = 160
ORDERS = np.array([(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
SHAPES = {
    "pictures": ((scenes.HEIGHT, scenes.WIDTH, 3), np.uint8), "boxes": ((scenes.MOST, 4), np.float32),
    "labels": ((scenes.MOST,), np.int64), "exits": ((), np.int64),
}  # fmt: skip


def one(pieces, seed, split, number):
    """A scene as arrays of fixed size; boxes that are none have no area."""
    picture, boxes, labels = scenes.scene(pieces, seed, split, number)
    filled = {"boxes": np.zeros((scenes.MOST, 4), np.float32), "labels": np.zeros(scenes.MOST, np.int64)}
    filled["boxes"][: len(boxes)], filled["labels"][: len(boxes)] = boxes, labels
    return {"pictures": picture, "exits": scenes.exit_class(boxes), **filled}


def varied(batch, rng):
    """Half of the scenes mirrored, the colours of all in some order."""
    batch = {name: array.copy() for name, array in batch.items()}
    for k in range(len(batch["pictures"])):
        batch["pictures"][k] = batch["pictures"][k][..., ORDERS[rng.integers(6)]]
        if rng.random() < 0.5:
            batch["pictures"][k] = batch["pictures"][k][:, ::-1].copy()
            boxes = batch["boxes"][k]
            real = boxes[:, 2] > 0
            boxes[real] = (boxes[real] * (-1, 1, -1, 1) + (scenes.WIDTH, 0, scenes.WIDTH, 0))[:, [2, 1, 0, 3]]
    return batch


def tensor(pictures):
    """(N, H, W, 3) of uint8 as the network's input."""
    x = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2)
    return ((x.float() / 255 - MEAN) / STD).contiguous(memory_format=torch.channels_last)


def losses_of(model, batch, places):
    exits, scores, deltas = model(tensor(batch["pictures"]))
    boxes, labels = torch.from_numpy(batch["boxes"]), torch.from_numpy(batch["labels"])
    learned = assign(places, boxes)
    of_classes, of_deltas = detection_loss(scores, deltas, learned, boxes, labels, places)
    target = one_hot(torch.from_numpy(batch["exits"]), len(scenes.EXITS)).float()
    return exits, of_classes, of_deltas, total_loss(exits, target, 0.0, 0.0)


def main(arguments=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", default=items.FOLDER, help="folder with Fashion-MNIST's four IDX files")
    p.add_argument("--out", type=Path, required=True, help="folder for scenes, checkpoint and weights")
    p.add_argument("--arch", default="mobilenetV3_0x3_perceiver_t16", help="<backbone>_perceiver_t<latents>")
    p.add_argument("--depth-factor", type=numbers, default=(1, 1, 1, 1))
    p.add_argument("--sa-widening", type=int, default=2)
    p.add_argument("--pyramid", type=int, default=48, help="channels of the pyramid")
    p.add_argument("--tower", type=lambda s: tuple(int(n) for n in s.split("x")), default=(48, 2),
                   help="channels x convolutions")  # fmt: skip
    p.add_argument("--scenes", type=int, default=5000, help="scenes to train on; they are mirrored and recoloured")
    loop.options(p, steps=3000, batch=16)
    args = p.parse_args(arguments)
    args.out.mkdir(parents=True, exist_ok=True)

    def data(split, count):
        pieces = items.Items.load(split, args.data)
        return loop.kept(args.out / split, count, SHAPES, lambda number: one(pieces, args.seed, split, number))

    train, val = data("train", args.scenes), data("val", min(JUDGED, args.scenes))
    places = anchors(scenes.HEIGHT, scenes.WIDTH)
    config = Config.from_name(
        args.arch, depth_factor=args.depth_factor, sa_widening=args.sa_widening, classes=len(scenes.EXITS), with_dwc=False
    )

    def build():
        return Detector(config, len(scenes.LABELS), args.pyramid, args.tower).to(memory_format=torch.channels_last)

    def loss_of(model, rng):
        chosen = np.sort(rng.choice(args.scenes, args.batch, replace=False))
        batch = varied({name: array[chosen] for name, array in train.items()}, rng)
        _, of_classes, of_deltas, of_exits = losses_of(model, batch, places)
        return of_classes + of_deltas + EXIT_SHARE * of_exits

    def judge(average):
        sums, right = np.zeros(2), np.zeros(len(EXITS))
        count = len(val["exits"])
        for start in range(0, count, args.batch):
            batch = {name: array[start : start + args.batch].copy() for name, array in val.items()}
            exits, of_classes, of_deltas, _ = losses_of(average, batch, places)
            sums += np.array([of_classes.item(), of_deltas.item()]) * len(batch["exits"])
            right += [(y.argmax(1).numpy() == batch["exits"]).sum() for y in exits]
        named = dict(zip(("classes", "boxes"), sums / count))
        return {**named, **dict(zip(EXITS, right / count))}

    loop.train(build, loss_of, judge, args)


if __name__ == "__main__":
    main()
