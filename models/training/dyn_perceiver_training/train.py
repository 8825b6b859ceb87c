"""Trains Dyn-Perceiver on Fashion-MNIST: `python -m dyn_perceiver_training.train --help`.

The recipe is the paper's: cross-entropy at every exit (1.0 for cnn and merge, 0.5 for early3 and att), the exits before
the last also taught by the last exit's probabilities (weight 0.5), and an exponential moving average of the weights.
"""

import argparse
import json
import math
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

from .data import augment, load, preprocess
from .model import EXITS, Config, DynPerceiver

EXIT_WEIGHTS = {"early3": 0.5, "att": 0.5, "cnn": 1.0, "merge": 1.0}
DISTILLATION = 0.5


def loss_of(logits, target, smoothing):
    teacher = softmax(logits[-1].detach(), 1)
    total = 0.0
    for name, y in zip(EXITS, logits):
        loss = cross_entropy(y, target, label_smoothing=smoothing)
        if name != EXITS[-1]:
            taught = kl_div(log_softmax(y, 1), teacher, reduction="batchmean")
            loss = (1 - DISTILLATION) * loss + DISTILLATION * taught
        total = total + EXIT_WEIGHTS[name] * loss
    return total


@torch.no_grad()
def update_average(average, model, decay):
    pairs = list(zip(average.state_dict().values(), model.state_dict().values()))
    floats = [pair for pair in pairs if pair[0].dtype.is_floating_point]
    torch._foreach_lerp_([a for a, _ in floats], [b for _, b in floats], 1 - decay)
    for a, b in pairs:
        if not a.dtype.is_floating_point:
            a.copy_(b)


@torch.no_grad()
def accuracy(model, images, labels, size, batch=500):
    model.eval()
    right = [0] * len(EXITS)
    for x, y in zip(images.split(batch), labels.split(batch)):
        for k, logits in enumerate(model(preprocess(x, size).contiguous(memory_format=torch.channels_last))):
            right[k] += (logits.argmax(1) == y).sum().item()
    return {name: r / len(labels) for name, r in zip(EXITS, right)}


def save_atomically(path, write):
    beside = path.with_suffix(path.suffix + ".part")
    write(beside)
    beside.replace(path)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", default="/usr/share/datasets/fashion-mnist", help="folder with the four IDX files")
    p.add_argument("--out", type=Path, required=True, help="folder for checkpoint, weights and log")
    p.add_argument("--width", type=float, default=0.3)
    p.add_argument("--latents", type=int, default=16)
    p.add_argument("--depth-factor", type=lambda s: tuple(int(d) for d in s.split(",")), default=(1, 1, 1, 1))
    p.add_argument("--sa-widening", type=int, default=2)
    p.add_argument("--size", type=int, default=56, help="side of the input image")
    p.add_argument("--epochs", type=int, default=30)
    p.add_argument("--batch", type=int, default=128)
    p.add_argument("--lr", type=float, default=2e-3)
    p.add_argument("--weight-decay", type=float, default=0.05)
    p.add_argument("--smoothing", type=float, default=0.05)
    p.add_argument("--dropout", type=float, default=0.1)
    p.add_argument("--ema", type=float, default=0.9995)
    p.add_argument("--seed", type=int, default=20231)
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--compile", action="store_true", help="torch.compile: twice as fast, after some minutes")
    p.add_argument("--steps", type=int, default=0, help="stop after so many steps (for timing)")
    args = p.parse_args()

    torch.manual_seed(args.seed)
    if args.threads:
        torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    data = load(args.data)
    images, labels = data["train"]

    def build():
        config = Config(
            f"mobilenetV3_{args.width:g}".replace(".", "x"), args.latents, args.depth_factor, args.sa_widening, args.size, 10
        )
        return DynPerceiver(config, args.dropout)

    model = build().to(memory_format=torch.channels_last)
    compiled = torch.compile(model) if args.compile else model
    average = build().to(memory_format=torch.channels_last)
    average.load_state_dict(model.state_dict())
    decayed = [w for w in model.parameters() if w.ndim > 1]
    plain = [w for w in model.parameters() if w.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": args.weight_decay}, {"params": plain, "weight_decay": 0.0}], args.lr
    )
    steps_per_epoch = len(images) // args.batch
    total = args.epochs * steps_per_epoch
    warm = 2 * steps_per_epoch

    def rate(step):
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm))) + 1e-3

    checkpoint = args.out / "checkpoint.pt"
    start, seconds = 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["model_ema"])
        optimizer.load_state_dict(state["optimizer"])
        start, seconds = state["epoch"], state["seconds"]
    print(f"{sum(w.numel() for w in model.parameters())} parameters, {total} steps, from epoch {start}", flush=True)

    step = start * steps_per_epoch
    for epoch in range(start, args.epochs):
        began = time.monotonic()
        generator = torch.Generator().manual_seed(args.seed * 1000 + epoch)
        order = torch.randperm(len(images), generator=generator)[: steps_per_epoch * args.batch]
        model.train()
        running = 0.0
        for pick in order.split(args.batch):
            for group in optimizer.param_groups:
                group["lr"] = args.lr * rate(step)
            x = preprocess(augment(images[pick], generator), args.size).contiguous(memory_format=torch.channels_last)
            loss = loss_of(compiled(x), labels[pick], args.smoothing)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            step += 1
            update_average(average, model, min(args.ema, (1 + step) / (10 + step)))
            running += loss.item()
            if step == args.steps:
                print(f"{step} steps in {time.monotonic() - began:.1f} s, loss {running / step:.3f}")
                return
        seconds += time.monotonic() - began
        scores = accuracy(average, *data["calibration"], args.size)
        shown = " ".join(f"{k} {100 * v:.2f}" for k, v in scores.items())
        print(f"epoch {epoch + 1} {seconds:.0f} s loss {running / steps_per_epoch:.3f} held-out: {shown}", flush=True)
        state = {
            "model": model.state_dict(), "model_ema": average.state_dict(), "optimizer": optimizer.state_dict(),
            "epoch": epoch + 1, "seconds": seconds,
        }  # fmt: skip
        save_atomically(checkpoint, lambda path: torch.save(state, path))

    weights = {k: v.contiguous() for k, v in average.state_dict().items()}
    save_atomically(args.out / "weights.safetensors", lambda path: save_file(weights, path))
    report = {"seed": args.seed, "epochs": args.epochs, "seconds": round(seconds), "torch": torch.__version__}
    report["arguments"] = {k: str(v) for k, v in vars(args).items() if k not in ("out", "data", "threads", "steps", "compile")}
    (args.out / "training.json").write_text(json.dumps(report, indent=2) + "\n")
    print("test:", accuracy(average, *data["test"], args.size))


if __name__ == "__main__":
    main()
