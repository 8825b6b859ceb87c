"""Tests of detectors, networks of videos and the pictures they are trained on: `python -m pytest models/training/tests`."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("PIL.Image")

ROOT = Path(__file__).parent.parent
FIXTURES = ROOT.parent / "tests" / "fixtures"
sys.path.insert(0, str(ROOT))

from check_onnx import uniform  # noqa: E402
from write_fixtures import deterministic  # noqa: E402

from dyn_perceiver_training import anchors, detection_losses, fit_motions, fit_scenes, items, loop, motions, scenes  # noqa: E402
from dyn_perceiver_training.detector import Detector  # noqa: E402
from dyn_perceiver_training.model import EXITS, Config, DynPerceiver  # noqa: E402
from dyn_perceiver_training.shift import shift  # noqa: E402

PREFIX = "backbone.dyn_perceiver."


def fixture(name):
    return json.loads((FIXTURES / name).read_text())


def seed(model):
    """The reference's weights: a key counts without the prefix of a detector's backbone and without TSM's `.net`."""
    state = {}
    for key, value in model.state_dict().items():
        if key.endswith("retina_cls.bias"):
            u = torch.from_numpy(uniform(key, value.numel()).astype(np.float32))
            value = -np.float32(np.log(99.0)) + np.float32(0.2) * (u - 0.5)
        elif not key.endswith("num_batches_tracked"):
            value = deterministic(key.removeprefix(PREFIX).replace(".net.", "."), value)
        state[key] = value
    model.load_state_dict(state)
    return model.eval()


def image(key, height, width):
    u = uniform(key, 3 * height * width).astype(np.float32)
    return torch.from_numpy(2 * u - 1).reshape(1, 3, height, width)


def keys_of(model):
    return {key: list(value.shape) for key, value in model.state_dict().items()}


def near(values, reference, what):
    first = torch.tensor(reference["first"])
    found = values.flatten()[: len(first)]
    assert (found - first).norm() <= 1e-4 * first.norm(), what
    assert values.norm().item() == pytest.approx(reference["l2"], rel=1e-4), what


@torch.no_grad()
@pytest.mark.parametrize("name", ["mobilenetV3_0x5", "mobilenetV3_0x75", "reg800m", "resnet50_0375", "efficientnet_lite0"])
def test_a_seeded_network_has_the_references_keys_and_numbers(name):
    name += "_perceiver_t64" if name.startswith("efficientnet") else "_perceiver_t128"
    reference = fixture(f"{name}.json")
    model = DynPerceiver(Config.from_name(name, depth_factor=tuple(reference["depth_factor"])))
    assert sum(p.numel() for p in model.parameters()) == reference["params"]
    assert keys_of(model) == fixture(f"{name}.state_dict.json")
    side = reference["input_size"]
    for exit, logits in zip(EXITS, seed(model)(image("image", side, side))):
        first = torch.tensor(reference["logits"][exit])
        assert (logits[0, : len(first)] - first).norm() <= 1e-4 * first.norm(), exit
        assert logits.norm().item() == pytest.approx(reference["logits_l2"][exit], rel=1e-4), exit
        assert logits.argmax().item() == reference["argmax"][exit], exit


@torch.no_grad()
def test_a_seeded_detector_has_the_references_keys_and_numbers():
    name = "mobilenetV3_0x75_perceiver_t128"
    reference = fixture(f"detection_{name}.json")
    config = Config.from_name(name, depth_factor=tuple(reference["depth_factor"]), classes=reference["exit_classes"])
    head = reference["head"]
    tower = head["feat_channels"], head["stacked_convs"]
    model = Detector(config, reference["classes"], reference["neck"]["out_channels"], tower)
    expected = {key: list(shape) for key, shape in fixture(f"detection_{name}.state_dict.json").items()}
    counted = {key: shape for key, shape in keys_of(model).items() if not key.endswith("num_batches_tracked")}
    assert counted == {key: shape for key, shape in expected.items() if not key.endswith("num_batches_tracked")}
    model = seed(model)
    trunk = model.backbone.dyn_perceiver
    exits, features = trunk.both_branches([trunk.piece(0, image("image", *reference["input"]))])
    for exit, logits in zip(EXITS, exits):
        near(logits, reference["exits"][exit], exit)
    for k, x in enumerate(features):
        near(x, reference["features"][f"X{k + 1}"], f"X{k + 1}")
    levels = model.neck([features[k] for k in model.places])
    maps = model.bbox_head(levels)
    for k, (level, scores, deltas) in enumerate(zip(levels, *maps)):
        for group, values in (("pyramid", level), ("cls", scores), ("reg", deltas)):
            near(values, reference[group][f"P{k + 3}"], f"{group} P{k + 3}")


