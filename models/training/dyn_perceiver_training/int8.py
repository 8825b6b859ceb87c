"""Training with layers rounded as `dyn-perceiver quantize` rounds them; what is trained and written stays float.

Linear layers and convolutions of at least four channels get rows of bytes (asymmetric, one scale) and weights of signed bytes
(symmetric, one scale per column); depthwise convolutions get weights of 127 steps to either side per channel. The first
convolution, and everything between layers, stays float. Gradients pass a rounding as if it were not there.

A batch normalisation behind a layer scales its columns, and rounding a column does not depend on its scale: only one in front of
a layer is folded into it. The statistics of all of them have to stay as they are.
"""

import hashlib

import torch
from torch import nn
from torch.nn.functional import linear, pad

# The largest weight, and what two neighbours may add up to, so that 16-bit sums never saturate.
LARGEST = 127.0
PAIR = 128.0
STEPS = 255.0
TINY = torch.finfo(torch.float32).tiny
# Parts of the whole range, on each side, that are tried for the least squared error.
TRIED = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
BINS = 512
# Values of a tensor that are counted.
COUNTED = 1 << 16
# How fast ranges follow what is seen while weights change.
FOLLOWING = 0.02


def reach(pairs):
    """For each column the most that bytes of 1 could make of two neighbours: (columns, pairs, 2) to (columns,)."""
    return torch.maximum(pairs.clamp(min=0).sum(2), (-pairs).clamp(min=0).sum(2)).amax(1)


@torch.no_grad()
def column_steps(columns):
    """What a weight of 1 stands for in each row of `columns` (columns, reduction)."""
    pairs = pad(columns, (0, columns.shape[1] % 2)).unflatten(1, (-1, 2))
    largest = columns.abs().amax(1)
    steps = torch.maximum(largest / LARGEST, reach(pairs) / PAIR).clamp(min=TINY)
    # Rounding may bring a pair up by one.
    while (beyond := reach((pairs / steps[:, None, None]).round().clamp(-LARGEST, LARGEST)) > PAIR).any():
        steps = torch.where(beyond, steps * (1 + 1 / 256), steps)
    return torch.where(largest == 0, torch.ones_like(steps), steps)


def straight_through(rounded, x):
    """`rounded`, with the gradient of `x`."""
    return x + (rounded - x).detach()


def rounded_columns(columns):
    """Weights (columns, reduction) as int8 layers have them."""
    with torch.no_grad():
        steps = column_steps(columns)[:, None]
        rounded = (columns / steps).round().clamp(-LARGEST, LARGEST) * steps
    return straight_through(rounded, columns)


def rounded_filters(filters):
    """Weights (channels, 1, height, width) of a depthwise convolution; channels whose steps were too small stay as they are."""
    with torch.no_grad():
        steps = filters.abs().amax((1, 2, 3), keepdim=True) / LARGEST
        rounded = torch.where(steps >= TINY, (filters / steps).round().clamp(-LARGEST, LARGEST) * steps, filters)
    return straight_through(rounded, filters)


def scheme(low, high):
    """What a step of the bytes stands for, and the byte of 0, for a range around 0."""
    scale = ((high - low) / STEPS).clamp(min=TINY)
    # Halves are rounded away from 0.
    return scale, (-low / scale + 0.5).floor().clamp(0, STEPS).to(torch.int32)


def rounded_rows(x, low, high):
    """Rows as bytes make them; no gradient where values are cut off."""
    return torch.fake_quantize_per_tensor_affine(x, *scheme(low, high), 0, int(STEPS))


