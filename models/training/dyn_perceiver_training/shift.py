"""Temporal shift from the past (TSM, Lin et al., ICCV 2019): what makes a network of images one of videos.

Before the first convolution of a residual block an eighth of its input's channels is that of an earlier frame: in training
over whole clips, a batch of clips laid out frame by frame; online from a state. A frame that leaves early does not run
the later stages, and the frame after it finds there what the last frame that went on had left: states are held.
"""

import torch
from torch import nn

SHARE = 8


class Time:
    """Which frame each frame's shifted channels come from; one for a network, shared by its shifts.

    Of a clip (`of_clips`): `before[k]` has for each image of the batch the place of the last frame that ran stage k, plus
    one, or zero for none. Online (`online`): each shift keeps its state. Otherwise images stand alone, with zeros shifted
    in, as in a first frame.
    """

    def __init__(self):
        self.before = None
        self.states = None

    def of_clips(self, ran):
        """`ran` is (clips, frames, stages) of bool: whether a frame runs stage 1, 2, ... at all."""
        clips, frames, stages = ran.shape
        place = torch.arange(1, frames + 1)[None, :, None]
        last = torch.where(ran, place, 0).cummax(1).values
        earlier = torch.cat([last.new_zeros(clips, 1, stages), last[:, :-1]], 1)
        first = torch.arange(clips)[:, None, None] * frames
        flat = torch.where(earlier > 0, earlier + first, 0).reshape(clips * frames, stages)
        self.before, self.states = {k + 1: flat[:, k] for k in range(stages)}, None

    def online(self):
        """Frames from now on are one video's, one by one; this one is the first."""
        self.before, self.states = None, {}

    def apart(self):
        """Images from now on have nothing to do with each other."""
        self.before = self.states = None


class Shifted(nn.Module):
    """A convolution whose first input channels are those of an earlier frame; `.net` gives its weight TSM's key."""

    def __init__(self, conv, stage, time):
        super().__init__()
        self.net = conv
        self.stage, self.time = stage, time
        self.fold = conv.in_channels // SHARE

    def forward(self, x):
        now = x[:, : self.fold]
        if self.time.before is not None:
            past = torch.cat([torch.zeros_like(now[:1]), now])[self.time.before[self.stage]]
        else:
            past = torch.zeros_like(now)
            if self.time.states is not None:
                past = self.time.states.get(id(self), past)
                self.time.states[id(self)] = now.clone()
        return self.net(torch.cat([past, x[:, self.fold :]], 1))


def shift(model):
    """Puts shifts before the first convolution of the residual blocks with an expansion, and gives their `Time`."""
    time = Time()
    for k, paths in enumerate(model.paths):
        for path in paths:
            for block in model.get_submodule(path):
                if getattr(block, "residual", False) and block.expands:
                    block.block[0][0] = Shifted(block.block[0][0], k, time)
    return time