@torch.no_grad()
def test_a_seeded_network_of_videos_has_the_references_keys_and_numbers():
    name = "mobilenetV3_0x5_perceiver_t128"
    reference = fixture(f"action_{name}.json")
    model = DynPerceiver(Config.from_name(name, classes=reference["classes"]))
    time = shift(model)
    expected = fixture(f"action_{name}.state_dict.json")
    assert {k for k in keys_of(model) if ".net." in k} == {k for k in expected if ".net." in k}
    seed(model)
    frames = torch.cat([image(key, *reference["input"]) for key in reference["frame_keys"]])
    time.of_clips(torch.ones(1, len(frames), 4, dtype=torch.bool))
    of_clip = model(frames)
    for exit, logits in zip(EXITS, of_clip):
        for got, wanted in zip(logits, reference["clip_from_past"][exit]["frames"]):
            near(got, wanted, exit)
    time.online()
    for t, frame in enumerate(frames):
        for logits, whole in zip(model(frame[None]), of_clip):
            assert torch.allclose(logits[0], whole[t], atol=1e-4)
    # Frames that left early: what they did not compute is as if they had not been there.
    early = reference["online_with_early_exits"]
    last = [fit_motions.STAGE_OF_EXIT[EXITS.index(exit)] for exit in early["exits"]]
    time.of_clips((torch.tensor(last)[:, None] > torch.arange(4))[None])
    said = model(frames)
    for t, logits in enumerate(early["logits"]):
        for exit, wanted in logits.items():
            near(said[EXITS.index(exit)][t], wanted, f"frame {t} {exit}")


def test_boxes_come_back_from_their_code():
    places = anchors.anchors(128, 160)
    assert places.shape == (9 * (16 * 20 + 8 * 10 + 4 * 5 + 2 * 3 + 1 * 2), 4)
    torch.manual_seed(1)
    corner = torch.rand(len(places), 2) * 100
    # Large enough that the clamp of sizes leaves the largest anchors' deltas alone.
    boxes = torch.cat([corner, corner + 25 + 50 * torch.rand(len(places), 2)], 1)
    assert torch.allclose(anchors.decode(anchors.encode(boxes, places), places), boxes, atol=1e-2)


def test_every_box_is_learned_by_the_anchors_it_overlaps_most():
    places = anchors.anchors(128, 160)
    boxes = torch.tensor([[[10.0, 10.0, 18.0, 15.0], [40.0, 30.0, 85.0, 75.0], [0.0, 0.0, 0.0, 0.0]]])
    learned = anchors.assign(places, boxes)
    shared = anchors.overlaps(places, boxes[0])
    assert shared[:, 0].max() < anchors.POSITIVE and (learned[0] == 0).sum() == (shared[:, 0] == shared[:, 0].max()).sum()
    assert ((learned[0] == 1) >= (shared[:, 1] >= anchors.POSITIVE)).all()
    assert not (learned == 2).any() and (learned == -2).any()
    assert (anchors.assign(places, torch.zeros(1, 3, 4)) == -1).all()


def test_focal_loss_counts_what_is_wrong_and_not_what_is_right():
    logits, target = torch.tensor([4.0, -4.0, 0.0, 0.0]), torch.tensor([1.0, 0.0, 1.0, 0.0])
    loss = detection_losses.focal_loss(logits, target)
    assert loss[:2].max() < 1e-4
    assert torch.allclose(loss[2:], 0.25 * np.log(2) * torch.tensor([0.25, 0.75]).float(), atol=1e-6)


