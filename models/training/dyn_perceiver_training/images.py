"""From an image file to the network's input: as the program does it, or augmented for training."""

import math
import random
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps


@dataclass(frozen=True)
class Preprocessing:
    """The metadata of the model: mean and deviation of pixels in [0, 1], size, and which share the crop keeps."""

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop: float = 0.875
    interpolation: str = "bicubic"

    @property
    def resample(self):
        return {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}[self.interpolation]


IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# (pixel - 127) / 128
LITE = ((127 / 255,) * 3, (128 / 255,) * 3)


def of_backbone(backbone):
    """Mean and deviation that the backbone's published weights were trained with."""
    return LITE if backbone.startswith("efficientnet_lite") else IMAGENET


def load(path):
    """RGB, turned the way the camera was held."""
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def centred(image, p):
    """The middle of the image, `p.crop` of its shorter side, scaled to the network's size."""
    side = p.size / p.crop
    scale = side / min(image.size)
    width, height = (max(p.size, round(n * scale)) for n in image.size)
    image = image.resize((width, height), p.resample)
    left, top = (width - p.size) // 2, (height - p.size) // 2
    return image.crop((left, top, left + p.size, top + p.size))


def augmented(image, p, rng, smallest=0.3):
    """A random part of the image, maybe mirrored, a little turned, with other light and colour, maybe a part hidden."""
    width, height = image.size
    for _ in range(10):
        area = width * height * rng.uniform(smallest, 1.0)
        ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if w <= width and h <= height:
            break
    else:
        w = h = min(width, height)
    left, top = rng.randint(0, width - w), rng.randint(0, height - h)
    turn = rng.uniform(-15, 15) if rng.random() < 0.5 else 0.0
    box = (left, top, left + w, top + h)
    if turn:
        image = image.rotate(turn, Image.Resampling.BILINEAR, center=(left + w / 2, top + h / 2), fillcolor=mean_colour(image))
    image = image.resize((p.size, p.size), p.resample, box)
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    pixels = recoloured(image, rng)
    if rng.random() < 0.25:
        a, b = (int(p.size * rng.uniform(0.15, 0.4)) for _ in range(2))
        y, x = rng.randint(0, p.size - a), rng.randint(0, p.size - b)
        pixels[y : y + a, x : x + b] = rng.uniform(0, 255)
    return np.clip(pixels, 0, 255)


def recoloured(image, rng):
    """Pixels (H, W, 3) of float32 in other light: brightness, contrast, saturation, and each channel by itself."""
    changes = [(ImageEnhance.Brightness, 0.3), (ImageEnhance.Contrast, 0.3), (ImageEnhance.Color, 0.4)]
    rng.shuffle(changes)
    for change, strength in changes:
        image = change(image).enhance(rng.uniform(1 - strength, 1 + strength))
    pixels = np.asarray(image, np.float32)
    # The light's colour: each channel by itself.
    return pixels * np.array([rng.uniform(0.9, 1.1) for _ in range(3)], np.float32)


def mean_colour(image):
    return tuple(int(v) for v in np.asarray(image.resize((1, 1), Image.Resampling.BOX))[0, 0])


def tensor(pixels, p):
    """(H, W, 3) of 0 to 255 to (3, H, W), normalised."""
    x = torch.from_numpy(np.asarray(pixels, np.float32) / 255)
    return ((x - torch.tensor(p.mean)) / torch.tensor(p.std)).permute(2, 0, 1)


def variant(path, p, seed, number):
    """Variant `number` of an image: 0 is the centred one, the others are augmented, the same for the same seed."""
    image = load(path)
    if number == 0:
        return tensor(centred(image, p), p)
    return tensor(augmented(image, p, random.Random(f"{seed} {number} {path.name}")), p)
