"""Multiply-accumulates to each exit, output elements times reduction length, as the runtime counts them."""

import copy

import torch
from torch import nn

from .attention import Attention
from .model import EXITS


def macs_per_exit(model):
    """MACs of one image up to each of `EXITS`, the exits before it included."""
    model = copy.deepcopy(model).cpu().eval()
    total, at = [0], {}

    def count(module, inputs, output):
        if isinstance(module, nn.Conv2d):
            total[0] += output[0].numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            total[0] += output[0].numel() * module.in_features
        elif isinstance(module, Attention):
            q, kv = inputs
            total[0] += 2 * q.shape[1] * kv.shape[1] * module.q_proj.out_features

    marks = {"early_classifier3": "early3", "classifier_att": "att", "classifier_cnn": "cnn", "classifier_merge": "merge"}
    for name, module in model.named_modules():
        module.register_forward_hook(count)
        if name in marks:
            module.register_forward_hook(lambda *_, exit=marks[name]: at.__setitem__(exit, total[0]))
    size = model.config.input_size
    with torch.no_grad():
        model(torch.zeros(1, 3, size, size))
    return {name: at[name] for name in EXITS}
