"""MobileNetV3-Large cut into the five pieces Dyn-Perceiver works on.

The layout (kernel sizes, expansions, strides) is that of Howard et al., "Searching for MobileNetV3", table 1; module
names follow the published Dyn-Perceiver checkpoints, so that their state dicts and ours have the same keys.
"""

import re

from torch import nn

from .pieces import Pieces

KNOWN = ("mobilenetV3_0x5", "mobilenetV3_0x75", "mobilenetV3", "mobilenetV3_1x25", "mobilenetV3_1x5", "mobilenetV3_2x0")

BATCH_NORM_EPS = 1e-3

# kernel, expanded channels, output channels, squeeze-excite, hard-swish, stride; all at width 1.
BLOCKS = [
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
]


def round_channels(channels, multiple=8):
    """Rounds to a multiple of 8 without going below 90 % of the wish."""
    rounded = max(multiple, int(channels + multiple / 2) // multiple * multiple)
    return rounded + multiple if rounded < 0.9 * channels else rounded


def conv_norm_act(c_in, c_out, kernel, stride=1, groups=1, act=None):
    layers = [
        nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(c_out, eps=BATCH_NORM_EPS, momentum=0.01),
    ]
    return nn.Sequential(*layers, *([act()] if act else []))


class SqueezeExcite(nn.Module):
    def __init__(self, channels):
        super().__init__()
        squeezed = round_channels(channels // 4)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x):
        scale = x.mean((2, 3), keepdim=True)
        scale = nn.functional.relu(self.fc1(scale))
        return x * nn.functional.hardsigmoid(self.fc2(scale))


class InvertedResidual(nn.Module):
    def __init__(self, c_in, kernel, expanded, c_out, squeeze, hard_swish, stride):
        super().__init__()
        act = nn.Hardswish if hard_swish else nn.ReLU
        block = []
        self.expands = expanded != c_in
        if self.expands:
            block.append(conv_norm_act(c_in, expanded, 1, act=act))
        block.append(conv_norm_act(expanded, expanded, kernel, stride, groups=expanded, act=act))
        if squeeze:
            block.append(SqueezeExcite(expanded))
        block.append(conv_norm_act(expanded, c_out, 1))
        self.block = nn.Sequential(*block)
        self.residual = stride == 1 and c_in == c_out

    def forward(self, x):
        y = self.block(x)
        return x + y if self.residual else y


def parse(name):
    match = re.fullmatch(r"mobilenetV3(?:_(\d+)x(\d+))?", name)
    if match is None:
        return None
    width = float(f"{match[1]}.{match[2]}") if match[1] else 1.0
    channels = round_channels(16 * width)
    layers, inputs = [conv_norm_act(3, channels, 3, stride=2, act=nn.Hardswish)], []
    for kernel, expanded, c_out, squeeze, hard_swish, stride in BLOCKS:
        inputs.append(channels)
        c_next = round_channels(c_out * width)
        expanded = round_channels(expanded * width)
        layers.append(InvertedResidual(channels, kernel, expanded, c_next, squeeze, hard_swish, stride))
        channels = c_next
    layers.append(conv_norm_act(channels, 6 * channels, 1, act=nn.Hardswish))
    cuts = (0, 3, 5, 8, 14, 17)
    names = ["cnn_stem"] + [f"cnn_body_stage{k}" for k in range(1, 5)]
    modules = {n: nn.Sequential(*layers[a:b]) for n, a, b in zip(names, cuts, cuts[1:])}
    channels = [inputs[2], inputs[4], inputs[7], inputs[13], 6 * channels]
    return Pieces(modules, [[n] for n in names], channels, round_channels(1280 * width))
