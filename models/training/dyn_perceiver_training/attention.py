"""The attention layers of the latent branch: cross-attention both ways and pre-norm self-attention."""

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention


class Mlp(nn.Module):
    def __init__(self, channels, widening):
        super().__init__()
        self.layernorm = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, widening * channels)
        self.fc2 = nn.Linear(widening * channels, channels)

    def forward(self, x):
        return x + self.fc2(nn.functional.gelu(self.fc1(self.layernorm(x))))


class Attention(nn.Module):
    def __init__(self, q_channels, kv_channels, width, heads, positions=0):
        super().__init__()
        if positions:
            self.relative_position_bias = nn.Parameter(torch.zeros(1, positions, width))
            nn.init.trunc_normal_(self.relative_position_bias, std=0.02)
        self.q_proj = nn.Linear(q_channels, width, bias=False)
        self.k_proj = nn.Linear(kv_channels, width, bias=False)
        self.v_proj = nn.Linear(kv_channels, width, bias=False)
        self.o_proj = nn.Linear(width, q_channels)
        self.heads = heads
        self.positions = positions

    def split(self, x):
        batch, tokens, width = x.shape
        return x.view(batch, tokens, self.heads, width // self.heads).transpose(1, 2)

    def forward(self, q, kv):
        k = self.k_proj(kv)
        if self.positions:
            k = k + self.relative_position_bias
        y = scaled_dot_product_attention(self.split(self.q_proj(q)), self.split(k), self.split(self.v_proj(kv)))
        return self.o_proj(y.transpose(1, 2).flatten(2))


class CrossAttention(nn.Module):
    def __init__(self, q_channels, kv_channels, width, positions=0):
        super().__init__()
        self.q_norm = nn.LayerNorm(q_channels)
        self.kv_norm = nn.LayerNorm(kv_channels)
        self.attention = Attention(q_channels, kv_channels, width, 1, positions)

    def forward(self, q, kv):
        return q + self.attention(self.q_norm(q), self.kv_norm(kv))


class CrossAttentionLayer(nn.Module):
    def __init__(self, q_channels, kv_channels, width, positions=0):
        super().__init__()
        self.cross_attn = CrossAttention(q_channels, kv_channels, width, positions)
        self.mlp = Mlp(q_channels, 1)

    def forward(self, q, kv):
        return self.mlp(self.cross_attn(q, kv))


class SelfAttention(nn.Module):
    def __init__(self, channels, heads):
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.attention = Attention(channels, channels, channels, heads)

    def forward(self, z):
        y = self.norm(z)
        return z + self.attention(y, y)


class SelfAttentionLayer(nn.Module):
    def __init__(self, channels, heads, widening):
        super().__init__()
        self.self_attn = SelfAttention(channels, heads)
        self.mlp = Mlp(channels, widening)

    def forward(self, z):
        return self.mlp(self.self_attn(z))
