"""Trains a network of videos on moving fashion: `python -m dyn_perceiver_training.fit_motions --help`.

Shifts are from the past. What an exit says of a clip so far is the sum of its logits over the frames that computed it,
and that sum is what every exit learns at every frame but the first, which cannot tell. In a share of the clips frames leave early at random, so that states
that were held are seen in training.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import one_hot

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
SHAPES = {"frames": ((motions.FRAMES, motions.SIDE, motions.SIDE, 3), np.uint8), "motions": ((), np.int64)}
ORDERS = np.array([(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])


def varied(frames, motion, rng):
    """A clip in a mirror, with rows and columns changed, backwards, and with its colours in some order, or not."""
    if rng.random() < 0.5:
        frames, motion = frames[:, :, ::-1], motions.MIRRORED[motion]
    if rng.random() < 0.5:
        frames, motion = frames.transpose(0, 2, 1, 3), motions.TRANSPOSED[motion]
    if rng.random() < 0.5:
        frames, motion = frames[::-1], motions.REVERSED[motion]
    return frames[..., ORDERS[rng.integers(6)]], motion


def tensor(frames):
    """(clips, frames, H, W, 3) of uint8 as a batch of images, frame by frame."""
    x = torch.from_numpy(np.ascontiguousarray(frames)).flatten(0, 1).permute(0, 3, 1, 2)
    return ((x.float() / 255 - MEAN) / STD).contiguous(memory_format=torch.channels_last)


def leaving(rng, clips, early):
    """Whether each frame runs each stage, (clips, frames, stages): of a share `early` of the clips frames leave early."""
    last = np.full((clips, motions.FRAMES), STAGES)
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
    p.add_argument("--clips", type=int, default=2000, help="clips to train on; they are mirrored, turned, reversed, recoloured")
    loop.options(p, steps=3000, batch=8)
    args = p.parse_args(arguments)
    args.out.mkdir(parents=True, exist_ok=True)

    def data(split, count):
        pieces = items.Items.load(split, args.data)

        def make(number):
            frames, motion = motions.clip(pieces, args.seed, split, number)
            return {"frames": frames, "motions": motion}

        return loop.kept(args.out / split, count, SHAPES, make)

    train, val = data("train", args.clips), data("val", min(JUDGED, args.clips))
    config = Config.from_name(
        args.arch, depth_factor=args.depth_factor, sa_widening=args.sa_widening, classes=len(motions.LABELS), with_dwc=False
    )
    times = {}

    def build():
        model = DynPerceiver(config)
        times[model] = shift(model)
        return model.to(memory_format=torch.channels_last)

    def run(model, frames, ran):
        times[model].of_clips(ran)
        return sums(model(tensor(frames)), ran)

    def loss_of(model, rng):
        chosen = rng.choice(args.clips, args.batch, replace=False)
        clips = [varied(train["frames"][k], int(train["motions"][k]), rng) for k in chosen]
        said = run(model, np.stack([frames for frames, _ in clips]), leaving(rng, args.batch, args.early))
        target = one_hot(torch.tensor([motion for _, motion in clips]), len(motions.LABELS)).float()
        target = target[:, None].expand(-1, motions.FRAMES - 1, -1).flatten(0, 1)
        return total_loss([y[:, 1:].flatten(0, 1) for y in said], target, SMOOTHING, args.distillation)

    def judge(average):
        """Right of whole clips per exit, of the last exit with frames leaving early, and of single frames."""
        rng = np.random.default_rng(args.seed)
        right, held, alone, count = np.zeros(len(EXITS)), 0, 0, len(val["motions"])
        for start in range(0, count, args.batch):
            frames, motion = (val[name][start : start + args.batch].copy() for name in SHAPES)
            whole = torch.ones(len(motion), motions.FRAMES, STAGES, dtype=torch.bool)
            right += [(y[:, -1].argmax(1).numpy() == motion).sum() for y in run(average, frames, whole)]
            said = run(average, frames, leaving(rng, len(motion), 1.0))
            held += (said[-1][:, -1].argmax(1).numpy() == motion).sum()
            times[average].apart()
            single = frames[np.arange(len(motion)), rng.integers(motions.FRAMES, size=len(motion))]
            alone += (average(tensor(single[:, None]))[-1].argmax(1).numpy() == motion).sum()
        return {**dict(zip(EXITS, right / count)), "held": held / count, "frame": alone / count}

    loop.train(build, loss_of, judge, args)


if __name__ == "__main__":
    main()
