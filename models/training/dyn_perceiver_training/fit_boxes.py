"""Trains a detector on photos with labels in COCO's format: `python -m dyn_perceiver_training.fit_boxes --help`.

The trunk begins with weights that were trained on ImageNet; its first pieces and the statistics of its batch
normalisations stay as they are. Classes of boxes learn by focal loss, deltas by L1 loss, and the exits by cross-entropy:
nothing is there, all that is there is large, something is small.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import one_hot

from . import loop, photos
from .anchors import anchors, assign
from .backbones import efficientnet_lite
from .detection_losses import detection_loss
from .detector import Detector
from .folder import DataError
from .images import of_backbone
from .losses import total_loss
from .model import EXITS, Config
from .options import numbers, starting_state
from .scenes import EXITS as EXIT_CLASSES
from .scenes import exit_class

# Of the exits' loss beside that of the boxes.
EXIT_SHARE = 0.3
TRUNK = "backbone.dyn_perceiver."


def size(text):
    """`HEIGHTxWIDTH`, as the program writes it."""
    height, width = (int(n) for n in text.split("x"))
    if height % 32 or width % 32 or min(height, width) < 32:
        raise argparse.ArgumentTypeError(f"{text}: height and width have to be multiples of 32")
    return height, width


def parser():
    p = argparse.ArgumentParser(
        prog="python -m dyn_perceiver_training.fit_boxes", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    p.add_argument("data", type=Path, help="a folder with train, train.json and, if there are some, val and val.json")
    p.add_argument("--out", type=Path, required=True, help="folder for checkpoint, weights and labels")
    p.add_argument("--arch", default="efficientnet_lite0_perceiver_t16", help="<backbone>_perceiver_t<latents>")
    p.add_argument("--size", type=size, default=(288, 224), help="height x width of the input")
    p.add_argument("--depth-factor", type=numbers, default=(1, 1, 1, 1), help="four factors of self-attention depth")
    p.add_argument("--sa-widening", type=int, default=2)
    p.add_argument("--pyramid", type=int, default=48, help="channels of the pyramid")
    p.add_argument("--tower", type=lambda s: tuple(int(n) for n in s.split("x")), default=(48, 2),
                   help="channels x convolutions")  # fmt: skip
    p.add_argument("--from", dest="source", type=Path, help="weights of a backbone to begin with (.pth or .safetensors); "
                   "EfficientNet-Lite0 begins with ImageNet's by itself")  # fmt: skip
    p.add_argument("--from-nothing", action="store_true", help="begin with random weights; nothing is frozen then")
    p.add_argument("--frozen", type=int, default=3, choices=range(6),
                   help="pieces of the trunk that stay as they are: the stem, and stages 1 to 4")  # fmt: skip
    p.add_argument("--trunk-lr", type=float, default=0.2, help="rate of the other pieces as a share of --lr")
    p.add_argument("--val-share", type=float, default=0.1, help="of the training photos, to judge with if there is no val")
    p.add_argument("--empty", type=float, default=0.1, help="share of pictures without an object, cut from beside them")
    p.add_argument("--mirror", action=argparse.BooleanOptionalAction, default=True)
    p.add_argument("--turns", type=int, choices=(1, 2, 4), default=1,
                   help="2: half of the photos upside down; 4: quarter turns, too")  # fmt: skip
    loop.options(p, steps=1500, batch=8)
    return p


def batch_of(pictures, mean, std):
    """Photos (pixels, boxes, classes) as the network's input, and as what it is to say."""
    most = max(len(boxes) for _, boxes, _ in pictures)
    boxes, labels = np.zeros((len(pictures), most, 4), np.float32), np.zeros((len(pictures), most), np.int64)
    for k, (_, found, classes) in enumerate(pictures):
        boxes[k, : len(found)], labels[k, : len(found)] = found, classes
    x = torch.from_numpy(np.stack([pixels for pixels, _, _ in pictures])).clamp(0, 255) / 255
    x = ((x - torch.tensor(mean)) / torch.tensor(std)).permute(0, 3, 1, 2)
    exits = torch.tensor([exit_class(found) for _, found, _ in pictures])
    return x.contiguous(memory_format=torch.channels_last), torch.from_numpy(boxes), torch.from_numpy(labels), exits


