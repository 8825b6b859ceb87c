"""Features of the frozen pieces of the trunk, computed once per image and variant and kept on disk in half precision."""

import hashlib
import json
import time

import numpy as np
import torch

from .images import variant

BATCH = 32


class Cache:
    """Features of `items` in `variants` variants: arrays (variant, image, ...), one per frozen piece.

    What `model.readable` makes of a piece's features is stored in place of them, for all pieces but the last, if
    training leaves them as they are: 49 tokens are far less than a map.
    """

    def __init__(self, folder, model, items, preprocessing, variants, first, seed, fingerprint, progress):
        self.labels = torch.tensor([label for _, label in items])
        self.variants = variants
        config = model.config
        pooled = not config.with_z2x and not config.with_dwc and config.spatial_reduction
        with torch.no_grad():
            example = features(model, torch.zeros(1, 3, preprocessing.size, preprocessing.size), first, pooled)
        weights = hashlib.sha256()
        for module in model.trunk_modules(0, first - 1):
            for tensor in module.state_dict().values():
                weights.update(tensor.numpy().tobytes())
        key = json.dumps([fingerprint, weights.hexdigest(), repr(preprocessing), seed, first, pooled, len(items)])
        folder = folder / hashlib.sha256(key.encode()).hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
        self.arrays = []
        for k, x in enumerate(example):
            path, shape = folder / f"piece{k}-{variants}.f16", (variants, len(items), *x.shape[1:])
            mode = "r+" if path.exists() else "w+"
            self.arrays.append(np.memmap(path, np.float16, mode, shape=shape))
        done_file = folder / f"done-{variants}"
        done = int(done_file.read_text()) if done_file.exists() else 0
        total, began, start = variants * len(items), time.monotonic(), done
        with torch.no_grad():
            while done < total:
                number, at = divmod(done, len(items))
                batch = items[at : at + BATCH]
                x = torch.stack([variant(path, preprocessing, seed, number) for path, _ in batch])
                made = features(model, x.contiguous(memory_format=torch.channels_last), first, pooled)
                for array, values in zip(self.arrays, made):
                    array[number, at : at + len(batch)] = values.numpy().astype(np.float16)
                done += len(batch)
                beside = done_file.with_suffix(".part")
                beside.write_text(str(done))
                beside.replace(done_file)
                left = (time.monotonic() - began) / (done - start) * (total - done)
                progress(f"features: {done} of {total}, {left / 60:.1f} min left")

    def __len__(self):
        return len(self.labels)

    def batch(self, variants, indices):
        """Features of the images at `indices`, each in its variant."""
        order = [array[variants, indices] for array in self.arrays]
        return [to_tensor(values) for values in order], self.labels[indices]


def to_tensor(values):
    x = torch.from_numpy(values.astype(np.float32))
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def features(model, x, first, pooled):
    """Features behind pieces 0 to `first` - 1; all but the last as `readable` makes them if `pooled`."""
    maps = []
    for k in range(first):
        x = model.piece(k, x)
        maps.append(model.readable(k + 1, x) if pooled and k < first - 1 else x)
    return maps
