"""Pyramid (FPN, Lin et al., CVPR 2017) and head (RetinaNet, Lin et al., ICCV 2017) on the features of both branches.

Keys are those of MMDetection's checkpoints, the backbone's under `backbone.dyn_perceiver.`: `dyn-perceiver import` reads
the whole network off them.
"""

import math

import torch
from torch import nn
from torch.nn.functional import interpolate, relu

from .anchors import COORDINATES, PER_PLACE
from .model import DynPerceiver

# The share of anchors that a head says are an object before it has learned anything.
PRIOR = 0.01


class Convolution(nn.Module):
    """A convolution with a bias; `.conv` gives it MMDetection's key."""

    def __init__(self, c_in, c_out, kernel, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2)
        nn.init.kaiming_uniform_(self.conv.weight, a=1 if kernel == 1 else 0, nonlinearity="relu")
        nn.init.zeros_(self.conv.bias)

    def forward(self, x):
        return self.conv(x)


class Neck(nn.Module):
    """Features at strides 8, 16 and 32 to five levels of as many channels, at strides 8 to 128; P6 is made from the input."""

    def __init__(self, inputs, channels):
        super().__init__()
        self.lateral_convs = nn.ModuleList(Convolution(c, channels, 1) for c in inputs)
        outs = [Convolution(channels, channels, 3) for _ in inputs]
        outs += [Convolution(inputs[-1], channels, 3, 2), Convolution(channels, channels, 3, 2)]
        self.fpn_convs = nn.ModuleList(outs)

    def forward(self, features):
        laterals = [conv(x) for conv, x in zip(self.lateral_convs, features)]
        for k in (1, 0):
            laterals[k] = laterals[k] + interpolate(laterals[k + 1], scale_factor=2.0, mode="nearest")
        levels = [conv(x) for conv, x in zip(self.fpn_convs, laterals)]
        levels.append(self.fpn_convs[3](features[-1]))
        levels.append(self.fpn_convs[4](levels[-1]))
        return levels


class Head(nn.Module):
    """The same two towers on every level: maps of class logits and of deltas."""

    def __init__(self, pyramid, channels, convolutions, classes):
        super().__init__()

        def tower():
            ends = [pyramid, *[channels] * convolutions]
            return nn.ModuleList(Convolution(a, b, 3) for a, b in zip(ends, ends[1:]))

        self.cls_convs, self.reg_convs = tower(), tower()
        self.retina_cls = nn.Conv2d(channels, PER_PLACE * classes, 3, 1, 1)
        self.retina_reg = nn.Conv2d(channels, PER_PLACE * COORDINATES, 3, 1, 1)
        for last in (self.retina_cls, self.retina_reg):
            nn.init.normal_(last.weight, std=0.01)
            nn.init.zeros_(last.bias)
        nn.init.constant_(self.retina_cls.bias, -math.log((1 - PRIOR) / PRIOR))

    def forward(self, levels):
        def run(convs, last, x):
            for conv in convs:
                x = relu(conv(x))
            return last(x)

        scores = [run(self.cls_convs, self.retina_cls, x) for x in levels]
        return scores, [run(self.reg_convs, self.retina_reg, x) for x in levels]


def flat(maps, width):
    """Maps (N, 9 x width, H, W) of all levels as (N, anchors, width): place by place, the anchors of a place together."""
    return torch.cat([m.permute(0, 2, 3, 1).reshape(m.shape[0], -1, width) for m in maps], 1)


class Detector(nn.Module):
    """`forward` gives the logits of the exits, class logits (N, anchors, classes) and deltas (N, anchors, 4)."""

    def __init__(self, config, classes, pyramid=256, tower=(256, 4), strides=(8, 16, 32)):
        super().__init__()
        self.classes = classes
        self.backbone = nn.Module()
        self.backbone.dyn_perceiver = DynPerceiver(config)
        self.places = self.stages_at(strides)
        channels = self.backbone.dyn_perceiver.channels
        self.neck = Neck([channels[1 + k] for k in self.places], pyramid)
        self.bbox_head = Head(pyramid, *tower, classes)

    @torch.no_grad()
    def stages_at(self, strides):
        """The last stage whose features have each of these strides, from 0."""
        trunk = self.backbone.dyn_perceiver
        training = trunk.training
        trunk.eval()
        side = strides[-1] * 2
        x, sides = torch.zeros(1, 3, side, side), []
        for k in range(5):
            x = trunk.piece(k, x)
            sides.append(x.shape[2])
        trunk.train(training)
        return [max(k for k in range(4) if sides[k + 1] * stride == side) for stride in strides]

    def forward(self, image, frozen=0):
        """`frozen` pieces of the trunk, from the stem on, are computed without gradients."""
        trunk = self.backbone.dyn_perceiver
        x, pieces = image, []
        for k in range(max(frozen, 1)):
            with torch.set_grad_enabled(torch.is_grad_enabled() and k >= frozen):
                x = trunk.piece(k, x)
            pieces.append(x)
        exits, features = trunk.both_branches(pieces)
        scores, deltas = self.bbox_head(self.neck([features[k] for k in self.places]))
        return exits, flat(scores, self.classes), flat(deltas, COORDINATES)