def test_maps_that_say_the_truth_cost_nothing():
    places = anchors.anchors(128, 160)
    boxes, labels = torch.tensor([[[40.0, 30.0, 85.0, 75.0]]]), torch.tensor([[2]])
    learned = anchors.assign(places, boxes)
    scores = torch.full((1, len(places), 5), -20.0)
    scores[0, learned[0] == 0, 2] = 20.0
    deltas = anchors.encode(boxes[:, 0][:, None], places)
    of_classes, of_deltas = detection_losses.detection_loss(scores, deltas, learned, boxes, labels, places)
    assert of_classes < 1e-5 and of_deltas < 1e-5
    assert detection_losses.detection_loss(-scores, deltas, learned, boxes, labels, places)[0] > 1


@pytest.fixture(scope="module")
def pieces():
    """Items that need no data set: grey frames and wedges."""
    pictures = []
    for k in range(10):
        image = np.zeros((28, 28), np.uint8)
        image[4 + k // 2 : 26, 6:22] = 60 + 15 * k
        image[10:14, 12:16] = 0
        pictures.append(items.cut_out(image))
    return items.Items(pictures, np.arange(10))


def test_dark_places_inside_an_item_are_its_own(pieces):
    grey, opacity = pieces.pictures[0]
    assert grey.shape == (22, 16) and (opacity == 255).all() and (grey == 0).any()


def test_scenes_repeat_and_their_boxes_fit(pieces):
    counts, exits = set(), set()
    for number in range(60):
        picture, boxes, labels = scenes.scene(pieces, 7, "train", number)
        again = scenes.scene(pieces, 7, "train", number)
        assert picture.tobytes() == again[0].tobytes() and np.array_equal(boxes, again[1])
        assert picture.shape == (scenes.HEIGHT, scenes.WIDTH, 3) and len(boxes) == len(labels) <= scenes.MOST
        assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= (scenes.WIDTH, scenes.HEIGHT)).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        counts.add(len(boxes)), exits.add(scenes.exit_class(boxes))
    assert {0, 1, 2} <= counts and exits == {0, 1, 2}
    assert scenes.scene(pieces, 7, "test", 0)[0].tobytes() != scenes.scene(pieces, 7, "train", 0)[0].tobytes()


def test_labels_of_scenes_are_cocos(pieces):
    made = [("0.png", *scenes.scene(pieces, 7, "train", 1)[1:]), ("1.png", np.zeros((0, 4)), np.zeros(0, int))]
    labels = scenes.coco(made)
    assert [image["file_name"] for image in labels["images"]] == ["0.png", "1.png"]
    assert len(labels["annotations"]) == len(made[0][1])
    for box, annotation in zip(made[0][1], labels["annotations"]):
        x, y, width, height = annotation["bbox"]
        assert np.allclose(box, (x, y, x + width, y + height)) and annotation["area"] == width * height


def test_a_mirrored_scene_has_mirrored_boxes(pieces):
    made = (fit_scenes.one(pieces, 7, "train", number) for number in range(60))
    one = next(scene for scene in made if scene["exits"])
    batch = {name: np.stack([value] * 8) for name, value in one.items()}
    made = fit_scenes.varied(batch, np.random.default_rng(3))
    mirrored = [not np.array_equal(boxes, one["boxes"]) for boxes in made["boxes"]]
    assert any(mirrored) and not all(mirrored)
    for boxes, flipped in zip(made["boxes"], mirrored):
        if flipped:
            real = one["boxes"][:, 2] > 0
            assert np.allclose(boxes[real, 0] + one["boxes"][real, 2], scenes.WIDTH)
            assert np.allclose(boxes[real][:, [1, 3]], one["boxes"][real][:, [1, 3]])


def test_clips_repeat_and_every_motion_occurs(pieces):
    seen = set()
    for number in range(60):
        frames, motion, way = motions.clip(pieces, 7, "train", number)
        assert frames.tobytes() == motions.clip(pieces, 7, "train", number)[0].tobytes()
        assert frames.shape == (motions.FRAMES, motions.SIDE, motions.SIDE, 3) and way.shape == (motions.FRAMES, 4)
        seen.add(motions.LABELS[motion])
    assert seen == set(motions.LABELS)


