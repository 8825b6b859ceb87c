"""Dyn-Perceiver (Han et al., ICCV 2023): a CNN feature branch, a latent classification branch, four exits."""

import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d

from .attention import CrossAttentionLayer, SelfAttentionLayer
from .backbone import MobileNetV3Pieces

EXITS = ("early3", "att", "cnn", "merge")
POOLED = 7
SELF_ATTENTION_LAYERS = (3, 3, 9, 3)
HEADS = (1, 2, 4, 8)


def tokens(x):
    """(N, C, H, W) to (N, H*W, C)."""
    return x.flatten(2).transpose(1, 2)


class DynPerceiver(nn.Module):
    """With a MobileNetV3-Large backbone. `forward` gives logits (N, classes) for each of `EXITS`."""

    def __init__(self, width=0.5, latents=128, depth_factor=(1, 1, 1, 1), sa_widening=4, classes=1000, dropout=0.2):
        super().__init__()
        backbone = MobileNetV3Pieces(width)
        channels = backbone.channels
        c1, _, c3, c4, c5 = channels
        self.latent = nn.Parameter(torch.empty(latents, c1))
        nn.init.trunc_normal_(self.latent, std=0.02)

        self.cnn_stem = backbone.stem
        for k, stage in enumerate(backbone.stages, 1):
            setattr(self, f"cnn_body_stage{k}", stage)

        for k in range(1, 5):
            c = channels[k - 1]
            setattr(self, f"dwc{k}_x2z", nn.Conv2d(c, c, 7, 1, 3, groups=c))
            setattr(self, f"cross_att{k}_x2z", CrossAttentionLayer(c, c, c, positions=POOLED * POOLED))
            if k > 1:
                setattr(self, f"cross_att{k}_z2x", CrossAttentionLayer(c, c, c // 8))
            layers = SELF_ATTENTION_LAYERS[k - 1] * depth_factor[k - 1]
            blocks = [SelfAttentionLayer(c, HEADS[k - 1], sa_widening) for _ in range(layers)]
            setattr(self, f"self_att{k}", nn.Sequential(*blocks))
        self.last_cross_att_z2x = CrossAttentionLayer(c5, c4, c5 // 8)

        self.token_mixer = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(latents >> k), nn.Linear(latents >> k, latents >> (k + 1))) for k in range(3)
        )
        self.token_expander = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(channels[k]), nn.Linear(channels[k], channels[k + 1])) for k in range(3)
        )

        self.early_classifier3 = nn.Linear(c3, classes)
        self.isc3 = nn.Sequential(nn.Linear(classes, c4), nn.BatchNorm1d(c4), nn.ReLU())
        self.classifier_att = nn.Linear(2 * c4, classes)
        self.isc4 = nn.Sequential(nn.Linear(classes, c4), nn.BatchNorm1d(c4), nn.ReLU())
        head = backbone.head
        self.classifier_cnn = nn.Sequential(
            nn.Linear(c5, head), nn.Hardswish(), nn.Dropout(dropout), nn.Linear(head, classes)
        )
        merged = c5 + 2 * c4
        self.classifier_merge = nn.Sequential(
            nn.BatchNorm1d(merged), nn.Linear(merged, head), nn.Hardswish(), nn.Dropout(dropout), nn.Linear(head, classes)
        )

    def x2z(self, k, z, x):
        """Reads image features into the latent code."""
        pooled = adaptive_avg_pool2d(x + getattr(self, f"dwc{k}_x2z")(x), POOLED)
        return getattr(self, f"cross_att{k}_x2z")(z, tokens(pooled))

    def z2x(self, layer, x, z):
        """Writes the latent code into image features."""
        return layer(tokens(x), z).transpose(1, 2).reshape(x.shape)

    def next_tokens(self, k, z):
        """Half the tokens, the next stage's channels."""
        z = self.token_mixer[k](z.transpose(1, 2)).transpose(1, 2)
        return self.token_expander[k](z)

    def forward(self, image):
        x = self.cnn_stem(image)
        z = self.latent.expand(image.shape[0], -1, -1)
        z = self.self_att1(self.x2z(1, z, x))
        x = self.cnn_body_stage1(x)

        z = self.next_tokens(0, z)
        x = self.z2x(self.cross_att2_z2x, x, z)
        z = self.self_att2(self.x2z(2, z, x))
        x = self.cnn_body_stage2(x)

        z = self.next_tokens(1, z)
        x = self.z2x(self.cross_att3_z2x, x, z)
        z = self.self_att3(self.x2z(3, z, x))
        early3 = self.early_classifier3(z.mean(1))
        x = self.cnn_body_stage3(x)

        z = self.next_tokens(2, z)
        x = self.z2x(self.cross_att4_z2x, x, z)
        z = self.self_att4(self.x2z(4, z, x))
        m = z.mean(1)
        att = self.classifier_att(torch.cat([m, self.isc3(early3)], 1))

        x = self.cnn_body_stage4(x)
        cnn = self.classifier_cnn(x.mean((2, 3)))
        x = self.z2x(self.last_cross_att_z2x, x, z)
        merge = self.classifier_merge(torch.cat([x.mean((2, 3)), m, self.isc4(att)], 1))
        return early3, att, cnn, merge
