"""Tests of the training package: `python -m pytest models/training/tests`, where torch is installed."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
Image = pytest.importorskip("PIL.Image")

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from dyn_perceiver_training import folder, images, losses, macs, mixing  # noqa: E402
from dyn_perceiver_training.fit import main  # noqa: E402
from dyn_perceiver_training.model import EXITS, Config, DynPerceiver  # noqa: E402

TINY = ["--arch", "mobilenetV3_0x1_perceiver_t8", "--size", "48", "--depth-factor", "1,1,1,1", "--sa-widening", "1",
        "--variants", "2", "--epochs", "2", "--batch", "4", "--threads", "1"]  # fmt: skip


def picture(path, colour, seed):
    draw = random.Random(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (60, 50), colour)
    for _ in range(200):
        image.putpixel((draw.randrange(60), draw.randrange(50)), tuple(draw.randrange(256) for _ in range(3)))
    image.save(path)


def data(root, count=8):
    for name, colour in (("blue", (20, 30, 200)), ("green", (20, 180, 30)), ("red", (200, 20, 30))):
        for i in range(count):
            picture(root / name / f"{i}.png", colour, i)
    return root


def test_an_own_split_is_taken_and_a_missing_one_is_made(tmp_path):
    found = folder.scan(data(tmp_path / "a"))
    assert found.classes == ["blue", "green", "red"]
    counts = {split: len(items) for split, items in found.splits.items()}
    assert counts == {"train": 18, "val": 3, "test": 3}
    data(tmp_path / "b" / "train"), data(tmp_path / "b" / "val", 2)
    found = folder.scan(tmp_path / "b")
    assert len(found.splits["val"]) == 6
    assert len(found.splits["train"]) + len(found.splits["test"]) == 24


def test_bad_images_are_named_and_skipped(tmp_path):
    root = data(tmp_path / "a")
    (root / "red" / "broken.jpg").write_bytes(b"no image")
    found = folder.scan(root)
    assert [path.name for path, _ in found.skipped] == ["broken.jpg"]


def test_data_that_cannot_be_learned_from_is_refused(tmp_path, capsys):
    cases = []
    one = tmp_path / "one"
    picture(one / "only" / "a.png", (1, 2, 3), 0)
    cases.append((one, "at least 2 classes"))
    empty = data(tmp_path / "empty")
    (empty / "grey").mkdir()
    cases.append((empty, "no image of class 'grey'"))
    single = data(tmp_path / "single")
    picture(single / "grey" / "a.png", (9, 9, 9), 0)
    cases.append((single, "class 'grey' has one image"))
    cases.append((tmp_path / "nowhere", "no such folder"))
    for root, part in cases:
        assert main([str(root), "--out", str(tmp_path / "out"), *TINY]) == 2
        assert part in capsys.readouterr().err


def test_classify_from_cached_features_is_forward():
    torch.manual_seed(0)
    config = Config("efficientnet_lite0", 8, input_size=64, classes=3, with_z2x=False, with_dwc=False)
    model = DynPerceiver(config).eval()
    x = torch.randn(2, 3, 64, 64)
    maps = [x]
    for k in range(5):
        maps.append(model.piece(k, maps[-1]))
    with torch.no_grad():
        whole = model(x)
        for first in range(1, 6):
            inputs = [model.readable(k + 1, maps[k + 1]) for k in range(first - 1)] + [maps[first]]
            for a, b in zip(whole, model.classify(inputs)):
                assert torch.allclose(a, b, atol=1e-5)


def test_every_flag_builds_and_counts():
    torch.manual_seed(0)
    base = dict(latents=8, input_size=64, classes=3, sa_widening=1)
    for backbone in ("efficientnet_lite0", "mobilenetV3_0x1"):
        for flag in ("with_x2z", "with_z2x", "with_dwc", "with_last_ca", "with_isc", "spatial_reduction"):
            model = DynPerceiver(Config(backbone, **base, **{flag: False})).eval()
            counts = macs.macs_per_exit(model)
            assert [counts[exit] for exit in EXITS] == sorted(counts.values())


def test_variants_repeat_and_differ(tmp_path):
    picture(tmp_path / "a.png", (100, 50, 10), 1)
    p = images.Preprocessing(32, (0.5,) * 3, (0.5,) * 3)
    made = [images.variant(tmp_path / "a.png", p, 7, number) for number in (1, 1, 2, 0)]
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])
    assert made[3].shape == (3, 32, 32)


def test_balanced_weights_make_classes_count_alike():
    labels = torch.tensor([0, 0, 0, 1])
    weights = losses.balanced_weights(labels, 2)
    assert weights[labels].mean().item() == pytest.approx(1.0)
    assert (3 * weights[0]).item() == pytest.approx(weights[1].item())


@pytest.mark.parametrize("tune", ["heads", "top", "full"])
def test_training_ends_with_weights_and_a_report(tmp_path, tune, capsys):
    out = tmp_path / "out"
    assert main([str(data(tmp_path / "a")), "--out", str(out), "--tune", tune, *TINY]) == 0
    report = json.loads((out / "report.json").read_text())
    assert set(report["accuracy"]["test"]) == set(EXITS) and report["macs"]["merge"] > report["macs"]["early3"]
    assert (out / "weights.safetensors").exists() and (out / "accuracy.svg").read_text().startswith("<svg")
    assert (out / "labels.txt").read_text() == "blue\ngreen\nred\n"
    assert "early3" in capsys.readouterr().out


def test_a_run_killed_ten_times_ends_as_an_undisturbed_one(tmp_path):
    root = data(tmp_path / "a")
    command = [sys.executable, "-m", "dyn_perceiver_training.fit", str(root), *TINY, "--epochs", "12", "--out"]
    subprocess.run([*command, str(tmp_path / "whole")], cwd=ROOT, check=True, capture_output=True)
    for kill in range(10):
        killed = subprocess.Popen([*command, str(tmp_path / "killed")], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for line in killed.stdout:
            # After a checkpoint, and every other time a little later, in the middle of an epoch.
            if line.startswith("epoch "):
                time.sleep(0.05 * (kill % 2))
                killed.send_signal(signal.SIGKILL)
                break
        assert killed.wait() == -signal.SIGKILL, f"it ended before kill {kill}"
    subprocess.run([*command, str(tmp_path / "killed")], cwd=ROOT, check=True, capture_output=True)
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "killed")]
    assert weights[0] == weights[1]


def test_training_stops_where_validation_gets_no_better(tmp_path, capsys):
    out = tmp_path / "out"
    # At a rate of nothing but the first epoch's warming up, no later epoch is better.
    assert main([str(data(tmp_path / "a")), "--out", str(out), *TINY, "--epochs", "30", "--patience", "2", "--lr", "1e-12",
                 "--ema", "0"]) == 0  # fmt: skip
    epochs = json.loads((out / "report.json").read_text())["epochs"]
    assert epochs < 30
    # The weights are those of the best epoch, the others after it are thrown away.
    best = torch.load(out / "checkpoint.pt", weights_only=True)["best"]
    assert epochs == best["epoch"] + 1 + 2


def test_cutmix_pastes_the_same_part_of_every_map():
    torch.manual_seed(0)
    image, tokens = torch.zeros(4, 3, 28, 28), torch.zeros(4, 49, 5)
    image += torch.arange(4.0)[:, None, None, None]
    tokens += torch.arange(4.0)[:, None, None]
    target = torch.eye(4)
    for seed in range(20):
        (a, b), mixed = mixing.mix([image, tokens], target, 0.0, 1.0, torch.Generator().manual_seed(seed))
        assert mixed.sum(1).allclose(torch.ones(4))
        for i in range(4):
            own, other = mixed[i, i].item(), [k for k in range(4) if k != i and mixed[i, k] > 0]
            # Each pixel is that of one of the two images, in shares that those of the classes are within the rounding of edges.
            assert set(a[i].unique().tolist()) <= {float(i), *map(float, other)}
            assert abs((a[i] == i).float().mean().item() - own) < 0.08
            assert abs((b[i] == i).float().mean().item() - own) < 0.25
    (a,), mixed = mixing.mix([image], target, 0.0, 0.0, torch.Generator())
    assert torch.equal(a, image) and torch.equal(mixed, target)
