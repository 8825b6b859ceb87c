"""RegNetY (Radosavovic et al., "Designing Network Design Spaces", CVPR 2020), module names as in torchvision."""

import math
from collections import OrderedDict

from torch import nn

from .pieces import Pieces

STEM = 32
# w_0, w_a, w_m, depth and channels per group, as in the paper's appendix.
SHAPES = {
    "reg400m": (48, 27.89, 2.09, 16, 8),
    "reg800m": (56, 38.84, 2.4, 14, 16),
    "reg1x6g": (48, 20.71, 2.65, 27, 24),
    "reg3x2g": (80, 42.63, 2.66, 21, 24),
}
KNOWN = tuple(SHAPES)


def conv_norm(c_in, c_out, kernel=1, stride=1, groups=1):
    conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out))


class SqueezeExcite(nn.Module):
    def __init__(self, channels, squeezed):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x):
        scale = nn.functional.relu(self.fc1(x.mean((2, 3), keepdim=True)))
        return x * self.fc2(scale).sigmoid()


class Block(nn.Module):
    """relu(shortcut + c(se(relu(b(relu(a(x))))))) with 1x1, grouped 3x3 and 1x1 convolutions."""

    def __init__(self, c_in, channels, stride, group_width):
        super().__init__()
        self.proj = conv_norm(c_in, channels, stride=stride) if stride != 1 or c_in != channels else None
        self.f = nn.Sequential(OrderedDict(
            a=conv_norm(c_in, channels), relu_a=nn.ReLU(),
            b=conv_norm(channels, channels, 3, stride, channels // group_width), relu_b=nn.ReLU(),
            # A quarter of the channels the block receives, not of those it squeezes.
            se=SqueezeExcite(channels, round(0.25 * c_in)), c=conv_norm(channels, channels),
        ))  # fmt: skip

    def forward(self, x):
        return nn.functional.relu((x if self.proj is None else self.proj(x)) + self.f(x))


def stages(w_0, w_a, w_m, depth, group_width):
    """Equations 2 to 4 of the paper: [channels, depth, channels per group] of each stage.

    Block j has width w_0 + w_a j, rounded to a power of w_m times w_0 and then to a multiple of 8; blocks of equal width
    are a stage, whose width is made a multiple of its group width.
    """
    found = []
    for j in range(depth):
        power = round(math.log((w_0 + w_a * j) / w_0, w_m))
        width = round(w_0 * w_m**power / 8) * 8
        if found and found[-1][0] == width:
            found[-1][1] += 1
        else:
            found.append([width, 1])
    return [(round_to(width, min(group_width, width)), n, min(group_width, width)) for width, n in found]


def round_to(channels, unit):
    """The multiple of `unit` nearest to `channels`, but not below 90 % of it."""
    rounded = max(unit, (channels + unit // 2) // unit * unit)
    return rounded + unit if rounded < 0.9 * channels else rounded


def parse(name):
    if name not in SHAPES:
        return None
    stem = nn.Sequential(nn.Conv2d(3, STEM, 3, 2, 1, bias=False), nn.BatchNorm2d(STEM), nn.ReLU())
    body, channels = nn.Module(), [STEM]
    for k, (width, depth, group_width) in enumerate(stages(*SHAPES[name]), 1):
        blocks = OrderedDict()
        for i in range(depth):
            c_in, stride = (channels[-1], 2) if i == 0 else (width, 1)
            blocks[f"block{k}-{i}"] = Block(c_in, width, stride, group_width)
        setattr(body, f"block{k}", nn.Sequential(blocks))
        channels.append(width)
    paths = [["cnn_stem"]] + [[f"cnn_body.block{k}"] for k in range(1, 5)]
    return Pieces({"cnn_stem": stem, "cnn_body": body}, paths, channels, None)