@torch.no_grad()
def best_range(x):
    """The range around 0 at which rounding and cutting off err least in the squares."""
    x = x.reshape(-1)
    low, high = (end.item() for end in x.aminmax())
    low, high = min(low, 0.0), max(high, 0.0)
    if not high - low > TINY:
        return torch.tensor([low, high])
    # An odd step, so that all channels have their turn.
    sample = x[:: 1 + 2 * (len(x) // (2 * COUNTED))]
    counts = torch.histc(sample, BINS, low, high)
    centres = low + (torch.arange(BINS) + 0.5) * ((high - low) / BINS)
    tried = torch.tensor(TRIED)
    ends = torch.cartesian_prod(tried * low, tried * high)
    outside = torch.maximum(ends[:, :1] - centres, centres - ends[:, 1:]).clamp(min=0)
    step = (ends[:, 1:] - ends[:, :1]) / STEPS
    error = (counts * (outside**2 + step**2 / 12)).sum(1)
    return ends[error.argmin()]


class Rounding(nn.Module):
    """How a layer is rounded: the ranges of the parts of its input. It is no part of the state that is written."""

    def __init__(self, parts):
        super().__init__()
        self.parts = parts
        self.register_buffer("ranges", torch.zeros(len(parts), 2), persistent=False)
        self.seen = 0
        self.is_observing, self.is_rounding = True, False

    def rows(self, x, axis):
        pieces = x.split(self.parts, axis)
        if self.is_observing:
            self.seen += 1
            found = torch.stack([best_range(piece.detach()) for piece in pieces])
            self.ranges.lerp_(found, FOLLOWING if self.is_rounding else 1 / self.seen)
        if not self.is_rounding:
            return x
        pieces = [rounded_rows(piece, *ends) for piece, ends in zip(pieces, self.ranges)]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, axis)

    def columns(self, weight):
        if not self.is_rounding:
            return weight
        # Of a convolution: channels of a tap are neighbours.
        order = weight.permute(0, 2, 3, 1) if weight.dim() == 4 else weight
        columns = order.flatten(1)
        parts = columns.split(self.parts, 1) if len(self.parts) > 1 else [columns]
        rounded = torch.cat([rounded_columns(part) for part in parts], 1).view(order.shape)
        return rounded.permute(0, 3, 1, 2) if weight.dim() == 4 else rounded


class Int8Linear:
    def forward(self, x):
        rows = self.rounding.rows(x, -1)
        return linear(rows, self.rounding.columns(self.weight), self.bias)


class Int8Convolution:
    def forward(self, x):
        rows = self.rounding.rows(x, 1)
        return self._conv_forward(rows, self.rounding.columns(self.weight), self.bias)


class RoundedDepthwise:
    def forward(self, x):
        weight = rounded_filters(self.weight) if self.rounding.is_rounding else self.weight
        return self._conv_forward(x, weight, self.bias)


def kind_of(module):
    """How `quantize` computes a module; none where it stays float."""
    if isinstance(module, nn.Linear):
        return Int8Linear
    if not isinstance(module, nn.Conv2d):
        return None
    channels = module.in_channels // module.groups
    if channels == 1 and module.groups == module.out_channels:
        return RoundedDepthwise
    return Int8Convolution if channels % 4 == 0 else None


def attach(model):
    """Makes the layers of a `DynPerceiver` that can be int8 able to be rounded. They observe, and are not rounded yet."""
    merge = model.classifier_merge
    fold(merge[0], merge[1])
    c4, c5 = model.channels[3:]
    isc = [c4] if model.config.with_isc else []
    # Inputs that are joined are read one by one.
    joined = {"classifier_att": [c4, *isc], "classifier_merge.1": [c5, c4, *isc]}
    for name, module in list(model.named_modules()):
        kind = kind_of(module)
        # The query of the latent code that was learned is a constant.
        if kind is None or name == "cross_att1_x2z.cross_attn.attention.q_proj":
            continue
        whole = module.in_features if isinstance(module, nn.Linear) else module.in_channels
        module.rounding = Rounding(joined.get(name, [whole]))
        module.__class__ = type(f"{kind.__name__}{type(module).__name__}", (kind, type(module)), {})


@torch.no_grad()
def fold(norm, layer):
    """Puts a batch normalisation in front of a linear layer into it."""
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    layer.bias += layer.weight @ (norm.bias - norm.running_mean * scale)
    layer.weight *= scale
    make_identity(norm)
    for parameter in norm.parameters():
        parameter.requires_grad_(False)


@torch.no_grad()
def make_identity(norm):
    """A batch normalisation that changes nothing."""
    norm.weight.fill_(1), norm.bias.zero_(), norm.running_mean.zero_(), norm.running_var.fill_(1 - norm.eps)


def freeze_norms(model):
    """No batch normalisation renews its statistics, although the model is in training."""
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.eval()


def roundings(model):
    return [module for module in model.modules() if isinstance(module, Rounding)]


def share(model, other):
    """Gives a copy of a model the model's own ranges."""
    for ours, theirs in zip(model.modules(), list(other.modules())):
        if hasattr(ours, "rounding"):
            theirs.rounding = ours.rounding


def set_state(model, observing, rounding):
    for module in roundings(model):
        module.is_observing, module.is_rounding = observing, rounding


def ranges(model):
    return [module.ranges.clone() for module in roundings(model)]


def set_ranges(model, values):
    for module, value in zip(roundings(model), values, strict=True):
        module.ranges.copy_(value)


def fingerprint(model):
    digest = hashlib.sha256()
    for value in ranges(model):
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()
