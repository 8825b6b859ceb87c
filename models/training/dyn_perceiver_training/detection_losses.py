"""What boxes cost: focal loss of their classes and L1 loss of their deltas."""

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from .anchors import encode


def focal_loss(logits, target, alpha=0.25, gamma=2.0):
    """Of sigmoid scores, elementwise (Lin et al., ICCV 2017); `target` is 0 or 1."""
    loss = binary_cross_entropy_with_logits(logits, target, reduction="none")
    score = logits.sigmoid()
    wrong = torch.where(target > 0, 1 - score, score)
    return torch.where(target > 0, alpha, 1 - alpha) * wrong**gamma * loss


def detection_loss(scores, deltas, learned, boxes, labels, anchors):
    """Focal loss of classes and L1 loss of deltas, both per anchor that learns a box.

    `scores` (N, anchors, classes), `deltas` (N, anchors, 4), `learned` as `anchors.assign` makes it, `boxes` (N, M, 4) and
    `labels` (N, M).
    """
    positive = learned >= 0
    count = positive.sum().clamp(min=1)
    target = torch.zeros_like(scores)
    image, anchor = positive.nonzero(as_tuple=True)
    box = learned[image, anchor]
    target[image, anchor, labels[image, box]] = 1
    of_classes = focal_loss(scores, target)[learned > -2].sum() / count
    wanted = encode(boxes[image, box], anchors[anchor])
    return of_classes, (deltas[image, anchor] - wanted).abs().sum() / count
