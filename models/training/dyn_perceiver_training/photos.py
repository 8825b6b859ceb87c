"""Photos with labels in COCO's format: read, and varied with their boxes for training a detector.

A folder has `train` with `train.json`, and may have `val` and `test` likewise; without `val`, a part of train is put aside.
"""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from .folder import DataError
from .images import load, recoloured

# What lies around a photo that does not fill the input: what the program pads with, since it is 0 once normalised.
GROUND = (127, 127, 127)
# A box of which less is seen counts as no object, and is painted over.
SEEN = 0.4
# Scale of a photo beside that at which it fits the input, and how much its sides may change against each other.
SCALES, STRETCH = (0.7, 1.7), 0.1
# Side of a part of a photo that has no object, as a share of the photo's, and how often one is looked for.
EMPTY, TRIES = (0.25, 0.7), 20


@dataclass(frozen=True)
class Photo:
    """A file, boxes (N, 4) of float32 corners in its pixels, and their classes (N,)."""

    path: Path
    size: tuple[int, int]
    boxes: np.ndarray
    labels: np.ndarray


@dataclass
class Photos:
    """Names of the classes, in the order of COCO's category numbers, and the photos of each split."""

    classes: list
    splits: dict = field(default_factory=dict)


def read(images, labels):
    """Names of classes and photos that a file of labels tells of; `images` is the folder they lie in."""
    try:
        told = json.loads(labels.read_text())
        categories = sorted(told["categories"], key=lambda c: c["id"])
        index = {c["id"]: k for k, c in enumerate(categories)}
        found = {image["id"]: (image, [], []) for image in told["images"]}
        for annotation in told["annotations"]:
            if not annotation.get("iscrowd", 0):
                x, y, width, height = annotation["bbox"]
                image, boxes, classes = found[annotation["image_id"]]
                boxes.append((x, y, x + width, y + height))
                classes.append(index[annotation["category_id"]])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{labels}: not labels in COCO's format: {error!r}") from error
    photos = [
        Photo(images / image["file_name"], (image["width"], image["height"]),
              np.array(boxes, np.float32).reshape(-1, 4), np.array(classes, np.int64))
        for image, boxes, classes in found.values()
    ]  # fmt: skip
    for photo in photos:
        if not photo.path.is_file():
            raise DataError(f"{photo.path}: there is no such file, but {labels} names it")
    return [c["name"] for c in categories], photos


def scan(folder, seed, val_share=0.1):
    """The photos of a folder: train, and val as it is there or as a seeded part of train."""
    folder = Path(folder)
    classes, train = read(folder / "train", folder / "train.json")
    if (folder / "val.json").is_file():
        others, val = read(folder / "val", folder / "val.json")
        if others != classes:
            raise DataError(f"{folder}: val.json has other categories than train.json")
    else:
        order = np.random.default_rng(seed).permutation(len(train))
        count = round(val_share * len(train))
        train, val = [train[k] for k in sorted(order[count:])], [train[k] for k in sorted(order[:count])]
    if not train or not val:
        raise DataError(f"{folder}: there are {len(train)} photos to train on and {len(val)} to judge with")
    return Photos(classes, {"train": train, "val": val})


@dataclass(frozen=True)
class Fit:
    """Where a photo lies in the input: scale along x and y, and the place of its corner."""

    scale: tuple[float, float]
    corner: tuple[float, float]

    def boxes(self, boxes):
        return boxes * np.float32([*self.scale, *self.scale]) + np.float32([*self.corner, *self.corner])


def whole(size, height, width):
    """The fit of a whole photo, in the middle, as the program does it."""
    scale = min(width / size[0], height / size[1])
    fitted = [max(round(n * scale), 1) for n in size]
    corner = (width - fitted[0]) // 2, (height - fitted[1]) // 2
    return Fit((fitted[0] / size[0], fitted[1] / size[1]), corner)


def anywhere(size, height, width, rng):
    """The fit of a photo larger or smaller, anywhere that leaves no more ground than need be."""
    scale = min(width / size[0], height / size[1])
    scale *= math.exp(rng.uniform(math.log(SCALES[0]), math.log(SCALES[1])))
    stretch = math.exp(rng.uniform(-STRETCH, STRETCH) / 2)
    scales = scale * stretch, scale / stretch
    spare = width - size[0] * scales[0], height - size[1] * scales[1]
    return Fit(scales, tuple(rng.uniform(min(n, 0), max(n, 0)) for n in spare))