def test_motions_go_where_their_names_say():
    def ends(motion):
        made = list(motions.path(np.random.default_rng(1), motion))
        return [(*made[k][0], *made[k][1:]) for k in (0, -1)]

    for motion, part, sign in (("left", 0, -1), ("right", 0, 1), ("up", 1, -1), ("down", 1, 1), ("grow", 2, 1),
                               ("shrink", 2, -1), ("clockwise", 3, 1), ("counterclockwise", 3, -1)):  # fmt: skip
        first, last = ends(motion)
        assert np.sign(last[part] - first[part]) == sign, motion
        assert all(a == b for k, (a, b) in enumerate(zip(first, last)) if k != part)
    first, last = ends("still")
    assert first == last


def test_a_changed_clip_is_that_of_the_changed_motion():
    """Seen by the middle of a bright spot that goes right and down, not far."""
    for motion, (dx, dy) in (("left", (-2, 0)), ("right", (2, 0)), ("up", (0, -2)), ("down", (0, 2))):
        frames = np.zeros((8, 48, 48, 3), np.uint8)
        for t in range(8):
            frames[t, 24 + dy * (t - 4), 24 + dx * (t - 4)] = 255
        for number in range(16):
            way = np.array([(24.5 + dx * (t - 4), 24.5 + dy * (t - 4), 20, 0) for t in range(8)], np.float32)
            rng = np.random.default_rng(number)
            made, said, way = fit_motions.varied(frames, motions.LABELS.index(motion), way, rng)
            y, x = [np.array([np.argwhere(frame[..., 0])[0][k] for frame in made]) for k in (0, 1)]
            step = np.sign(x[-1] - x[0]), np.sign(y[-1] - y[0])
            assert motions.TOWARDS[motions.LABELS[said]] == step
            assert np.allclose(way[:, 0], x + 0.5) and np.allclose(way[:, 1], y + 0.5)


def test_held_frames_count_for_the_exits_they_computed():
    ran = fit_motions.leaving(np.random.default_rng(1), 32, 1.0)
    assert ran[..., :2].all() and not ran[..., 2:].all()
    assert fit_motions.leaving(np.random.default_rng(1), 32, 0.0).all()
    exits = [torch.ones(32 * motions.FRAMES, 3) for _ in EXITS]
    for exit, summed in enumerate(fit_motions.sums(exits, ran)):
        stage = fit_motions.STAGE_OF_EXIT[exit]
        assert torch.equal(summed[:, -1, 0].long(), ran[..., stage - 1].sum(1))


def test_the_rate_of_a_shorter_run_is_the_same_until_it_falls():
    assert all(loop.rate(step, 3000) == loop.rate(step, 6000) for step in range(2000))
    assert loop.rate(2999, 3000) < 0.01 and loop.rate(0, 3000) > 0


@pytest.mark.parametrize("fit", [fit_scenes, fit_motions])
def test_training_that_was_interrupted_ends_as_one_that_was_not(tmp_path, fit, pieces, monkeypatch):
    monkeypatch.setattr(items.Items, "load", staticmethod(lambda split, folder=None: pieces))
    monkeypatch.setattr(loop, "KEPT_EVERY", 2)
    options = ["--arch", "mobilenetV3_0x1_perceiver_t8", "--sa-widening", "1", "--batch", "4"]
    options += ["--scenes", "8", "--pyramid", "8", "--tower", "8x1"] if fit is fit_scenes else ["--clips", "16"]
    ends = []
    for name, stops in (("whole", (4,)), ("again", (2, 4))):
        out = tmp_path / name
        for steps in stops:
            # Only where a run stops differs, not how its rate falls.
            monkeypatch.setattr(loop, "rate", lambda step, _: 0.1)
            fit.main(["--out", str(out), "--steps", str(steps), *options])
        ends.append((out / "weights.safetensors").read_bytes())
        assert json.loads((out / "training.json").read_text())["steps"] == 4
    assert ends[0] == ends[1]