def losses_of(model, batch, places, frozen):
    x, boxes, labels, exits = batch
    said, scores, deltas = model(x, frozen)
    of_classes, of_deltas = detection_loss(scores, deltas, assign(places, boxes), boxes, labels, places)
    return said, of_classes, of_deltas, total_loss(said, one_hot(exits, len(EXIT_CLASSES)).float(), 0.0, 0.0)


def keep_statistics(trunk):
    """A few hundred photos do not renew statistics that came from a million."""
    for module in trunk.trunk_modules(0):
        for part in module.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.eval()


def fit(args):
    data = photos.scan(args.data, args.seed, args.val_share)
    train, val = data.splits["train"], data.splits["val"]
    print(f"{len(data.classes)} classes, photos: {len(train)} train, {len(val)} val", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "box-labels.txt").write_text("".join(f"{name}\n" for name in data.classes))
    (args.out / "labels.txt").write_text("".join(f"{name}\n" for name in EXIT_CLASSES))
    height, width = args.size
    places = anchors(height, width)
    # Whatever is written into features, the pieces behind are no frozen maps any more.
    config = Config.from_name(
        args.arch, depth_factor=tuple(args.depth_factor), sa_widening=args.sa_widening, classes=len(EXIT_CLASSES),
        with_dwc=False, with_z2x=False,
    )  # fmt: skip
    mean, std = of_backbone(config.backbone)
    start = starting_state(args, config)
    frozen = args.frozen if start else 0

    def build():
        model = Detector(config, len(data.classes), args.pyramid, args.tower).to(memory_format=torch.channels_last)
        trunk = model.backbone.dyn_perceiver
        own = trunk.state_dict()
        fitting = {k: v for k, v in start.items() if k in own and v.shape == own[k].shape}
        if start and len(fitting) < len(own) // 4:
            raise DataError(f"{args.source}: its weights do not fit {config.name}")
        trunk.load_state_dict(fitting, strict=False)
        return model

    def share(name):
        name = name.removeprefix(TRUNK)
        piece = next((k for k, paths in enumerate(paths_of_pieces) if any(name.startswith(f"{p}.") for p in paths)), None)
        if piece is None or not start:
            return 1.0
        return 0.0 if piece < frozen else args.trunk_lr

    def loss_of(model, rng):
        if start:
            keep_statistics(model.backbone.dyn_perceiver)
        chosen = rng.choice(len(train), min(args.batch, len(train)), replace=False)
        made = [photos.varied(train[k], height, width, rng, args.empty, args.mirror, args.turns) for k in chosen]
        _, of_classes, of_deltas, of_exits = losses_of(model, batch_of(made, mean, std), places, frozen)
        return of_classes + of_deltas + EXIT_SHARE * of_exits

    def judge(average):
        sums, right = np.zeros(2), np.zeros(len(EXITS))
        for start in range(0, len(val), args.batch):
            batch = batch_of([photos.judged(p, height, width) for p in val[start : start + args.batch]], mean, std)
            said, of_classes, of_deltas, _ = losses_of(average, batch, places, frozen)
            sums += np.array([of_classes.item(), of_deltas.item()]) * len(batch[0])
            right += [(y.argmax(1) == batch[3]).sum().item() for y in said]
        named = dict(zip(("classes", "boxes"), sums / len(val)))
        return {**named, **dict(zip(EXITS, right / len(val)))}

    paths_of_pieces = build().backbone.dyn_perceiver.paths
    loop.train(build, loss_of, judge, args, share)


def main(arguments=None):
    args = parser().parse_args(arguments)
    try:
        fit(args)
    except (DataError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
