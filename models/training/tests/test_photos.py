"""Tests of training on photos with labels in COCO's format: `python -m pytest models/training/tests`."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
Image = pytest.importorskip("PIL.Image")

sys.path.insert(0, str(Path(__file__).parent.parent))

from dyn_perceiver_training import fit_boxes, loop, photos  # noqa: E402
from dyn_perceiver_training.folder import DataError  # noqa: E402

WIDTH, HEIGHT = 120, 90
RED = (200, 20, 20)
BOX = (30, 20, 40, 30)


@pytest.fixture
def folder(tmp_path):
    """Photos with a red rectangle on blue; the last has none."""
    data = tmp_path / "data"
    (data / "train").mkdir(parents=True)
    images, annotations = [], []
    for number in range(10):
        picture = np.full((HEIGHT, WIDTH, 3), (20, 20, 120), np.uint8)
        x, y, w, h = BOX
        if number < 9:
            picture[y : y + h, x : x + w] = RED
            annotations.append({"id": number, "image_id": number, "category_id": 7 if number % 2 else 3, "bbox": list(BOX)})
        Image.fromarray(picture).save(data / "train" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": WIDTH, "height": HEIGHT})
    annotations.append({"id": 99, "image_id": 9, "category_id": 3, "bbox": [0, 0, 9, 9], "iscrowd": 1})
    categories = [{"id": 7, "name": "odd"}, {"id": 3, "name": "even"}]
    labels = {"images": images, "annotations": annotations, "categories": categories}
    (data / "train.json").write_text(json.dumps(labels))
    return data


def red(pixels):
    """Corners of what is red in a picture."""
    pixels = np.asarray(pixels, np.float32)
    mask = (pixels[..., 0] > 2 * pixels[..., 2]) & (pixels[..., 0] > 60)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return None if not len(rows) else (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)


def test_labels_are_read_in_the_order_of_categories_and_crowds_are_no_objects(folder):
    classes, found = photos.read(folder / "train", folder / "train.json")
    assert classes == ["even", "odd"]
    assert [photo.labels.tolist() for photo in found[:2]] == [[0], [1]]
    assert found[0].boxes.tolist() == [[30, 20, 70, 50]] and found[9].boxes.shape == (0, 4)


def test_a_part_of_train_is_put_aside_by_the_seed(folder):
    one, again, other = (photos.scan(folder, seed, 0.3) for seed in (1, 1, 2))
    names = [[photo.path.name for photo in data.splits["val"]] for data in (one, again, other)]
    assert names[0] == names[1] != names[2] and len(names[0]) == 3
    train = {photo.path.name for photo in one.splits["train"]}
    assert not train & set(names[0]) and len(train) == 7


def test_damaged_labels_and_missing_photos_are_named(folder):
    (folder / "train" / "4.png").unlink()
    with pytest.raises(DataError, match="4.png"):
        photos.scan(folder, 1)
    (folder / "train.json").write_text('{"images": 3}')
    with pytest.raises(DataError, match="train.json"):
        photos.scan(folder, 1)
    assert fit_boxes.main([str(folder), "--out", str(folder / "out")]) == 2


def test_a_judged_photo_is_whole_and_in_the_middle(folder):
    photo = photos.scan(folder, 1).splits["train"][0]
    pixels, boxes, labels = photos.judged(photo, 96, 96)
    assert pixels.shape == (96, 96, 3) and np.allclose(boxes, [[24, 28, 56, 52]]) and len(labels) == 1
    assert np.abs(np.array(red(pixels)) - boxes[0]).max() <= 1
    assert (pixels[:11] == photos.GROUND).all() and (pixels[-11:] == photos.GROUND).all()


def test_boxes_go_where_their_objects_go(folder):
    photo = photos.scan(folder, 1).splits["train"][0]
    empty = changed = 0
    for number in range(80):
        rng = np.random.default_rng(number)
        pixels, boxes, _ = photos.varied(photo, 96, 128, rng, 0.3, True, 4)
        again = photos.varied(photo, 96, 128, np.random.default_rng(number), 0.3, True, 4)
        assert np.array_equal(pixels, again[0]) and np.array_equal(boxes, again[1])
        assert pixels.shape == (96, 128, 3) and pixels.dtype == np.float32
        if len(boxes):
            assert np.abs(np.array(red(pixels)) - boxes[0]).max() <= 2, number
            changed += not np.allclose(boxes[0], photos.judged(photo, 96, 128)[1], atol=2)
        else:
            assert red(pixels) is None, number
            empty += 1
    assert 5 < empty < 60 and changed > 20


def test_quarter_turns_bring_boxes_with_them():
    boxes = np.float32([[30, 20, 70, 50]])
    picture = np.full((HEIGHT, WIDTH, 3), (20, 20, 120), np.uint8)
    picture[20:50, 30:70] = RED
    for quarters in range(4):
        made = Image.fromarray(picture).rotate(90 * quarters, expand=True)
        assert red(made) == tuple(photos.turned(boxes, (WIDTH, HEIGHT), quarters)[0])


def test_what_is_left_of_an_object_is_hidden_but_not_its_neighbour():
    canvas = Image.new("RGB", (40, 40), RED)
    photos.paint_over(canvas, np.float32([0, 0, 20, 20]), np.float32([[10, 10, 30, 30]]))
    pixels = np.asarray(canvas)
    assert (pixels[:10, :20] == photos.GROUND).all() and (pixels[12, 12] == RED).all()


def test_training_on_photos_goes_on_from_its_checkpoint_and_keeps_frozen_pieces(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "KEPT_EVERY", 2)
    monkeypatch.setattr(loop, "rate", lambda step, _: 0.1)
    arch = ["--arch", "mobilenetV3_0x1_perceiver_t8", "--sa-widening", "1", "--pyramid", "8", "--tower", "8x1"]
    options = [str(folder), *arch, "--size", "64x96", "--batch", "2", "--turns", "2"]
    begun = tmp_path / "begun"
    assert fit_boxes.main([*options, "--out", str(begun), "--from-nothing", "--steps", "2"]) == 0
    assert (begun / "box-labels.txt").read_text() == "even\nodd\n"
    from safetensors.torch import load_file, save_file

    prefix = fit_boxes.TRUNK
    source = tmp_path / "trunk.safetensors"
    weights = {k.removeprefix(prefix): v for k, v in load_file(begun / "weights.safetensors").items() if k.startswith(prefix)}
    save_file(weights, source)
    ends = []
    for name, stops in (("whole", (4,)), ("again", (2, 4))):
        for steps in stops:
            out = tmp_path / name
            assert fit_boxes.main([*options, "--out", str(out), "--from", str(source), "--frozen", "2", "--steps", str(steps)]) == 0
        ends.append((out / "weights.safetensors").read_bytes())
        report = json.loads((out / "training.json").read_text())
        assert report["steps"] == 4 and report["arguments"]["frozen"] == "2"
    assert ends[0] == ends[1]
    trained = load_file(tmp_path / "whole" / "weights.safetensors")
    stem = [k for k in weights if k.startswith("cnn_stem")]
    assert stem and all(torch.equal(trained[prefix + k], weights[k]) for k in stem)
    last = [k for k in weights if k.startswith("cnn_body_stage4") and k.endswith("weight") and weights[k].dim() == 4]
    assert last and not all(torch.equal(trained[prefix + k], weights[k]) for k in last)
