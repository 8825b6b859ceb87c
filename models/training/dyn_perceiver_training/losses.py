"""The paper's losses: cross-entropy at every exit, and the exits before the last taught by the last one."""

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, kl_div, log_softmax, softmax

from .anchors import encode
from .model import EXITS

EXIT_WEIGHTS = {"early3": 0.5, "att": 0.5, "cnn": 1.0, "merge": 1.0}


def total_loss(logits, target, smoothing=0.1, distillation=0.5, class_weights=None):
    """`target` is (N, classes): one-hot, or mixed."""
    teacher = softmax(logits[-1].detach(), 1)
    total = 0.0
    for name, y in zip(EXITS, logits):
        loss = cross_entropy(y, target, label_smoothing=smoothing, weight=class_weights)
        if name != EXITS[-1] and distillation:
            taught = kl_div(log_softmax(y, 1), teacher, reduction="batchmean")
            loss = (1 - distillation) * loss + distillation * taught
        total = total + EXIT_WEIGHTS[name] * loss
    return total


def balanced_weights(labels, classes):
    """Weights that make every class count alike; their mean over the images is 1."""
    counts = torch.bincount(labels, minlength=classes).clamp(min=1).float()
    return len(labels) / (classes * counts)


@torch.no_grad()
def update_average(average, model, decay):
    """An exponential moving average of the weights; integers are copied."""
    pairs = list(zip(average.state_dict().values(), model.state_dict().values()))
    floats = [pair for pair in pairs if pair[0].dtype.is_floating_point]
    torch._foreach_lerp_([a for a, _ in floats], [b for _, b in floats], 1 - decay)
    for a, b in pairs:
        if not a.dtype.is_floating_point:
            a.copy_(b)


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
