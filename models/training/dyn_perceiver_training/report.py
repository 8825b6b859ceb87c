"""What training ends with: a table of accuracy and MACs per exit, `report.json`, and a plot."""

import json
import math

import torch

from .losses import EXIT_WEIGHTS  # noqa: F401 - the order of exits is theirs
from .macs import macs_per_exit
from .model import EXITS


def write_report(training, scores, epochs):
    """Prints the table and writes `report.json` and `accuracy.svg` beside the weights."""
    macs = macs_per_exit(training.average)
    accuracy, images = {}, {}
    for split, (logits, labels) in scores.items():
        images[split] = len(labels)
        accuracy[split] = dict(zip(EXITS, (logits.argmax(2) == labels).float().mean(1).tolist()))
    split = "test" if "test" in scores else "val"
    print(f"\n{'exit':8} {'MACs':>12} {'share':>7} {split + ' accuracy':>15} {'standard error':>15}")
    for name in EXITS:
        a = accuracy[split][name]
        error = math.sqrt(a * (1 - a) / images[split])
        share = macs[name] / macs[EXITS[-1]]
        print(f"{name:8} {macs[name]:12} {100 * share:6.1f}% {100 * a:14.2f}% {100 * error:14.2f}%")
    args = training.args
    hidden = ("out", "data", "threads", "source")
    report = {
        "arch": training.config.name, "config": training.config.to_json(), "classes": training.data.classes,
        "images": {s: len(i) for s, i in training.data.splits.items()}, "skipped": len(training.data.skipped),
        "epochs": epochs, "best_epoch": training.best["epoch"] + 1, "seconds": round(training.seconds),
        "torch": torch.__version__, "macs": macs, "accuracy": accuracy,
        "preprocessing": {
            "mean": list(training.preprocessing.mean), "std": list(training.preprocessing.std),
            "crop": training.preprocessing.crop, "interpolation": training.preprocessing.interpolation,
        },
        "arguments": {k: v for k, v in vars(args).items() if k not in hidden},
    }  # fmt: skip
    (args.out / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    (args.out / "accuracy.svg").write_text(plot(macs, accuracy))


def plot(macs, accuracy, width=520, height=320):
    """Accuracy over MACs, one line a split, as SVG."""
    left, right, top, bottom = 60, 20, 20, 50
    values = [a for row in accuracy.values() for a in row.values()]
    low, high = math.floor(20 * min(values)) / 20, min(1.0, math.ceil(20 * max(values)) / 20)
    high = max(high, low + 0.05)
    most = max(macs.values())

    def place(name, a):
        x = left + (width - left - right) * macs[name] / most
        return x, top + (height - top - bottom) * (1 - (a - low) / (high - low))

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="12">']
    parts.append(f'<rect width="{width}" height="{height}" fill="white"/>')
    for i in range(5):
        a = low + (high - low) * i / 4
        y = place(EXITS[0], a)[1]
        parts.append(f'<path d="M{left} {y:.1f}H{width - right}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{100 * a:.1f} %</text>')
    for (split, row), colour in zip(accuracy.items(), ("#1f77b4", "#d62728")):
        points = [place(name, row[name]) for name in EXITS]
        line = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        parts.append(f'<path d="M{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for name, (x, y) in zip(EXITS, points):
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"><title>{name} {split}</title></circle>')
        x, y = points[0]
        parts.append(f'<text x="{x + 8:.1f}" y="{y + 14:.1f}" fill="{colour}">{split}</text>')
    for name in EXITS:
        x = place(name, low)[0]
        parts.append(f'<text x="{x:.1f}" y="{height - 30}" text-anchor="middle">{name}</text>')
    parts.append(f'<text x="{width / 2}" y="{height - 8}" text-anchor="middle">MACs, of {most / 1e6:.0f} million</text></svg>')
    return "".join(parts) + "\n"
