"""Fashion scenes, pictures for a detector: `python -m dyn_perceiver_training.scenes --help`.

Pieces of clothing from Fashion-MNIST, scaled, turned and partly hidden, on textured grounds among clutter, 128x160 pixels,
none to six in a scene; a third of the scenes have none. The same seed and number give the same scene.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
from PIL import Image

from . import items

HEIGHT, WIDTH = 128, 160
LABELS = ("top", "trousers", "dress", "shoe", "bag")
# Fashion-MNIST's ten classes as those of boxes.
CLASSES = (0, 1, 0, 2, 0, 3, 0, 3, 4, 3)
EXITS = ("nothing", "large", "small")
# Boxes of this root of area and above are nearer to the anchors of P4 than to those of P3.
LARGE = math.sqrt(4 * 2 ** (2 / 3) * 8 * 4 * 16)
MOST = 6
# Share of an item that has to be seen.
SEEN = 0.5
SPLITS = {"train": 1, "val": 2, "test": 3}


def scene(pieces, seed, split, number):
    """The picture (H, W, 3) of uint8, boxes (N, 4) as float32 corners, and their classes (N,)."""
    rng = np.random.default_rng([seed, SPLITS[split], number])
    drawing = Drawing(rng, pieces)
    for _ in range(rng.integers(0, 3)):
        drawing.clutter(8, 60)
    if rng.random() >= 1 / 3:
        low, high, most = [(20, 56, MOST), (60, 100, 3), (20, 100, 4)][rng.integers(3)]
        for _ in range(rng.integers(1, most + 1)):
            drawing.item(math.exp(rng.uniform(math.log(low), math.log(high))))
    for _ in range(rng.integers(0, 5)):
        drawing.clutter(8, 45)
    boxes = [box_of(drawing.owner == k + 1) for k in range(len(drawing.classes))]
    light = drawing.canvas * np.float32(rng.uniform(0.7, 1.15))
    picture = np.clip(light, 0, 255).astype(np.uint8)
    return picture, np.array(boxes, np.float32).reshape(-1, 4), np.array(drawing.classes, np.int64)


class Drawing:
    """A scene in the making."""

    def __init__(self, rng, pieces):
        self.rng, self.pieces = rng, pieces
        self.canvas = items.ground(rng, (HEIGHT, WIDTH))
        # Which item each pixel is of, from 1, and of every item its pixels and those that are still seen.
        self.owner = np.zeros((HEIGHT, WIDTH), np.uint8)
        self.pixels, self.seen = [0], [0]
        self.classes = []

    def may_hide(self, part, mask):
        """Takes the pixels from the items that they are of, unless one would be hidden too much."""
        covered = np.bincount(self.owner[part][mask], minlength=len(self.seen))
        left = [seen - lost for seen, lost in zip(self.seen, covered.tolist())]
        if any(seen < SEEN * pixels for seen, pixels in zip(left[1:], self.pixels[1:])):
            return False
        self.seen = left
        return True

    def item(self, side):
        """Paints an item where it hides no other too much, if there is such a place."""
        rng = self.rng
        which, tint = rng.integers(len(self.pieces.labels)), items.colour(rng)
        margin = min(0.35 * side, 0.45 * HEIGHT)
        for _ in range(8):
            angle, mirrored = rng.uniform(-0.6, 0.6), rng.random() < 0.5
            middle = rng.uniform((margin, margin), (WIDTH - margin, HEIGHT - margin))
            part, grey, opacity = items.turned(
                self.pieces.pictures[which], side, angle, mirrored, middle, self.owner.shape
            )
            mask = opacity > 127
            pixels = int(mask.sum())
            if pixels < 40 or not self.may_hide(part, mask):
                continue
            items.paint(self.canvas[part], items.dye(grey, tint), opacity)
            self.pixels.append(pixels)
            self.seen.append(pixels)
            self.classes.append(CLASSES[self.pieces.labels[which]])
            self.owner[part][mask] = len(self.classes)
            return

    def clutter(self, low, high):
        """Paints something that is no item, unless it hides an item too much."""
        rng = self.rng
        tint, side, middle = items.colour(rng), rng.uniform(low, high), rng.uniform((0, 0), (WIDTH, HEIGHT))
        part, opacity = items.clutter(rng, self.owner.shape, side, middle)
        mask = opacity > 127
        if self.may_hide(part, mask):
            items.paint(self.canvas[part], tint, opacity)
            self.owner[part][mask] = 0


def box_of(mask):
    """Corners of what is set, in pixels from the picture's corner."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def exit_class(boxes):
    """What the exits are to say: nothing is there, all that is there is large, or something is small."""
    if len(boxes) == 0:
        return 0
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return 1 if (areas >= LARGE**2).all() else 2


def coco(scenes):
    """Labels of scenes, (name, boxes, classes) each, in COCO's format."""
    images, annotations = [], []
    for number, (name, boxes, classes) in enumerate(scenes, 1):
        images.append({"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT})
        for (x1, y1, x2, y2), label in zip(boxes.tolist(), classes.tolist()):
            annotations.append({
                "id": len(annotations) + 1, "image_id": number, "category_id": label + 1, "iscrowd": 0,
                "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1),
            })  # fmt: skip
    categories = [{"id": k + 1, "name": name} for k, name in enumerate(LABELS)]
    return {"images": images, "annotations": annotations, "categories": categories}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", default=items.FOLDER, help="folder with Fashion-MNIST's four IDX files")
    p.add_argument("--out", type=Path, required=True, help="folder for the pictures and labels.json")
    p.add_argument("--split", choices=sorted(SPLITS), default="test", help="whose items: of the training or the test images")
    p.add_argument("--count", type=int, default=1000)
    p.add_argument("--seed", type=int, default=20231)
    p.add_argument("--format", choices=sorted(items.QUALITY), default="png", help="jpg is smaller, and not quite the picture")
    args = p.parse_args()
    pieces = items.Items.load(args.split, args.data)
    args.out.mkdir(parents=True, exist_ok=True)
    labels = []
    for number in range(args.count):
        picture, boxes, classes = scene(pieces, args.seed, args.split, number)
        name = f"{number:05}.{args.format}"
        Image.fromarray(picture).save(args.out / name, **items.QUALITY[args.format])
        labels.append((name, boxes, classes))
    (args.out / "labels.json").write_text(json.dumps(coco(labels)) + "\n")


if __name__ == "__main__":
    main()
