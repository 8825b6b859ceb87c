"""Fashion-MNIST from its IDX files, as the network sees it: grey repeated to three channels, resized, normalised."""

import gzip
import struct
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import interpolate, pad

LABELS = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
# Mean and standard deviation of the 55,000 training images' pixels in [0, 1], see `statistics`.
MEAN, STD = 0.2860, 0.3530
CALIBRATION_IMAGES = 5000


def read_idx(path):
    """An IDX file of unsigned bytes, gzipped or not, as an array."""
    raw = Path(path).read_bytes()
    if raw[:2] == b"\x1f\x8b":
        raw = gzip.decompress(raw)
    zero, kind, rank = struct.unpack_from(">HBB", raw)
    if zero != 0 or kind != 8:
        raise ValueError(f"{path}: not an IDX file of unsigned bytes")
    shape = struct.unpack_from(f">{rank}I", raw, 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape).copy()


def write_idx(path, array):
    """Writes unsigned bytes as gzipped IDX; the same array always gives the same file."""
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    Path(path).write_bytes(gzip.compress(head + array.astype(np.uint8).tobytes(), 9, mtime=0))


def load(folder):
    """`train`, `calibration` (the last 5,000 training images) and `test` as (images uint8 (N, 28, 28), labels)."""
    folder = Path(folder)
    images = torch.from_numpy(read_idx(folder / "train-images-idx3-ubyte.gz"))
    labels = torch.from_numpy(read_idx(folder / "train-labels-idx1-ubyte.gz")).long()
    test_images = torch.from_numpy(read_idx(folder / "t10k-images-idx3-ubyte.gz"))
    test_labels = torch.from_numpy(read_idx(folder / "t10k-labels-idx1-ubyte.gz")).long()
    return {
        "train": (images[:-CALIBRATION_IMAGES], labels[:-CALIBRATION_IMAGES]),
        "calibration": (images[-CALIBRATION_IMAGES:], labels[-CALIBRATION_IMAGES:]),
        "test": (test_images, test_labels),
    }


def preprocess(images, size):
    """uint8 (N, 28, 28) to float (N, 3, size, size): bilinear with half-pixel centres, then (x / 255 - mean) / std."""
    x = images.unsqueeze(1).float()
    x = interpolate(x, (size, size), mode="bilinear", align_corners=False)
    return ((x / 255 - MEAN) / STD).expand(-1, 3, -1, -1)


def augment(images, generator):
    """Random flip, a shift of up to 2 pixels, and an erased patch on a quarter of the images; uint8 in, uint8 out."""
    n, h, w = images.shape
    flip = torch.rand(n, generator=generator) < 0.5
    images = torch.where(flip[:, None, None], images.flip(2), images)
    shift = torch.randint(0, 5, (2, n, 1), generator=generator)
    rows = (torch.arange(h) + shift[0])[:, :, None]
    columns = (torch.arange(w) + shift[1])[:, None, :]
    images = pad(images, (2, 2, 2, 2))[torch.arange(n)[:, None, None], rows, columns]
    side = torch.randint(4, 11, (2, n, 1), generator=generator)
    corner = torch.randint(0, h, (2, n, 1), generator=generator)
    inside = [(torch.arange(s) >= corner[i]) & (torch.arange(s) < corner[i] + side[i]) for i, s in enumerate((h, w))]
    erase = torch.rand(n, generator=generator) < 0.25
    mask = inside[0][:, :, None] & inside[1][:, None, :] & erase[:, None, None]
    noise = torch.randint(0, 256, (n, 1, 1), generator=generator, dtype=torch.uint8)
    return torch.where(mask, noise, images)
