"""Tests of training with rounded layers: `python -m pytest models/training/tests`, where torch is installed."""

import json
import random
import sys
from pathlib import Path

import pytest

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")
Image = pytest.importorskip("PIL.Image")

ROOT = Path(__file__).parent.parent
SHIPPED = ROOT.parent / "pretrained" / "clothing" / "model.onnx"
sys.path.insert(0, str(ROOT))

from dyn_perceiver_training import int8, onnx_weights  # noqa: E402
from dyn_perceiver_training.fit import main  # noqa: E402
from dyn_perceiver_training.model import Config, DynPerceiver  # noqa: E402

TINY = ["--arch", "mobilenetV3_0x1_perceiver_t8", "--size", "48", "--depth-factor", "1,1,1,1", "--sa-widening", "1",
        "--variants", "1", "--epochs", "2", "--batch", "4", "--threads", "1"]  # fmt: skip


def data(root):
    draw = random.Random(0)
    for name, colour in (("blue", (20, 30, 200)), ("red", (200, 20, 30))):
        for i in range(8):
            image = Image.new("RGB", (60, 50), colour)
            for _ in range(200):
                image.putpixel((draw.randrange(60), draw.randrange(50)), tuple(draw.randrange(256) for _ in range(3)))
            path = root / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
    return root


def tiny():
    torch.manual_seed(0)
    config = Config.from_name("mobilenetV3_0x1_perceiver_t8", sa_widening=1, input_size=48, classes=3)
    model = DynPerceiver(config).eval()
    for module in model.modules():
        if isinstance(module, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)):
            module.running_mean.normal_(), module.running_var.uniform_(0.5, 2.0), module.weight.data.uniform_(0.5, 2.0)
    return model


def test_weights_are_rounded_column_by_column_and_no_pair_saturates():
    # The largest weight decides: neighbours are small.
    steps = int8.column_steps(torch.tensor([[-127.0, 0.4, 63.5, 2.6, 1.5]]))
    assert steps.tolist() == [1.0]
    found = int8.rounded_columns(torch.tensor([[-127.0, 0.4, 63.5, 2.6, 1.5], [0.0] * 5]))
    assert found.tolist() == [[-127.0, 0.0, 64.0, 3.0, 2.0], [0.0] * 5]
    # A pair of one sign decides: 100 + 92 in 128 steps.
    column = torch.tensor([[100.0, 92.0, 12.0, -30.0]])
    assert int8.column_steps(column).tolist() == [1.5]
    assert int8.rounded_columns(column).tolist() == [[100.5, 91.5, 12.0, -30.0]]
    # Where both halves of a pair were rounded up, 255 times them would be beyond 16 bits.
    torch.manual_seed(0)
    columns = 0.9 + 0.1 * torch.rand(200, 7)
    steps = int8.column_steps(columns)[:, None]
    whole = (columns / steps).round()
    assert int8.reach(torch.nn.functional.pad(whole, (0, 1)).unflatten(1, (-1, 2))).max() <= 128
    assert (whole * steps - columns).abs().le(0.501 * steps).all()


def test_channels_of_depthwise_filters_have_127_steps():
    filters = torch.tensor([[1.0, -127.4, 254.0], [100.0, 0.2, -63.5]])[:, None, None]
    step = np.float32(100) / np.float32(127)
    expected = [[0.0, -128.0, 254.0], [127 * step, 0.0, -81 * step]]
    assert int8.rounded_filters(filters).flatten(1).numpy() == pytest.approx(np.array(expected, np.float32))
    assert int8.rounded_filters(torch.full((1, 1, 1, 2), 1e-38)).flatten().tolist() == [np.float32(1e-38)] * 2


def test_rows_are_the_bytes_of_the_kernels():
    low, high = torch.tensor(-1.0), torch.tensor(1.55)
    scale, zero = int8.scheme(low, high)
    assert scale.item() == pytest.approx(0.01) and zero.item() == 100
    x = torch.tensor([0.0, 0.0049, 0.0251, -0.5, -2.0, 3.0], requires_grad=True)
    found = int8.rounded_rows(x, low, high)
    assert found.tolist() == pytest.approx([0.0, 0.0, 0.03, -0.5, -1.0, 1.55])
    found.sum().backward()
    assert x.grad.tolist() == [1, 1, 1, 1, 0, 0]


def test_a_layer_is_the_integer_product():
    generator = np.random.default_rng(0)
    layer = torch.nn.Linear(9, 4)
    x = torch.from_numpy(generator.normal(size=(5, 9)).astype(np.float32))
    layer.rounding = int8.Rounding([9])
    layer.__class__ = type("Layer", (int8.Int8Linear, torch.nn.Linear), {})
    layer.rounding.ranges.copy_(torch.tensor([[-2.0, 2.5]]))
    layer.rounding.is_observing, layer.rounding.is_rounding = False, True
    weights = layer.weight.detach().numpy()
    steps = int8.column_steps(layer.weight).numpy()
    scale = np.float32(4.5 / 255)
    zero = int(np.floor(2.0 / scale + 0.5))
    whole = np.round(weights / steps[:, None]).astype(int)
    rows = np.clip(np.round(x.numpy() * (1 / scale)) + zero, 0, 255).astype(int)
    sums = rows @ whole.T - zero * whole.sum(1)
    expected = sums.astype(np.float32) * (scale * steps) + layer.bias.detach().numpy()
    assert layer(x).detach().numpy() == pytest.approx(expected, abs=1e-5)


