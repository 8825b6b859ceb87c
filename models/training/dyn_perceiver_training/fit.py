"""Trains on a folder of images: `python -m dyn_perceiver_training.fit --help`.

The trunk's first pieces stay as they are and their features are kept on disk, so that a step costs only what is learned.
Every random choice follows from the seed and the step's number: a run that was killed goes on as if nothing had been.
"""

import copy
import json
import math
import sys
import time

import torch
from safetensors.torch import save_file
from torch.nn.functional import one_hot

from . import int8, onnx_weights
from .cache import Cache
from .folder import DataError, scan
from .images import variant
from .losses import balanced_weights, total_loss, update_average
from .mixing import mix
from .model import EXITS, DynPerceiver
from .options import TUNED, config_of, parser, preprocessing_of, starting_state
from .report import write_report

WARM_EPOCHS = 1.0
SAVE_SECONDS = 60
# Gradients longer than this are shortened.
LONGEST = 2.0
# Images from which ranges of int8 layers are taken before they are rounded.
OBSERVED = 128


def say(line):
    """The one progress line: rewritten on a terminal, else a line each time something was finished."""
    if sys.stderr.isatty():
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
    elif time.monotonic() - say.last > 30:
        say.last = time.monotonic()
        print(line, file=sys.stderr, flush=True)


say.last = 0.0


class OnTheFly:
    """Images decoded for every batch: what full fine-tuning needs, in the place of `Cache`."""

    def __init__(self, items, preprocessing, variants, seed):
        self.items, self.preprocessing, self.variants, self.seed = items, preprocessing, variants, seed
        self.labels = torch.tensor([label for _, label in items])

    def __len__(self):
        return len(self.items)

    def batch(self, variants, indices):
        pairs = zip(variants.tolist(), indices.tolist())
        x = torch.stack([variant(self.items[i][0], self.preprocessing, self.seed, v) for v, i in pairs])
        return [x.contiguous(memory_format=torch.channels_last)], self.labels[indices]


