"""Packs photos of a class folder into one file for the program: `python -m dyn_perceiver_training.frames FOLDER -o frames.zip`.

A zip file without compression, the classes' folders in it; the same photos always give the same bytes.
"""

import argparse
import zipfile
from pathlib import Path

from .folder import images_in


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder", type=Path, help="a folder per class")
    p.add_argument("-o", "--output", type=Path, required=True)
    p.add_argument("--every", type=int, default=4, help="take every so many photos, over all classes in turn")
    args = p.parse_args()
    photos = [path for folder in sorted(args.folder.iterdir()) if folder.is_dir() for path in images_in(folder)]
    # Stepping over all classes in one go keeps their shares.
    chosen = photos[:: args.every]
    # Turn by turn, so that the camera does not see one class after another.
    chosen.sort(key=lambda path: path.name)
    beside = args.output.with_suffix(".part")
    with zipfile.ZipFile(beside, "w", zipfile.ZIP_STORED) as archive:
        for path in chosen:
            entry = zipfile.ZipInfo(f"{path.parent.name}/{path.name}", (1980, 1, 1, 0, 0, 0))
            archive.writestr(entry, path.read_bytes())
    beside.replace(args.output)
    print(f"{len(chosen)} of {len(photos)} photos, {args.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
