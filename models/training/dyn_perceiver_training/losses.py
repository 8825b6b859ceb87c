"""The paper's losses: cross-entropy at every exit, and the exits before the last taught by the last one."""

import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

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