class Training:
    def __init__(self, args, data):
        self.args, self.data = args, data
        self.config = config_of(args, len(data.classes))
        self.preprocessing = preprocessing_of(args, self.config)
        torch.manual_seed(args.seed)
        self.model = DynPerceiver(self.config, args.dropout).to(memory_format=torch.channels_last)
        is_onnx = not args.from_nothing and args.source is not None and args.source.suffix == ".onnx"
        if is_onnx:
            state = onnx_weights.state_from(args.source, self.model)
        else:
            state = starting_state(args, self.config)
        own = self.model.state_dict()
        fitting = {k: v for k, v in state.items() if k in own and v.shape == own[k].shape}
        if state and len(fitting) < len(own) // 4:
            raise DataError(f"{args.source}: its weights do not fit {self.config.name}")
        self.model.load_state_dict(fitting, strict=False)
        # Whatever is written into features, the pieces behind the first writing are not frozen maps any more.
        first = TUNED[args.tune]
        self.first = min(first, 2) if self.config.with_z2x else first
        for module in self.model.trunk_modules(0):
            for parameter in module.parameters():
                parameter.requires_grad_(False)
        self.trained = self.model.trunk_modules(first) if first < 5 else []
        for module in self.trained:
            for parameter in module.parameters():
                parameter.requires_grad_(True)
        # Normalisations that are folded have no statistics to renew; those of int8 layers stay as the program will fold them.
        self.norms_stay = args.int8 or is_onnx
        if args.int8:
            int8.attach(self.model)
        self.average = copy.deepcopy(self.model)
        int8.share(self.model, self.average)
        self.optimizer = self.make_optimizer()
        self.step = self.seconds = 0
        self.best = {"loss": math.inf, "epoch": -1, "state": None}

    def make_optimizer(self):
        args = self.args
        in_trunk = {id(p) for m in self.model.trunk_modules(0) for p in m.parameters()}
        groups = []
        for trunk in (False, True):
            for decay in (True, False):
                chosen = [p for p in self.model.parameters()
                          if p.requires_grad and (id(p) in in_trunk) == trunk and (p.ndim > 1) == decay]  # fmt: skip
                rate = args.lr * (args.trunk_lr if trunk else 1.0)
                groups.append({"params": chosen, "weight_decay": args.weight_decay if decay else 0.0, "base": rate})
        return torch.optim.AdamW([g for g in groups if g["params"]], args.lr)

    def prepare(self):
        """Features of all splits, or the images themselves."""
        args = self.args
        if args.int8:
            self.observe()
        rounded = f" int8 {int8.fingerprint(self.model)}" if args.int8 else ""
        kinds = {"train": 1 + args.variants, "val": 1, "test": 1}
        self.sources = {}
        for split, variants in kinds.items():
            items = self.data.splits[split]
            if not items:
                continue
            if self.first == 0:
                self.sources[split] = OnTheFly(items, self.preprocessing, variants, args.seed)
            else:
                self.model.eval()
                self.sources[split] = Cache(
                    args.out / "features", self.model, items, self.preprocessing, variants, self.first, args.seed,
                    f"{split} {self.data.fingerprint()}{rounded}", lambda line, split=split: say(f"{split} {line}"),
                )  # fmt: skip

    @torch.no_grad()
    def observe(self):
        """Takes ranges from some images of all classes, in float; from then on layers are rounded."""
        items = self.data.splits["train"]
        items = items[:: -(-len(items) // OBSERVED)]
        self.model.eval()
        int8.set_state(self.model, observing=True, rounding=False)
        for at in range(0, len(items), 16):
            x = torch.stack([variant(path, self.preprocessing, self.args.seed, 0) for path, _ in items[at : at + 16]])
            self.model(x.contiguous(memory_format=torch.channels_last))
        int8.set_state(self.model, observing=False, rounding=True)

    def logits(self, model, inputs):
        return model.classify(inputs) if self.first else model(inputs[0])

    @torch.no_grad()
    def evaluate(self, model, split):
        """Logits of all exits (exits, images, classes) and the classes."""
        source = self.sources[split]
        model.eval()
        int8.set_state(model, observing=False, rounding=True)
        rows = []
        for at in torch.arange(len(source)).split(64):
            inputs, _ = source.batch(torch.zeros_like(at), at)
            rows.append(torch.stack(self.logits(model, inputs)))
        return torch.cat(rows, 1), source.labels

    def resume(self):
        path = self.args.out / "checkpoint.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        same = state["config"] == json.dumps(self.config.to_json()) and state["data"] == self.data.fingerprint()
        # Checkpoints without int8 have no ranges.
        ranges = state.get("ranges", [])
        if not same or len(ranges) != len(int8.roundings(self.model)):
            raise DataError(f"{path}: belongs to another network or other data; give another --out or remove it")
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["model_ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        int8.set_ranges(self.model, ranges)
        self.step, self.seconds, self.best = state["step"], state["seconds"], state["best"]

    def save(self):
        state = {
            "model": self.model.state_dict(), "model_ema": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(), "step": self.step, "seconds": self.seconds, "best": self.best,
            "config": json.dumps(self.config.to_json()), "data": self.data.fingerprint(),
            "ranges": int8.ranges(self.model),
        }  # fmt: skip
        save_atomically(self.args.out / "checkpoint.pt", lambda path: torch.save(state, path))

    def take_step(self, order, per_epoch, total):
        args, step = self.args, self.step
        generator = torch.Generator().manual_seed(args.seed * 1_000_003 + step)
        # Dropout draws from the global generator.
        torch.manual_seed(args.seed * 1_000_003 + step)
        indices = order[step % per_epoch * args.batch :][: args.batch]
        source = self.sources["train"]
        variants = torch.randint(0, source.variants, (len(indices),), generator=generator)
        inputs, labels = source.batch(variants, indices)
        target = one_hot(labels, len(self.data.classes)).float()
        inputs, target = mix(inputs, target, args.mixup, args.cutmix, generator)
        warm = WARM_EPOCHS * per_epoch
        rate = (step + 1) / warm if step < warm else 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))
        for group in self.optimizer.param_groups:
            group["lr"] = group["base"] * max(rate, 1e-3)
        self.model.train()
        for module in self.model.trunk_modules(0):
            # A few thousand images do not renew statistics that came from a million.
            for part in module.modules():
                if isinstance(part, torch.nn.BatchNorm2d):
                    part.eval()
        if self.norms_stay:
            int8.freeze_norms(self.model)
        # Ranges follow the weights for an epoch, and stay then, so that the weights can settle to them.
        int8.set_state(self.model, observing=step < per_epoch, rounding=True)
        loss = total_loss(self.logits(self.model, inputs), target, args.smoothing, args.distillation, self.class_weights)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), LONGEST)
        self.optimizer.step()
        self.step += 1
        update_average(self.average, self.model, min(args.ema, (1 + self.step) / (10 + self.step)))
        return loss.item()

    def run(self):
        args = self.args
        self.prepare()
        self.resume()
        source = self.sources["train"]
        batch = min(args.batch, len(source))
        args.batch = batch
        per_epoch = max(1, len(source) // batch)
        self.class_weights = balanced_weights(source.labels, len(self.data.classes)) if args.balanced else None
        epochs = args.epochs
        began, start_step, saved = time.monotonic(), self.step, time.monotonic()
        if args.minutes:
            epochs = self.epochs_in(args.minutes, per_epoch)
        total = epochs * per_epoch
        running = []
        while self.step < total and not self.stale(per_epoch):
            epoch = self.step // per_epoch
            generator = torch.Generator().manual_seed(args.seed * 1_000_003 - 1 - epoch)
            order = torch.randperm(len(source), generator=generator)
            running.append(self.take_step(order, per_epoch, total))
            spent = time.monotonic() - began
            left = spent / (self.step - start_step) * (total - self.step)
            say(f"epoch {epoch + 1} of {epochs}, loss {running[-1]:.3f}, {left / 60:.1f} min left")
            if self.step % per_epoch == 0:
                self.end_of_epoch(epoch, epochs, sum(running) / len(running))
                running = []
                self.seconds += time.monotonic() - saved
                saved = time.monotonic()
                self.save()
            elif time.monotonic() - saved > SAVE_SECONDS:
                self.seconds += time.monotonic() - saved
                saved = time.monotonic()
                self.save()
        if self.best["state"]:
            self.average.load_state_dict(self.best["state"])
        self.finish(self.step // per_epoch)

    def epochs_in(self, minutes, per_epoch):
        """How many epochs fit, from the time of some steps of a copy; kept, so that a run that goes on has the same."""
        path = self.args.out / "epochs"
        if path.exists():
            return int(path.read_text())
        model, average, optimizer = self.model, self.average, self.optimizer
        self.model, self.average = copy.deepcopy(model), copy.deepcopy(average)
        self.optimizer = self.make_optimizer()
        order, steps = torch.arange(len(self.sources["train"])), 6
        self.take_step(order, per_epoch, per_epoch)
        began = time.monotonic()
        for _ in range(steps):
            self.take_step(order, per_epoch, per_epoch)
        each = (time.monotonic() - began) / steps * per_epoch
        self.model, self.average, self.optimizer, self.step = model, average, optimizer, 0
        epochs = max(2, min(self.args.epochs, int(minutes * 60 / each)))
        path.write_text(str(epochs))
        return epochs

    def end_of_epoch(self, epoch, epochs, loss):
        logits, labels = self.evaluate(self.average, "val")
        target = one_hot(labels, len(self.data.classes)).float()
        val_loss = total_loss(list(logits), target, 0.0, 0.0).item()
        right = (logits.argmax(2) == labels).float().mean(1)
        shown = " ".join(f"{name} {100 * a:.1f}" for name, a in zip(EXITS, right.tolist()))
        spent = (self.seconds + 0.0) / 60
        print(f"epoch {epoch + 1} of {epochs}, loss {loss:.3f}, val loss {val_loss:.3f}, val {shown}, {spent:.0f} min", flush=True)
        if val_loss < self.best["loss"]:
            state = {k: v.clone() for k, v in self.average.state_dict().items()}
            self.best = {"loss": val_loss, "epoch": epoch, "state": state}

    def stale(self, per_epoch):
        """Whether so many epochs in a row were no better; a run that goes on from its last checkpoint knows it, too."""
        return self.step // per_epoch - 1 - self.best["epoch"] >= self.args.patience

    def finish(self, epochs):
        out = self.args.out
        weights = {k: v.contiguous() for k, v in self.average.state_dict().items()}
        save_atomically(out / "weights.safetensors", lambda path: save_file(weights, path))
        (out / "labels.txt").write_text("".join(f"{name}\n" for name in self.data.classes))
        splits = {split: [[str(path.absolute()), label] for path, label in items] for split, items in self.data.splits.items()}
        (out / "splits.json").write_text(json.dumps(splits) + "\n")
        scores = {split: self.evaluate(self.average, split) for split in ("val", "test") if split in self.sources}
        write_report(self, scores, epochs)


def save_atomically(path, write):
    beside = path.with_suffix(path.suffix + ".part")
    write(beside)
    beside.replace(path)


def main(arguments=None):
    args = parser().parse_args(arguments)
    if args.threads:
        torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    try:
        data = scan(args.data, args.seed)
        for path, reason in data.skipped:
            print(f"skipped {path}: {reason}", file=sys.stderr)
        counts = ", ".join(f"{len(items)} {split}" for split, items in data.splits.items())
        print(f"{len(data.classes)} classes, images: {counts}", flush=True)
        Training(args, data).run()
    except (DataError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
