"""Dyn-Perceiver (Han et al., ICCV 2023): a CNN feature branch, a latent classification branch, four exits."""

import re
from dataclasses import asdict, dataclass, fields

import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d

from . import backbones
from .attention import CrossAttentionLayer, SelfAttentionLayer

EXITS = ("early3", "att", "cnn", "merge")
POOLED = 7
SELF_ATTENTION_LAYERS = (3, 3, 9, 3)
HEADS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Config:
    """What determines a network; the names are those of the Rust crate's `Config`."""

    backbone: str
    latents: int = 128
    depth_factor: tuple[int, int, int, int] = (1, 1, 1, 1)
    sa_widening: int = 4
    input_size: int = 224
    classes: int = 1000
    with_x2z: bool = True
    with_z2x: bool = True
    with_dwc: bool = True
    with_last_ca: bool = True
    with_isc: bool = True
    spatial_reduction: bool = True

    @staticmethod
    def from_name(name, **fields):
        """`<backbone>_perceiver_t<latents>`."""
        match = re.fullmatch(r"(.+)_perceiver_t(\d+)", name)
        if match is None:
            raise ValueError(f"'{name}' is not of the form <backbone>_perceiver_t<latents>")
        return Config(match[1], int(match[2]), **fields)

    @property
    def name(self):
        return f"{self.backbone}_perceiver_t{self.latents}"

    def to_json(self):
        return asdict(self)

    @staticmethod
    def from_json(values):
        known = {f.name for f in fields(Config)}
        values = {k: v for k, v in values.items() if k in known}
        return Config(**{**values, "depth_factor": tuple(values["depth_factor"])})


def tokens(x):
    """(N, C, H, W) to (N, H*W, C)."""
    return x.flatten(2).transpose(1, 2)