def test_gradients_pass_weights_as_if_they_were_not_rounded():
    for round_weights, shape in ((int8.rounded_columns, (3, 6)), (int8.rounded_filters, (3, 1, 3, 3))):
        weights = torch.randn(shape, requires_grad=True)
        factors = torch.randn(shape)
        (round_weights(weights) * factors).sum().backward()
        assert torch.equal(weights.grad, factors)


def test_ranges_are_those_of_the_least_squared_error():
    torch.manual_seed(0)
    values = torch.randn(100_000) ** 3
    ends = [values.min(), values.max()]

    def error(low, high):
        return (int8.rounded_rows(values, low, high) - values).double().square().sum().item()

    least = min(error(a * ends[0], b * ends[1]) for a in int8.TRIED for b in int8.TRIED)
    low, high = int8.best_range(values)
    assert error(low, high) < 1.05 * least < error(*ends)
    assert int8.best_range(torch.rand(30_000))[1].item() > 0.9
    assert int8.best_range(torch.zeros(4)).tolist() == [0, 0]
    assert int8.best_range(torch.tensor([1.0, 2.0]))[0].item() == 0


def test_layers_that_are_not_rounded_compute_what_they_did():
    model, x = tiny(), torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        before = model(x)
        int8.attach(model)
        observing = model(x)
        int8.set_state(model, observing=False, rounding=False)
        for a, b, c in zip(before, observing, model(x)):
            assert torch.equal(b, c)
            # Only the normalisation in front of the last classifier was folded.
            assert torch.allclose(a, b, atol=1e-5)
        int8.set_state(model, observing=False, rounding=True)
        apart = [(a - b).norm() / a.norm() for a, b in zip(before, model(x))]
    assert all(0 < part < 0.3 for part in apart)
    assert not any("rounding" in key for key in model.state_dict())


def test_the_layers_are_those_of_quantize():
    if not SHIPPED.exists():
        pytest.skip("there is no shipped model here")
    config = Config.from_name("efficientnet_lite0_perceiver_t64", depth_factor=(1, 1, 1, 3), sa_widening=2, input_size=168,
                              classes=10, with_z2x=False, with_dwc=False)  # fmt: skip
    model = DynPerceiver(config).eval()
    model.load_state_dict(onnx_weights.state_from(SHIPPED, model))
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(SHIPPED), providers=["CPUExecutionProvider"])
    x = torch.randn(1, 3, 168, 168)
    expected = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        for found, there in zip(model(x), expected):
            assert found.numpy() == pytest.approx(there, abs=1e-4)
    int8.attach(model)
    layers = [m for m in model.modules() if isinstance(m, (int8.Int8Linear, int8.Int8Convolution))]
    # `quantize` lists as many: a classifier of joined inputs is a layer for each of them.
    assert sum(len(layer.rounding.parts) for layer in layers) == 219
    assert sum(isinstance(m, int8.RoundedDepthwise) for m in model.modules()) == 16


def test_files_that_are_no_onnx_are_refused(tmp_path):
    model, path = tiny(), tmp_path / "model.onnx"
    for content in (b"", b"\xff" * 40, b"\x3a\xff\x7f", b"no model", b"\x3a\x02\x2a\x00"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="model.onnx"):
            onnx_weights.state_from(path, model)


def test_a_network_goes_on_in_int8_and_stays_a_float_one(tmp_path, capsys):
    root, first, tuned = data(tmp_path / "a"), tmp_path / "first", tmp_path / "tuned"
    assert main([str(root), "--out", str(first), *TINY]) == 0
    go_on = [str(root), "--out", str(tuned), *TINY, "--from", str(first / "weights.safetensors"), "--int8", "--lr", "1e-4"]
    assert main([*go_on, "--epochs", "1"]) == 0
    # It goes on from its checkpoint, whose ranges stay.
    ranges = torch.load(tuned / "checkpoint.pt", weights_only=True)["ranges"]
    assert ranges and all(torch.isfinite(r).all() for r in ranges)
    assert main(go_on) == 0
    for before, after in zip(ranges, torch.load(tuned / "checkpoint.pt", weights_only=True)["ranges"]):
        assert torch.equal(before, after)
    from safetensors.torch import load_file

    old, new = (load_file(folder / "weights.safetensors") for folder in (first, tuned))
    assert {key: value.shape for key, value in old.items()} == {key: value.shape for key, value in new.items()}
    statistics = [key for key in old if "running" in key and not key.startswith("classifier_merge.0")]
    assert statistics and all(torch.equal(old[key], new[key]) for key in statistics)
    assert json.loads((tuned / "report.json").read_text())["arguments"]["int8"]
    # The same folder without int8 would mix two trainings.
    assert main([*(word for word in go_on if word != "--int8")]) == 2
    assert "checkpoint.pt" in capsys.readouterr().err
