"""MobileNetV3-Large cut into the five pieces Dyn-Perceiver works on.

The layout (kernel sizes, expansions, strides) is that of Howard et al., "Searching for MobileNetV3", table 1; module
names follow the published Dyn-Perceiver checkpoints, so that their state dicts and ours have the same keys.
"""

from torch import nn

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
        if expanded != c_in:
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


class MobileNetV3Pieces(nn.Module):
    """Builds the pieces; `DynPerceiver` takes them as its own attributes to match the published keys."""

    def __init__(self, width):
        super().__init__()
        channels = round_channels(16 * width)
        pieces = [conv_norm_act(3, channels, 3, stride=2, act=nn.Hardswish)]
        inputs = []
        for kernel, expanded, c_out, squeeze, hard_swish, stride in BLOCKS:
            inputs.append(channels)
            c_next = round_channels(c_out * width)
            pieces.append(
                InvertedResidual(
                    channels, kernel, round_channels(expanded * width), c_next, squeeze, hard_swish, stride
                )
            )
            channels = c_next
        self.last = 6 * channels
        pieces.append(conv_norm_act(channels, self.last, 1, act=nn.Hardswish))
        self.stem = nn.Sequential(*pieces[:3])
        self.stages = [nn.Sequential(*pieces[a:b]) for a, b in ((3, 5), (5, 8), (8, 14), (14, 17))]
        # C1..C4, the input channels of the four stages, then C5.
        self.channels = [inputs[2], inputs[4], inputs[7], inputs[13], self.last]
        self.head = round_channels(1280 * width)