class DynPerceiver(nn.Module):
    """`forward` gives logits (N, classes) for each of `EXITS`.

    The trunk (stem and stages) can also be run piece by piece with `piece`, and `classify` takes the pooled features of
    the first pieces in place of running them: that is what training from cached features does.
    """

    def __init__(self, config, dropout=0.2):
        super().__init__()
        self.config = config
        pieces = backbones.build(config.backbone)
        for name, module in pieces.modules.items():
            setattr(self, name, module)
        self.paths = pieces.stages
        channels = self.channels = pieces.channels
        c1, _, c3, c4, c5 = channels
        self.latent = nn.Parameter(torch.empty(config.latents, c1))
        nn.init.trunc_normal_(self.latent, std=0.02)

        for k in range(1, 5):
            c = channels[k - 1]
            if k == 1 or config.with_x2z:
                if config.with_dwc:
                    setattr(self, f"dwc{k}_x2z", nn.Conv2d(c, c, 7, 1, 3, groups=c))
                positions = POOLED**2 if config.spatial_reduction else self.side(k) ** 2
                setattr(self, f"cross_att{k}_x2z", CrossAttentionLayer(c, c, c, positions=positions))
            if k > 1 and config.with_z2x:
                setattr(self, f"cross_att{k}_z2x", writing(CrossAttentionLayer(c, c, max(c // 8, 1))))
            layers = SELF_ATTENTION_LAYERS[k - 1] * config.depth_factor[k - 1]
            blocks = [SelfAttentionLayer(c, HEADS[k - 1], config.sa_widening) for _ in range(layers)]
            setattr(self, f"self_att{k}", nn.Sequential(*blocks))
        if config.with_last_ca:
            self.last_cross_att_z2x = writing(CrossAttentionLayer(c5, c4, max(c5 // 8, 1)))

        n, classes = config.latents, config.classes
        self.token_mixer = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(n >> k), nn.Linear(n >> k, n >> (k + 1))) for k in range(3)
        )
        self.token_expander = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(channels[k]), nn.Linear(channels[k], channels[k + 1])) for k in range(3)
        )

        self.early_classifier3 = nn.Linear(c3, classes)
        skip = 0
        if config.with_isc:
            skip = c4
            self.isc3 = nn.Sequential(nn.Linear(classes, c4), nn.BatchNorm1d(c4), nn.ReLU())
            self.isc4 = nn.Sequential(nn.Linear(classes, c4), nn.BatchNorm1d(c4), nn.ReLU())
        self.classifier_att = nn.Linear(c4 + skip, classes)
        merged = c5 + c4 + skip
        if pieces.head is None:
            self.classifier_cnn = nn.Linear(c5, classes)
            self.classifier_merge = nn.Sequential(nn.BatchNorm1d(merged), nn.Linear(merged, classes))
        else:
            self.classifier_cnn = hidden_classifier(c5, pieces.head, classes, dropout)
            self.classifier_merge = nn.Sequential(
                nn.BatchNorm1d(merged), *hidden_classifier(merged, pieces.head, classes, dropout)
            )

    def side(self, k):
        """Height and width of the features that stage `k` takes."""
        with torch.no_grad():
            x = torch.zeros(1, 3, self.config.input_size, self.config.input_size)
            training = self.training
            self.eval()
            for i in range(k):
                x = self.piece(i, x)
            self.train(training)
        return x.shape[2]

    def piece(self, k, x):
        """Runs the stem (0) or stage `k` of the trunk."""
        for path in self.paths[k]:
            x = self.get_submodule(path)(x)
        return x

    def trunk_modules(self, first, last=4):
        """The modules of pieces `first` to `last`."""
        return [self.get_submodule(path) for k in range(first, last + 1) for path in self.paths[k]]

    def readable(self, k, x):
        """Features as the latent code reads them at stage `k`: (N, tokens, C)."""
        if self.config.with_dwc:
            x = x + getattr(self, f"dwc{k}_x2z")(x)
        return tokens(adaptive_avg_pool2d(x, POOLED) if self.config.spatial_reduction else x)

    def x2z(self, k, z, x):
        """Reads image features into the latent code; features that are tokens already are taken as they are."""
        if k > 1 and not self.config.with_x2z:
            return z
        return getattr(self, f"cross_att{k}_x2z")(z, self.readable(k, x) if x.dim() == 4 else x)

    def z2x(self, layer, x, z):
        """Writes the latent code into image features."""
        return layer(tokens(x), z).transpose(1, 2).reshape(x.shape)

    def next_tokens(self, k, z):
        """Half the tokens, the next stage's channels."""
        z = self.token_mixer[k](z.transpose(1, 2)).transpose(1, 2)
        return self.token_expander[k](z)

    def forward(self, image):
        return self.classify([self.piece(0, image)])

    def classify(self, features):
        """Logits from the features behind stem, stage 1, ... as many as there are; the rest is computed.

        All but the last may be given as what `readable` makes of them, if nothing is written into features.
        """
        return self.both_branches(features)[0]

    def both_branches(self, features):
        """What `classify` gives, and the features of the four stages after the latent code was written into them."""
        written = []
        z = self.latent.expand(features[0].shape[0], -1, -1)
        x = None
        for k in range(1, 5):
            if k <= len(features):
                x = features[k - 1]
            else:
                x = self.piece(k - 1, x)
            if k > 1:
                z = self.next_tokens(k - 2, z)
                if self.config.with_z2x:
                    x = self.z2x(getattr(self, f"cross_att{k}_z2x"), x, z)
                written.append(x)
            z = getattr(self, f"self_att{k}")(self.x2z(k, z, x))
            if k == 3:
                early3 = self.early_classifier3(z.mean(1))
        m = z.mean(1)
        isc = self.config.with_isc
        att = self.classifier_att(torch.cat([m, self.isc3(early3)], 1) if isc else m)
        x = features[4] if len(features) > 4 else self.piece(4, x)
        cnn = self.classifier_cnn(x.mean((2, 3)))
        if self.config.with_last_ca:
            x = self.z2x(self.last_cross_att_z2x, x, z)
        merged = [x.mean((2, 3)), m, *([self.isc4(att)] if isc else [])]
        return (early3, att, cnn, self.classifier_merge(torch.cat(merged, 1))), [*written, x]


def hidden_classifier(c, hidden, classes, dropout):
    return nn.Sequential(nn.Linear(c, hidden), nn.Hardswish(), nn.Dropout(dropout), nn.Linear(hidden, classes))


def writing(layer):
    """Begins with adding nothing to the features: what a pretrained trunk has learned is not destroyed at once."""
    for last in (layer.cross_attn.attention.o_proj, layer.mlp.fc2):
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
    return layer
