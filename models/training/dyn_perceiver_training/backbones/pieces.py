"""What a backbone hands to the network."""

from dataclasses import dataclass

from torch import nn


@dataclass
class Pieces:
    """Modules of stem and stages 1 to 4.

    `modules` are registered with the network under these names, which give the state dict its keys. `stem` and `stages`
    are paths below the network (`cnn_stem`, `cnn_body_stage1`, ...). `channels` are C1..C4, the input channels of the
    four stages, then C5; `head` is the hidden width of the two classifiers that see features, or None.
    """

    modules: dict[str, nn.Module]
    stages: list[list[str]]
    channels: list[int]
    head: int | None