def beside_objects(photo, height, width, rng):
    """The fit of a part of a photo that shows nothing of any box, or None where none was found."""
    for _ in range(TRIES):
        share = rng.uniform(*EMPTY)
        w = share * min(photo.size[0], photo.size[1] * width / height)
        h = w * height / width
        left, top = rng.uniform(0, photo.size[0] - w), rng.uniform(0, photo.size[1] - h)
        x1, y1, x2, y2 = photo.boxes.T
        if not ((x1 < left + w) & (x2 > left) & (y1 < top + h) & (y2 > top)).any():
            scale = width / w
            return Fit((scale, scale), (-left * scale, -top * scale))
    return None


def placed(image, fit, height, width):
    """A photo where `fit` puts it, the rest ground."""
    (sx, sy), (left, top) = fit.scale, fit.corner
    x1, y1 = max(round(left), 0), max(round(top), 0)
    x2, y2 = min(round(left + image.width * sx), width), min(round(top + image.height * sy), height)
    part = (x1 - left) / sx, (y1 - top) / sy, (x2 - left) / sx, (y2 - top) / sy
    part = [min(max(v, 0), n) for v, n in zip(part, (image.width, image.height) * 2)]
    canvas = Image.new("RGB", (width, height), GROUND)
    canvas.paste(image.resize((x2 - x1, y2 - y1), Image.Resampling.BILINEAR, part), (x1, y1))
    return canvas


def seen(boxes, height, width):
    """Boxes cut at the borders, and the share of each that is left."""
    cut = np.clip(boxes, 0, np.float32([width, height, width, height]))
    return cut, area(cut) / np.maximum(area(boxes), 1e-6)


def area(boxes):
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def judged(photo, height, width):
    """A photo as the program sees it: pixels (H, W, 3) of float32 up to 255, boxes in its pixels, classes."""
    fit = whole(photo.size, height, width)
    return np.asarray(placed(load(photo.path), fit, height, width), np.float32), fit.boxes(photo.boxes), photo.labels


def varied(photo, height, width, rng, empty=0.1, mirror=True, turns=1):
    """A photo varied: placed anywhere, maybe mirrored, turned by a part of `turns`, in other light.

    A share of `empty` shows a part without objects, where there is one. `turns` 2 adds half turns, 4 quarter turns.
    """
    image, size, boxes = load(photo.path), photo.size, photo.boxes
    quarters = int(rng.integers(turns)) * (4 // turns)
    if quarters:
        image, boxes = image.rotate(90 * quarters, expand=True), turned(boxes, size, quarters)
        size = image.size
    if mirror and rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        boxes = np.float32([size[0], 0, size[0], 0]) + (boxes * np.float32([-1, 1, -1, 1]))[:, [2, 1, 0, 3]]
    moved = Photo(photo.path, size, boxes, photo.labels)
    fit = beside_objects(moved, height, width, rng) if rng.random() < empty else None
    fit = fit or anywhere(size, height, width, rng)
    canvas = placed(image, fit, height, width)
    boxes, shares = seen(fit.boxes(boxes), height, width)
    kept = shares >= SEEN
    for box in boxes[~kept & (shares > 0)]:
        paint_over(canvas, box, boxes[kept])
    return recoloured(canvas, rng), boxes[kept], photo.labels[kept]


def turned(boxes, size, quarters):
    """Boxes of a photo of `size` (width, height) that was turned by quarters, against the clock."""
    for _ in range(quarters):
        x1, y1, x2, y2 = boxes.T
        boxes, size = np.stack([y1, size[0] - x2, y2, size[0] - x1], 1), size[::-1]
    return boxes


def paint_over(canvas, box, others):
    """Hides what is left of an object, but for what lies in the boxes of others."""
    x1, y1, x2, y2 = (round(float(v)) for v in box)
    if x2 <= x1 or y2 <= y1:
        return
    spared = [(tuple(round(float(v)) for v in other), None) for other in others]
    parts = [(canvas.crop(other), other[:2]) for other, _ in spared]
    canvas.paste(GROUND, (x1, y1, x2, y2))
    for part, corner in parts:
        canvas.paste(part, corner)
