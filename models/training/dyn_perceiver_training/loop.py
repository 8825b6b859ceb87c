"""Training by steps on pictures that a generator makes: what detectors and networks of videos have in common.

The rate rises, stays, and falls to nothing over the last third of the steps. So a run may be told to take fewer or more
steps while its rate still stays, and ends as if it had been told so from the beginning.
"""

import json
import os
import time

import numpy as np
import torch
from safetensors.torch import save_file

from .losses import update_average

WARM = 200
FALLING = 1 / 3
KEPT_EVERY = 100
# Of the statistics of batch normalisations: these runs are short.
MOMENTUM = 0.05


def options(p, steps, batch):
    """The options that every training by steps has."""
    p.add_argument("--steps", type=int, default=steps)
    p.add_argument("--batch", type=int, default=batch)
    p.add_argument("--lr", type=float, default=2e-3)
    p.add_argument("--weight-decay", type=float, default=0.02)
    p.add_argument("--ema", type=float, default=0.995, help="decay of the averaged weights, per step")
    p.add_argument("--seed", type=int, default=20231)
    p.add_argument("--threads", type=int, default=1)


def rate(step, steps):
    """The share of the rate at a step."""
    left = (steps - step) / max(1.0, FALLING * steps)
    return min((step + 1) / WARM, 1.0, max(left, 0.0))


def kept(path, count, shapes, make):
    """Arrays (count, *shape) of what `make(number)` gives, by name; they are made once and lie in files beside `path`."""
    names = {name: path.with_name(f"{path.name}-{name}.npy") for name in shapes}
    mark = path.with_name(f"{path.name}-{count}.made")
    if not mark.exists():
        arrays = {
            name: np.lib.format.open_memmap(names[name], "w+", dtype, (count, *shape))
            for name, (shape, dtype) in shapes.items()
        }
        for number in range(count):
            for name, value in make(number).items():
                arrays[name][number] = value
        for array in arrays.values():
            array.flush()
        mark.touch()
    return {name: np.load(file, mmap_mode="r") for name, file in names.items()}


def write_atomically(path, write):
    beside = path.with_name(path.name + ".part")
    write(beside)
    os.replace(beside, path)


def train(build, loss_of, judge, args, share=lambda name: 1.0):
    """Trains what `build` makes; `loss_of(model, rng)` is the loss of a batch, `judge(average)` says how it does.

    `share` gives the part of the rate that the parameter of a name learns at; at 0 it stays as it is. Leaves `weights.safetensors` (averaged) and `training.json` in `args.out`, and goes on from `checkpoint.pt` there.
    """
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    model, average = build(), build()
    average.load_state_dict(model.state_dict())
    average.eval()
    for module in model.modules():
        if isinstance(module, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)):
            module.momentum = MOMENTUM
    groups = groups_of(model, args, share)
    optimizer = torch.optim.AdamW(groups, args.lr)
    checkpoint = args.out / "checkpoint.pt"
    step, seconds = 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        step, seconds = state["step"], state["seconds"]
    parameters = sum(w.numel() for w in model.parameters())
    print(f"{parameters} parameters, {args.steps} steps from {step}", flush=True)
    began, running = time.process_time() - seconds, []
    while step < args.steps:
        model.train()
        # Whatever a step draws depends on its number alone, so that a run that was interrupted ends as one that was not.
        torch.manual_seed(args.seed * 1_000_003 + step)
        loss = loss_of(model, np.random.default_rng([args.seed, step]))
        for group in optimizer.param_groups:
            group["lr"] = args.lr * group["share"] * rate(step, args.steps)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        step += 1
        update_average(average, model, min(args.ema, (1 + step) / (10 + step)))
        running.append(loss.item())
        if step % KEPT_EVERY == 0 or step == args.steps:
            seconds = time.process_time() - began
            state = {"model": model.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict()}
            state.update(step=step, seconds=seconds)
            write_atomically(checkpoint, lambda path: torch.save(state, path))
            write_weights(average, args, step, seconds)
            with torch.no_grad():
                shown = " ".join(f"{name} {value:.3f}" for name, value in judge(average).items())
            print(f"step {step} {seconds:.0f} s loss {np.mean(running):.4f} {shown}", flush=True)
            running = []
    return average


def groups_of(model, args, share):
    """Parameters by their part of the rate; only matrices and kernels decay."""
    by_kind = {}
    for name, weights in model.named_parameters():
        part = share(name)
        weights.requires_grad_(part > 0)
        if part > 0:
            by_kind.setdefault((weights.ndim > 1, part), []).append(weights)
    return [
        {"params": params, "weight_decay": args.weight_decay if decayed else 0.0, "share": part}
        for (decayed, part), params in sorted(by_kind.items(), key=lambda kind: kind[0], reverse=True)
    ]


def write_weights(average, args, step, seconds):
    # What only training needs is not of the network.
    network = getattr(average, "network", average)
    weights = {key: value.contiguous() for key, value in network.state_dict().items()}
    write_atomically(args.out / "weights.safetensors", lambda path: save_file(weights, path))
    report = {"steps": step, "cpu_seconds": round(seconds), "torch": torch.__version__}
    report["arguments"] = {k: str(v) for k, v in vars(args).items() if k not in ("out", "data", "threads", "kept")}
    write_atomically(args.out / "training.json", lambda path: path.write_text(json.dumps(report, indent=2) + "\n"))
