"""The options of training and what follows from them."""

import argparse
from pathlib import Path

from .backbones import efficientnet_lite
from .images import Preprocessing, of_backbone
from .model import Config

# The first piece of the trunk that is trained: 5 is none of them, 0 all.
TUNED = {"heads": 5, "top": 3, "full": 0}


def numbers(text):
    return tuple(int(n) for n in text.split(","))


def parser():
    p = argparse.ArgumentParser(
        prog="python -m dyn_perceiver_training.fit",
        description="Trains a Dyn-Perceiver on a folder of images: one folder a class, with or without own train, val, test.",
    )
    p.add_argument("data", type=Path, help="the folder")
    p.add_argument("--out", type=Path, required=True, help="folder for checkpoint, weights, features and report")
    p.add_argument("--arch", default="efficientnet_lite0_perceiver_t64", help="<backbone>_perceiver_t<latents>")
    p.add_argument("--size", type=int, default=168, help="side of the input image in pixels")
    p.add_argument("--depth-factor", type=numbers, default=(1, 1, 1, 3), help="four factors of self-attention depth")
    p.add_argument("--sa-widening", type=int, default=2)
    for flag in ("x2z", "z2x", "dwc", "last-ca", "isc"):
        p.add_argument(f"--with-{flag}", action=argparse.BooleanOptionalAction, default=flag not in ("z2x", "dwc"))
    p.add_argument("--from", dest="source", type=Path, help="weights to begin with (.pth, .safetensors, or .onnx of this program); "
                   "EfficientNet-Lite0 begins with ImageNet's by itself")  # fmt: skip
    p.add_argument("--from-nothing", action="store_true", help="begin with random weights")
    p.add_argument("--tune", choices=sorted(TUNED), default="top",
                   help="heads: the trunk stays as it is; top: its stages 3 and 4 are trained; full: all of it")  # fmt: skip
    p.add_argument("--int8", action="store_true",
                   help="round layers as `dyn-perceiver quantize` does, to go on with a network that was trained (--from)")  # fmt: skip
    p.add_argument("--variants", type=int, default=8, help="augmented variants of an image whose features are kept")
    p.add_argument("--epochs", type=int, default=24)
    p.add_argument("--minutes", type=float, help="as many epochs as fit into this time, at most --epochs")
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--lr", type=float, default=1e-3, help="of the latent branch and the classifiers")
    p.add_argument("--trunk-lr", type=float, default=0.2, help="rate of the trunk's stages as a share of --lr")
    p.add_argument("--weight-decay", type=float, default=0.05)
    p.add_argument("--smoothing", type=float, default=0.1, help="label smoothing")
    p.add_argument("--distillation", type=float, default=0.5, help="share of the last exit's teaching in the loss")
    p.add_argument("--mixup", type=float, default=0.2, help="alpha of mixing two images; 0 for none")
    p.add_argument("--cutmix", type=float, default=0.0, help="alpha of pasting a part of another image; 0 for none")
    p.add_argument("--balanced", action="store_true", help="every class counts alike, however many images it has")
    p.add_argument("--dropout", type=float, default=0.2)
    p.add_argument("--ema", type=float, default=0.995, help="decay of the averaged weights, per step")
    p.add_argument("--patience", type=int, default=8, help="stop after so many epochs without a better val loss")
    p.add_argument("--crop", type=float, default=0.875, help="share of the shorter side that is seen when testing")
    p.add_argument("--seed", type=int, default=20231)
    p.add_argument("--threads", type=int, default=0)
    return p


def config_of(args, classes):
    return Config.from_name(
        args.arch, depth_factor=tuple(args.depth_factor), sa_widening=args.sa_widening, input_size=args.size,
        classes=classes, with_x2z=args.with_x2z, with_z2x=args.with_z2x, with_dwc=args.with_dwc,
        with_last_ca=args.with_last_ca, with_isc=args.with_isc,
    )  # fmt: skip


def preprocessing_of(args, config):
    mean, std = of_backbone(config.backbone)
    return Preprocessing(args.size, mean, std, args.crop)


def starting_state(args, config):
    """Weights to begin with, by key; empty for random ones."""
    if args.from_nothing:
        return {}
    if args.source is None:
        return efficientnet_lite.pretrained() if config.backbone in efficientnet_lite.KNOWN else {}
    if args.source.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(args.source)
    import torch

    state = torch.load(args.source, map_location="cpu", weights_only=True)
    state = state.get("model_ema") or state.get("model") or state.get("state_dict") or state
    return efficientnet_lite.pretrained_state(state) if "_conv_stem.weight" in state else state
