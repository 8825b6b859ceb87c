"""Images mixed in pairs: mixup (Zhang et al., ICLR 2018) and CutMix (Yun et al., ICCV 2019)."""

import math
import random

import torch

from .model import POOLED


def mix(inputs, target, mixup, cutmix, generator):
    """`inputs` of a batch, images or features of frozen pieces, and `target` (N, classes) with each image mixed with another.

    `mixup` and `cutmix` are the alphas of the Beta distributions that shares are drawn from, 0 for none; with both, every
    batch draws one of them. Of features, CutMix cuts the same part out of every map.
    """
    if not mixup and not cutmix:
        return inputs, target
    rng = random.Random(int(torch.randint(0, 2**62, (1,), generator=generator)))
    cut = bool(cutmix) and (not mixup or rng.random() < 0.5)
    share = rng.betavariate(*[cutmix if cut else mixup] * 2)
    other = torch.randperm(len(target), generator=generator)
    if cut:
        # The part has the other's share of the area and lies anywhere, cut off at the image's edge.
        side, (y, x) = math.sqrt(1 - share), (rng.random(), rng.random())
        box = [min(max(edge, 0.0), 1.0) for edge in (y - side / 2, y + side / 2, x - side / 2, x + side / 2)]
        share = 1 - (box[1] - box[0]) * (box[3] - box[2])
        inputs = [pasted(values, other, box) for values in inputs]
    else:
        inputs = [share * values + (1 - share) * values[other] for values in inputs]
    return inputs, share * target + (1 - share) * target[other]


def pasted(values, other, box):
    """Maps (N, C, H, W), or tokens (N, H*W, C) of pooled ones, with the part `box` (top, bottom, left, right) of the others'."""
    if values.dim() == 3:
        maps = values.transpose(1, 2).unflatten(2, (POOLED, POOLED))
        return pasted(maps, other, box).flatten(2).transpose(1, 2)
    top, bottom = (round(edge * values.shape[2]) for edge in box[:2])
    left, right = (round(edge * values.shape[3]) for edge in box[2:])
    values = values.clone()
    values[:, :, top:bottom, left:right] = values[other][:, :, top:bottom, left:right]
    return values
