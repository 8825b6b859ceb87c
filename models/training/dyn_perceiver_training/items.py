"""Pictures made from pieces: pieces of clothing (Fashion-MNIST) on textured grounds, among clutter that is none.

Everything is drawn by a `numpy` generator, so that the same seed gives the same picture.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .data import CALIBRATION_IMAGES, read_idx

FOLDER = "/usr/share/datasets/fashion-mnist"
# Grey from which a pixel belongs to the item.
FOREGROUND = 24
# How pictures are written, by the ending of the file.
QUALITY = {"png": {}, "jpg": {"quality": 90, "subsampling": 0}}
LETTERS = "ABDEFGHKMNPQRSTXYZ234567890&?#"


@dataclass(frozen=True)
class Items:
    """Cut-out items: `pictures[i]` is (grey, opacity), both uint8 of one shape, `labels[i]` Fashion-MNIST's class."""

    pictures: list
    labels: np.ndarray

    @staticmethod
    def load(split, folder=FOLDER):
        """`train` and `val` from the training images, `test` from the test images: no item is in two of them."""
        folder = Path(folder)
        name = "t10k" if split == "test" else "train"
        images = read_idx(folder / f"{name}-images-idx3-ubyte.gz")
        labels = read_idx(folder / f"{name}-labels-idx1-ubyte.gz")
        if split != "test":
            kept = slice(-CALIBRATION_IMAGES, None) if split == "val" else slice(None, -CALIBRATION_IMAGES)
            images, labels = images[kept], labels[kept]
        return Items([cut_out(image) for image in images], labels)


def filled(mask, axis):
    """Everything between the first and the last pixel that is set, along an axis."""
    forth = np.maximum.accumulate(mask, axis)
    back = np.flip(np.maximum.accumulate(np.flip(mask, axis), axis), axis)
    return forth & back


def cut_out(image):
    """An item without its black ground: dark places inside it are its own, gaps that are open to a side are not."""
    mask = image > FOREGROUND
    mask = filled(mask, 0) & filled(mask, 1)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows) < 4 or len(columns) < 4:
        return image, np.full_like(image, 255)
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return image[box], np.where(mask[box], 255, 0).astype(np.uint8)


def window(middle, radius, shape):
    """The part of a picture of `shape` around `middle` (x, y): its slices, its middle within it, and its shape."""
    low = [max(int(m - radius), 0) for m in middle]
    high = [min(int(m + radius) + 1, n) for m, n in zip(middle, (shape[1], shape[0]))]
    part = slice(low[1], max(high[1], low[1] + 1)), slice(low[0], max(high[0], low[0] + 1))
    return part, (middle[0] - low[0], middle[1] - low[1]), (part[0].stop - part[0].start, part[1].stop - part[1].start)


def turned(picture, side, angle, mirrored, middle, shape):
    """An item drawn into an empty picture: the part of it that it is drawn into, grey there, and opacity.

    `side` is the root of the area of its upright box in pixels, `angle` in radians, `middle` (x, y) where its middle is,
    `shape` (H, W) the picture's.
    """
    height, width = picture[0].shape
    scale = side / math.sqrt(height * width)
    part, middle, shape = window(middle, 0.5 * scale * math.hypot(height, width) + 1, shape)
    c, s = math.cos(angle) / scale, math.sin(angle) / scale
    flip = -1 if mirrored else 1
    # From a pixel of the picture to one of the item: PIL takes middles of pixels itself.
    rows = [flip * c, flip * s, 0, -s, c, 0]
    rows[2] = width / 2 - rows[0] * middle[0] - rows[1] * middle[1]
    rows[5] = height / 2 - rows[3] * middle[0] - rows[4] * middle[1]
    size = (shape[1], shape[0])
    return part, *(
        np.asarray(Image.fromarray(plane).transform(size, Image.Transform.AFFINE, rows, Image.Resampling.BILINEAR))
        for plane in picture
    )


def colour(rng, low=40, high=256):
    return rng.integers(low, high, 3).astype(np.float32)


def dye(grey, tint):
    """Grey in the colour `tint`, never black."""
    return (0.3 + 0.7 / 255 * grey[..., None].astype(np.float32)) * tint


def paint(canvas, colours, opacity):
    share = opacity[..., None].astype(np.float32) / 255
    canvas += share * (colours - canvas)


def ground(rng, shape):
    """A textured ground, float (H, W, 3): two colours mixed by clouds, stripes, squares or a slope, and some noise."""
    height, width = shape
    kind = rng.integers(4)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    angle, period = rng.uniform(0, math.pi), rng.uniform(6, 30)
    along = x * math.cos(angle) + y * math.sin(angle)
    if kind == 0:
        mix = clouds(rng, shape, int(rng.integers(3, 12)))
    elif kind == 1:
        mix = 0.5 + 0.5 * np.sin(2 * math.pi * along / period)
    elif kind == 2:
        across = y * math.cos(angle) - x * math.sin(angle)
        mix = ((along // period + across // period) % 2).astype(np.float32)
    else:
        mix = (along - along.min()) / max(float(np.ptp(along)), 1.0)
    mix = np.clip(mix + 0.4 * (clouds(rng, shape, 8) - 0.5), 0, 1)[..., None]
    first = colour(rng, 0)
    second = np.clip(first + rng.uniform(-90, 90, 3), 0, 255).astype(np.float32)
    noise = rng.standard_normal((*shape, 1), np.float32) * np.float32(rng.uniform(1, 8))
    return first * (1 - mix) + second * mix + noise


def clouds(rng, shape, cells):
    """Smooth noise in [0, 1]."""
    small = rng.integers(0, 256, (cells, cells + cells // 3), dtype=np.uint8)
    image = Image.fromarray(small).resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
    return np.asarray(image, np.float32) / 255


def clutter(rng, shape, side, middle):
    """Something that is no item: a letter, an ellipse, a polygon or a stroke. The part it is drawn into, and opacity."""
    part, middle, shape = window(middle, 0.75 * side + 3, shape)
    image = Image.new("L", (shape[1], shape[0]))
    draw = ImageDraw.Draw(image)
    x, y = middle
    kind = rng.integers(4)
    half = side / 2
    if kind == 0:
        letter = LETTERS[rng.integers(len(LETTERS))]
        draw.text((x, y), letter, 255, ImageFont.load_default(float(side)), anchor="mm")
    elif kind == 1:
        a, b = half * rng.uniform(0.4, 1, 2)
        draw.ellipse((x - a, y - b, x + a, y + b), 255)
    elif kind == 2:
        angles = np.sort(rng.uniform(0, 2 * math.pi, rng.integers(3, 7)))
        radii = half * rng.uniform(0.4, 1, len(angles))
        points = [(x + r * math.cos(a), y + r * math.sin(a)) for a, r in zip(angles, radii)]
        draw.polygon(points, 255)
    else:
        angle = rng.uniform(0, 2 * math.pi)
        dx, dy = half * math.cos(angle), half * math.sin(angle)
        draw.line((x - dx, y - dy, x + dx, y + dy), 255, int(rng.integers(1, 5)))
    return part, np.asarray(image)
