"""ResNet-50 (He et al., "Deep Residual Learning", CVPR 2016) with all channels times a multiplier.

Module names are those of timm, as in the published Dyn-Perceiver checkpoints; the stride of a bottleneck is on its 3x3
convolution.
"""

import re

from torch import nn

from .pieces import Pieces

KNOWN = ("resnet50_0375", "resnet50_050", "resnet50_0625", "resnet50_075", "resnet50")

CHANNELS = 64
BLOCKS = (3, 4, 6, 3)
# Output channels of a bottleneck over its inner ones.
EXPANSION = 4


class Bottleneck(nn.Module):
    def __init__(self, c_in, inner, stride):
        super().__init__()
        c_out = inner * EXPANSION
        self.conv1, self.bn1 = nn.Conv2d(c_in, inner, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = nn.Conv2d(inner, c_out, 1, bias=False), nn.BatchNorm2d(c_out)
        if stride != 1 or c_in != c_out:
            self.downsample = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))
        else:
            self.downsample = None

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        x = nn.functional.relu(self.bn1(self.conv1(x)))
        x = nn.functional.relu(self.bn2(self.conv2(x)))
        return nn.functional.relu(shortcut + self.bn3(self.conv3(x)))


def parse(name):
    match = re.fullmatch(r"resnet50(?:_0(\d+))?", name)
    if match is None:
        return None
    base = int(CHANNELS * (float(f"0.{match[1]}") if match[1] else 1.0))
    # Attention that writes to features is an eighth of their channels wide.
    if base < 8:
        return None
    stem = [nn.Conv2d(3, base, 7, 2, 3, bias=False), nn.BatchNorm2d(base), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    modules, channels = {"cnn_stem": nn.Sequential(*stem)}, [base]
    for k, depth in enumerate(BLOCKS):
        inner, blocks = base << k, []
        for i in range(depth):
            c_in = channels[-1] if i == 0 else inner * EXPANSION
            blocks.append(Bottleneck(c_in, inner, 2 if i == 0 and k > 0 else 1))
        modules[f"cnn_body_stage{k + 1}"] = nn.Sequential(*blocks)
        channels.append(inner * EXPANSION)
    return Pieces(modules, [[n] for n in modules], channels, None)
