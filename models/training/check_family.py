"""Holds the family's networks, as the program runs them, against ONNX Runtime, and their files against the official checker.

    python check_family.py --program ../../target/release/dyn-perceiver [--size 64] [--quick]

For every set of flags of `efficientnet_lite0_perceiver_t64`, and for each other backbone as it is and with all flags at once, the program
builds the network with deterministic weights and runs it on pictures of the input's size (`records collect`). ONNX Runtime
gets the same pictures. Printed are the largest differences of each exit's logits, relative to the length of its logits; more than 1e-4 is
a failure. Needs numpy, onnx, onnxruntime and pillow.
"""

import argparse
import csv
import itertools
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

from check_onnx import TOLERANCE, check, uniform

FLAGS = ("--no-x2z", "--no-z2x", "--no-dwc", "--no-last-ca", "--no-isc", "--no-spatial-reduction")
LITE = "efficientnet_lite0_perceiver_t64"
OTHERS = ("mobilenetV3_0x5_perceiver_t32", "reg400m_perceiver_t32", "resnet50_0375_perceiver_t32")
CLASSES, PICTURES = 10, 2


def variants(quick):
    """Pairs of a network's name and its flags."""
    if quick:
        return [(LITE, ()), (LITE, FLAGS)]
    sets = [flags for count in range(len(FLAGS) + 1) for flags in itertools.combinations(FLAGS, count)]
    return [(LITE, flags) for flags in sets] + [(name, flags) for name in OTHERS for flags in ((), FLAGS)]


def pictures(folder, size):
    """Pictures of deterministic pixels as files, and as rows of the network's input in [0, 1]."""
    rows = []
    for number in range(PICTURES):
        pixels = (256 * uniform(f"picture {number}", 3 * size * size)).astype(np.uint8).reshape(size, size, 3)
        place = folder / str(number)
        place.mkdir(parents=True)
        Image.fromarray(pixels).save(place / "picture.png")
        rows.append(pixels.astype(np.float32).transpose(2, 0, 1) / np.float32(255))
    return np.stack(rows)


def ours(program, model, folder, records):
    """The program's logits of each exit: name to (pictures, classes)."""
    command = [program, "records", "collect", model, "--data", folder, "-o", records]
    command += ["--mean", "0", "--std", "1", "--crop", "1", "--jobs", "1"]
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
    with open(records) as file:
        columns = next(csv.reader(line for line in file if not line.startswith("#")))
    exits = [name.removesuffix(".class") for name in columns if name.endswith(".class")]
    logits = np.fromfile(f"{records}.logits", "<f4").reshape(PICTURES, len(exits), CLASSES)
    return {name: logits[:, place] for place, name in enumerate(exits)}


def compare(program, name, flags, size, folder):
    """Checks one network; returns the largest relative difference of each exit."""
    model = folder / "model.onnx"
    depth = ["--depth-factor", "1,1,1,1", "--classes", str(CLASSES), "--input-size", str(size)]
    command = [program, "models", "build", name, "--seeded", *depth, *flags, "-o", model]
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
    check(str(model))
    data = folder / "pictures"
    images = pictures(data, size)
    found = ours(program, model, data, folder / "records.csv")
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    expected = dict(zip(found, session.run(list(found), {"image": images})))
    apart = lambda a, b: float(np.abs(a - b).max() / np.linalg.norm(b, axis=1).min())
    return {exit: apart(logits, expected[exit]) for exit, logits in found.items()}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--program", type=Path, required=True)
    p.add_argument("--size", type=int, default=64, help="pixels of the square input")
    p.add_argument("--quick", action="store_true", help="only the new backbone, without flags and with all of them")
    args = p.parse_args()
    worst, chosen = 0.0, variants(args.quick)
    for name, flags in chosen:
        with tempfile.TemporaryDirectory() as folder:
            apart = compare(args.program.absolute(), name, flags, args.size, Path(folder))
        worst = max(worst, *apart.values())
        text = "  ".join(f"{exit} {value:.1e}" for exit, value in apart.items())
        print(f"{name} {' '.join(flags)}: {text}", flush=True)
        if not max(apart.values()) < TOLERANCE:
            sys.exit(f"{name} {' '.join(flags)}: further apart than {TOLERANCE}")
    print(f"{len(chosen)} networks, largest difference {worst:.1e}")


if __name__ == "__main__":
    main()
