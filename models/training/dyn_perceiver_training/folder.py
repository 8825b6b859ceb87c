"""Folders of labelled images: one folder a class, with or without folders of its own for train, val and test."""

import hashlib
import random
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"}
SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
# Shares of val and test where the data has no split of its own.
SHARES = {"val": 0.15, "test": 0.15}


class DataError(Exception):
    """What is wrong with a data folder, for its owner."""


@dataclass
class Data:
    """`classes` in the order of their names; per split the files and their classes; what was skipped and why."""

    classes: list[str]
    splits: dict[str, list[tuple[Path, int]]]
    skipped: list[tuple[Path, str]]

    def fingerprint(self):
        """Changes when any file is added, removed, renamed or changed in length."""
        digest = hashlib.sha256()
        for split, items in sorted(self.splits.items()):
            for path, label in items:
                digest.update(f"{split} {path} {label} {path.stat().st_size}\n".encode())
        return digest.hexdigest()


def class_folders(folder):
    return {p.name: p for p in sorted(folder.iterdir()) if p.is_dir() and not p.name.startswith(".")}


def images_in(folder):
    files = (p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    return sorted(p for p in files if p.suffix.lower() in SUFFIXES)


def find_split(folder, names):
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def readable(path, skipped):
    """Whether the image decodes; if not, it is noted with the reason."""
    try:
        with Image.open(path) as image:
            image.load()
            if min(image.size) < 8:
                raise ValueError(f"{image.size[0]}x{image.size[1]} pixels are too few")
        return True
    except Exception as error:  # noqa: BLE001 - decoders raise whatever they like on damaged files
        skipped.append((path, str(error).splitlines()[0] if str(error) else type(error).__name__))
        return False


def split_class(items, seed):
    """The images of one class in train, val and test: at least one image in each where there are three."""
    items = list(items)
    random.Random(seed).shuffle(items)
    val, test = (max(1, round(len(items) * SHARES[s])) for s in ("val", "test"))
    if len(items) < 3:
        return {"train": items[:1], "val": items[1:], "test": []}
    return {"val": items[:val], "test": items[val : val + test], "train": items[val + test :]}


def scan(folder, seed=0):
    """Reads a data folder; every image is decoded once, so that a damaged one is found now and not after an hour.

    A test split that is missing is empty; a val split that is missing is taken from the training images.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder")
    own = {split: find_split(folder, names) for split, names in SPLITS.items()}
    base = own["train"] or folder
    if own["train"] is None and (own["val"] or own["test"]):
        raise DataError(f"{folder}: there is a folder of val or test images but none of train")
    classes = list(class_folders(base))
    if len(classes) < 2:
        raise DataError(f"{base}: expected a folder for each of at least 2 classes, found {len(classes)}")
    skipped, splits = [], {"train": [], "val": [], "test": []}
    for label, name in enumerate(classes):
        found = {}
        for split in splits:
            place = own[split] if own["train"] else (folder if split == "train" else None)
            files = images_in(place / name) if place and (place / name).is_dir() else []
            found[split] = [path for path in files if readable(path, skipped)]
        if not found["train"]:
            raise DataError(f"{base / name}: no image of class '{name}' can be read")
        total = sum(len(files) for files in found.values())
        if total < 2:
            raise DataError(f"{base / name}: class '{name}' has one image; at least 2 are needed, 10 or more are advised")
        if own["train"] is None:
            found = split_class(found["train"], f"{seed} {name}")
        elif own["val"] is None:
            parts = split_class(found["train"], f"{seed} {name}")
            rest = parts["train"] + parts["test"] if own["test"] else parts["train"]
            found = {"train": rest, "val": parts["val"], "test": found["test"] if own["test"] else parts["test"]}
        for split, files in found.items():
            splits[split] += [(path, label) for path in files]
    for split in ("val", "test"):
        if own[split]:
            unknown = set(class_folders(own[split])) - set(classes)
            if unknown:
                raise DataError(f"{own[split]}: classes without training images: {', '.join(sorted(unknown))}")
    if not splits["val"]:
        raise DataError(f"{folder}: there is no image to validate on")
    return Data(classes, splits, skipped)
