"""Trains a network of videos on moving fashion: `python -m dyn_perceiver_training.fit_motions --help`.

Shifts are from the past. What an exit says of a clip so far is the sum of its logits over the frames that computed it,
and that sum is what every exit learns at every frame but the first, which cannot tell. In a share of the clips frames
leave early at random, so that states that were held are seen in training. Beside that, heads that are not kept learn where
the item is and how it moved since the frame before, which the generator knows.
"""

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import one_hot, smooth_l1_loss

from . import items, loop, motions
from .losses import total_loss
from .model import EXITS, Config, DynPerceiver
from .options import numbers
from .shift import shift

MEAN, STD = 0.45, 0.25
SMOOTHING = 0.05
STAGES = 4
# The last stage that each exit needs.
STAGE_OF_EXIT = (2, 3, 4, 4)
JUDGED = 200
SHAPES = {
    "frames": ((motions.FRAMES, motions.SIDE, motions.SIDE, 3), np.uint8), "motions": ((), np.int64),
    "ways": ((motions.FRAMES, 4), np.float32),
}  # fmt: skip
# Typical steps of x, y, logarithm of the side and angle from frame to frame.
STEPS = (3.2, 3.2, 0.11, 0.3)
# The classifiers whose inputs are taught where the item is and how it moves.
TAUGHT = ("early_classifier3", "classifier_cnn")
ORDERS = np.array([(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])


def varied(frames, motion, way, rng):
    """A clip in a mirror, with rows and columns changed, backwards, and with its colours in some order, or not."""
    way = way.copy()
    if rng.random() < 0.5:
        frames, motion = frames[:, :, ::-1], motions.MIRRORED[motion]
        way[:, 0], way[:, 3] = motions.SIDE - way[:, 0], -way[:, 3]
    if rng.random() < 0.5:
        frames, motion = frames.transpose(0, 2, 1, 3), motions.TRANSPOSED[motion]
        way = np.stack([way[:, 1], way[:, 0], way[:, 2], math.pi / 2 - way[:, 3]], 1)
    if rng.random() < 0.5:
        frames, motion, way = frames[::-1], motions.REVERSED[motion], way[::-1]
    return frames[..., ORDERS[rng.integers(6)]], motion, way


def places_and_steps(ways):
    """What the heads that are not kept learn of (clips, frames, 4): x, y, side, and the steps of all four, about 1 large."""
    ways = ways.copy()
    ways[..., 2] = np.log(ways[..., 2])
    places = (ways[..., :3] - (motions.SIDE / 2, motions.SIDE / 2, math.log(18))) / (12, 12, 0.5)
    steps = np.diff(ways, axis=1, prepend=ways[:, :1]) / STEPS
    return torch.from_numpy(np.concatenate([places, steps], 2).astype(np.float32))


class Pupil(nn.Module):
    """The network with what only training needs: its shifts' time, and heads for place and step of the item."""

    def __init__(self, config):
        super().__init__()
        self.network = DynPerceiver(config)
        self.time = shift(self.network)
        self.heads, self.seen = nn.ModuleDict(), {}
        for name in TAUGHT:
            layer = self.network.get_submodule(name)
            first = layer[0] if isinstance(layer, nn.Sequential) else layer
            self.heads[name] = nn.Linear(first.in_features, 3 + len(STEPS))
            layer.register_forward_pre_hook(lambda _, inputs, name=name: self.seen.__setitem__(name, inputs[0]))

    def forward(self, frames, ran):
        """Sums of logits, and what the heads say, (clips, frames, 7) each."""
        self.time.of_clips(ran)
        said = sums(self.network(tensor(frames)), ran)
        return said, [head(self.seen[name]).view(*ran.shape[:2], -1) for name, head in self.heads.items()]


def tensor(frames):
    """(clips, frames, H, W, 3) of uint8 as a batch of images, frame by frame."""
    x = torch.from_numpy(np.ascontiguousarray(frames)).flatten(0, 1).permute(0, 3, 1, 2)
    return ((x.float() / 255 - MEAN) / STD).contiguous(memory_format=torch.channels_last)


def leaving(rng, clips, early, frames=motions.FRAMES):
    """Whether each frame runs each stage, (clips, frames, stages): of a share `early` of the clips frames leave early."""
    last = np.full((clips, frames), STAGES)
    share = rng.random((clips, 1)) * (rng.random((clips, 1)) < early)
    leaves = rng.random(last.shape) < share
    last[leaves] = np.where(rng.random(leaves.sum()) < 0.7, STAGE_OF_EXIT[0], STAGE_OF_EXIT[1])
    return torch.from_numpy(last[..., None] > np.arange(STAGES))


def sums(exits, ran):
    """Logits of each exit summed over the frames so far that computed it: (clips, frames, classes) each."""
    clips, frames, _ = ran.shape
    computed = [ran[..., stage - 1, None] for stage in STAGE_OF_EXIT]
    return [(y.view(clips, frames, -1) * mask).cumsum(1) for y, mask in zip(exits, computed)]


def main(arguments=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", default=items.FOLDER, help="folder with Fashion-MNIST's four IDX files")
    p.add_argument("--out", type=Path, required=True, help="folder for clips, checkpoint and weights")
    p.add_argument("--arch", default="mobilenetV3_0x4_perceiver_t16", help="<backbone>_perceiver_t<latents>")
    p.add_argument("--depth-factor", type=numbers, default=(1, 1, 1, 1))
    p.add_argument("--sa-widening", type=int, default=2)
    p.add_argument("--early", type=float, default=0.4, help="share of the clips in which frames leave early")
    p.add_argument("--distillation", type=float, default=0.0, help="share of the last exit's teaching in the loss")
    p.add_argument("--halves", type=float, default=0.75, help="share of the steps that see halves of clips")
    p.add_argument("--teaching", type=float, default=30.0, help="weight of place and step of the item in the loss")
    p.add_argument("--clips", type=int, default=2000, help="clips to train on; they are mirrored, turned, reversed, recoloured")
    loop.options(p, steps=3000, batch=16)
    args = p.parse_args(arguments)
    args.out.mkdir(parents=True, exist_ok=True)

    def data(split, count):
        pieces = items.Items.load(split, args.data)

        def make(number):
            return dict(zip(SHAPES, motions.clip(pieces, args.seed, split, number)))

        return loop.kept(args.out / split, count, SHAPES, make)

    train, val = data("train", args.clips), data("val", min(JUDGED, args.clips))
    config = Config.from_name(
        args.arch, depth_factor=args.depth_factor, sa_widening=args.sa_widening, classes=len(motions.LABELS), with_dwc=False
    )

    def build():
        return Pupil(config).to(memory_format=torch.channels_last)

    def loss_of(model, rng):
        # As many frames in every step: of whole clips, or of twice as many halves.
        count = motions.FRAMES // (1 + (rng.random() < args.halves))
        chosen = rng.choice(args.clips, args.batch * motions.FRAMES // count, replace=False)
        clips = [varied(*(train[name][k] for name in SHAPES), rng) for k in chosen]
        first = rng.integers(motions.FRAMES - count + 1)
        frames, motion, ways = (np.stack([clip[part] for clip in clips]) for part in range(3))
        frames, ways = frames[:, first : first + count], ways[:, first : first + count]
        ran = leaving(rng, len(chosen), args.early, count)
        said, taught = model(frames, ran)
        target = one_hot(torch.from_numpy(motion), len(motions.LABELS)).float()
        target = target[:, None].expand(-1, count - 1, -1).flatten(0, 1)
        loss = total_loss([y[:, 1:].flatten(0, 1) for y in said], target, SMOOTHING, args.distillation)
        whole = ran.flatten(1).all(1)
        for y, clips in zip(taught, (torch.ones_like(whole), whole)):
            if clips.any():
                loss = loss + args.teaching * smooth_l1_loss(y[clips, 1:], places_and_steps(ways)[clips, 1:])
        return loss

    def judge(average):
        """Right of whole clips per exit, of the last exit with frames leaving early, and of single frames."""
        rng = np.random.default_rng(args.seed)
        right, held, alone, count = np.zeros(len(EXITS)), 0, 0, len(val["motions"])
        apart = np.zeros((len(TAUGHT), 3 + len(STEPS)))
        for start in range(0, count, args.batch):
            frames, motion, ways = (val[name][start : start + args.batch].copy() for name in SHAPES)
            whole = torch.ones(len(motion), motions.FRAMES, STAGES, dtype=torch.bool)
            said, taught = average(frames, whole)
            right += [(y[:, -1].argmax(1).numpy() == motion).sum() for y in said]
            for k, y in enumerate(taught):
                apart[k] += (y - places_and_steps(ways))[:, 1:].abs().mean((0, 1)).numpy() * len(motion)
            said, _ = average(frames, leaving(rng, len(motion), 1.0))
            held += (said[-1][:, -1].argmax(1).numpy() == motion).sum()
            average.time.apart()
            single = frames[np.arange(len(motion)), rng.integers(motions.FRAMES, size=len(motion))]
            alone += (average.network(tensor(single[:, None]))[-1].argmax(1).numpy() == motion).sum()
        return {**dict(zip(EXITS, right / count)), "held": held / count, "frame": alone / count,
                **{f"{part}{k}": apart[k, where].mean() / count for k in range(len(TAUGHT))
                   for part, where in (("place", slice(3)), ("step", slice(3, 7)))}}  # fmt: skip

    loop.train(build, loss_of, judge, args)


if __name__ == "__main__":
    main()
