"""Anchors, the code of boxes, and which anchor learns which box: those of RetinaNet as MMDetection has them."""

import math

import torch

STRIDES = (8, 16, 32, 64, 128)
RATIOS = (0.5, 1.0, 2.0)
SCALES = tuple(4 * 2 ** (octave / 3) for octave in range(3))
PER_PLACE = len(RATIOS) * len(SCALES)
COORDINATES = 4
# Anchors that overlap a box by so much learn it, below the second they learn that there is nothing; between, nothing.
POSITIVE, NEGATIVE = 0.5, 0.4
LARGEST_LOGARITHM = abs(math.log(16 / 1000))


def anchors(height, width):
    """All anchors of an image, (N, 4) corners: level by level, place by place, ratio by ratio, scale by scale."""
    levels = []
    for stride in STRIDES:
        rows, columns = (max(-(-n // stride), 1) for n in (height, width))
        y, x = torch.meshgrid(torch.arange(rows) * stride, torch.arange(columns) * stride, indexing="ij")
        sides = [(stride * s / math.sqrt(r), stride * s * math.sqrt(r)) for r in RATIOS for s in SCALES]
        half = torch.tensor([[-w / 2, -h / 2, w / 2, h / 2] for w, h in sides])
        centres = torch.stack([x, y, x, y], -1).reshape(-1, 1, 4)
        levels.append((centres + half).reshape(-1, 4))
    return torch.cat(levels)


def middle_and_size(boxes):
    size = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + size / 2, size


def encode(boxes, anchors):
    """Deltas that `decode` makes these boxes from."""
    (centre, size), (anchor, side) = middle_and_size(boxes), middle_and_size(anchors)
    return torch.cat([(centre - anchor) / side, (size / side).log()], -1)


def decode(deltas, anchors):
    anchor, side = middle_and_size(anchors)
    centre = anchor + deltas[..., :2] * side
    half = deltas[..., 2:].clamp(-LARGEST_LOGARITHM, LARGEST_LOGARITHM).exp() * side / 2
    return torch.cat([centre - half, centre + half], -1)


def overlaps(a, b):
    """Intersection over union of (..., A, 4) with (..., B, 4): (..., A, B)."""
    a, b = a.unsqueeze(-2), b.unsqueeze(-3)
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    area = [(x[..., 2:] - x[..., :2]).clamp(min=0).prod(-1) for x in (a, b)]
    return shared / (area[0] + area[1] - shared).clamp(min=1e-9)


def assign(anchors, boxes):
    """The box that each anchor learns, (N, anchors): its index, -1 for nothing, -2 for no part in learning.

    `boxes` is (N, M, 4), filled up with boxes without area. Every real box has at least the anchors that overlap it most.
    """
    if boxes.shape[1] == 0:
        return torch.full((boxes.shape[0], len(anchors)), -1)
    shared = overlaps(anchors, boxes)
    best, which = shared.max(2)
    learned = torch.where(best >= POSITIVE, which, torch.where(best < NEGATIVE, -1, -2))
    most = shared.max(1, keepdim=True).values
    forced = (shared == most) & (most > 0)
    # Of several boxes that an anchor overlaps most, the last one has it, as in MMDetection.
    last = torch.where(forced, torch.arange(boxes.shape[1]), -1).max(2).values
    return torch.where(last >= 0, last, learned)
