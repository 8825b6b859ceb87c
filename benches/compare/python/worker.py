"""One runtime in a process of its own, driven over standard input: a JSON object per line in, one per line out.

    worker.py openvino|ncnn|mnn|litert|pytorch|pytorch-compiled [--half] [--converted BASE]
    worker.py --convert BASE ncnn|mnn|litert FILE.onnx N,C,H,W

The second form writes the model in the runtime's own format, as files that begin with BASE, and ends; `--converted` takes them in
place of converting, so that a machine that only runs models needs no converter. `--half` computes in float16.

First it says {"version": …} or {"absent": reason}. Then it answers
    {"op": "load", "model": FILE.onnx, "input": FILE, "shape": [N, C, H, W], "threads": 1, "device": "cpu", "fetch": null}
                        -> {"load_s": seconds}; the input file holds float32, and `fetch` names the one output wanted
    {"op": "outputs"}   -> {"outputs": {name: [numbers]}}
    {"op": "time", "calls": 3} -> {"seconds": for all calls together}
    {"op": "memory"}    -> {"peak_rss_bytes": …}
    {"op": "mark"}      -> {"marked": true}, after a sched_yield, which an emulator's counter takes for a mark
Anything that goes wrong is {"error": reason}; the process lives on.
"""

import argparse
import contextlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time


class OpenVino:
    package = "openvino"

    def load(self, model, shape, threads, device, fetch):
        import openvino

        if device != "cpu":
            raise RuntimeError("OpenVINO has no CUDA device")
        core = openvino.Core()
        graph = core.read_model(model)
        graph.reshape(shape)
        names = [output.get_any_name() for output in graph.outputs]
        settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1,
                    "INFERENCE_PRECISION_HINT": "f32"}
        self.request = core.compile_model(graph, "CPU", settings).create_infer_request()
        # OpenVINO computes every output of a model; fetching one saves only the copy.
        self.names = [fetch] if fetch else names

    def feed(self, values):
        import openvino

        self.values = values  # shared, so it has to live as long as the request
        self.request.set_input_tensor(openvino.Tensor(values, shared_memory=True))

    def run(self):
        self.request.infer()

    def outputs(self):
        return {name: self.request.get_tensor(name).data for name in self.names}


@contextlib.contextmanager
def converted(runtime, model, shape):
    """Where the model lies in the runtime's own format, and its description: name of the input, names of the outputs."""
    with tempfile.TemporaryDirectory() as folder:
        base = runtime.converted
        if base is None:
            base = os.path.join(folder, "model")
            convert(runtime, model, shape, base)
        with open(base + ".json") as file:
            yield base, json.load(file)


def convert(runtime, model, shape, base):
    import onnx

    graph = onnx.load(model, load_external_data=False).graph
    runtime.convert(model, shape, base)
    with open(base + ".json", "w") as file:
        json.dump({"input": graph.input[0].name, "outputs": [output.name for output in graph.output]}, file)


def name_axes(path):
    """pnnx writes a mean over tokens without its axis, as a list of none, and ncnn then takes all axes: such networks would
    give wrong answers for a fault of the converter. The axis is 0, since ncnn has no batch."""
    with open(path) as file:
        text = file.read()
    with open(path, "w") as file:
        file.write(text.replace("-23303=0 4=0 5=1", "-23303=1,0 4=0 5=1"))


class Ncnn:
    package = "ncnn"
    converted, half = None, False

    def convert(self, model, shape, base):
        with tempfile.TemporaryDirectory() as folder:
            # pnnx writes next to its input; half-precision storage would compute something else.
            link = os.path.join(folder, "model.onnx")
            os.symlink(os.path.abspath(model), link)
            tool = os.path.join(os.path.dirname(sys.executable), "pnnx")
            done = subprocess.run([tool, link, "fp16=0", "inputshape=[" + ",".join(map(str, shape)) + "]"], cwd=folder,
                                  capture_output=True, text=True)
            if done.returncode != 0:
                raise RuntimeError(f"pnnx ended with {done.returncode}: {(done.stderr or done.stdout)[-300:]}")
            name_axes(os.path.join(folder, "model.ncnn.param"))
            for kind in ("param", "bin"):
                shutil.copy(os.path.join(folder, f"model.ncnn.{kind}"), f"{base}.{kind}")

    def load(self, model, shape, threads, device, fetch):
        import ncnn

        if device != "cpu":
            raise RuntimeError("ncnn's wheel runs on the processor")
        if shape[0] != 1:
            raise RuntimeError("ncnn takes one image at a time")
        with converted(self, model, shape) as (base, about):
            # Conversion is done once, on another machine: what loading costs is this.
            began = time.perf_counter()
            self.net = ncnn.Net()
            self.net.opt.num_threads = threads
            for setting in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic"):
                setattr(self.net.opt, setting, self.half)
            self.net.opt.use_bf16_storage = False
            for kind, read in (("param", self.net.load_param), ("bin", self.net.load_model)):
                if read(f"{base}.{kind}") != 0:
                    raise RuntimeError(f"ncnn does not read the {kind} file that pnnx made")
            self.load_s = time.perf_counter() - began
        blobs = sorted(self.net.output_names(), key=lambda name: int(name.removeprefix("out")))
        if len(blobs) != len(about["outputs"]):
            raise RuntimeError(f"pnnx made {len(blobs)} outputs of {len(about['outputs'])}")
        self.names = {name: blob for name, blob in zip(about["outputs"], blobs) if fetch in (None, name)}

    def feed(self, values):
        import ncnn

        self.input = ncnn.Mat(values[0]).clone()

    def run(self):
        with self.net.create_extractor() as extractor:
            extractor.input("in0", self.input)
            self.results = {}
            for name, blob in self.names.items():
                code, value = extractor.extract(blob)
                if code != 0:
                    raise RuntimeError(f"ncnn's extractor ended with {code} at {name}")
                self.results[name] = value

    def outputs(self):
        import numpy

        return {name: numpy.array(value) for name, value in self.results.items()}


class Mnn:
    package = "MNN"
    converted, half = None, False

    def convert(self, model, shape, base):
        # The converter itself: the tool around it installs a package at run time and reports its use.
        import _tools

        path = base + ".mnn"
        _tools.mnnconvert(["mnnconvert", "-f", "ONNX", "--modelFile", model, "--MNNModel", path, "--bizCode", "MNN"])
        if not os.path.exists(path):
            raise RuntimeError("MNN's converter made no file")

    def load(self, model, shape, threads, device, fetch):
        import MNN

        if device != "cpu":
            raise RuntimeError("MNN's wheel runs on the processor")
        with converted(self, model, shape) as (base, about):
            began = time.perf_counter()
            config = {"backend": "CPU", "precision": "low" if self.half else "high", "numThread": threads}
            self.manager = MNN.nn.create_runtime_manager((config,))
            self.names = [fetch] if fetch else about["outputs"]
            self.module = MNN.nn.load_module_from_file(base + ".mnn", [about["input"]], self.names,
                                                       runtime_manager=self.manager)
            self.load_s = time.perf_counter() - began

    def feed(self, values):
        import MNN

        placed = MNN.expr.placeholder(list(values.shape), MNN.expr.NCHW)
        placed.write(values)
        self.input = MNN.expr.convert(placed, MNN.expr.NC4HW4)

    def run(self):
        # Values are computed when they are read.
        self.results = {name: value.read() for name, value in zip(self.names, self.module.forward([self.input]))}

    def outputs(self):
        return self.results


class Litert:
    """LiteRT, once TensorFlow Lite, with its XNNPACK delegate. PyTorch's module of the graph is what it converts."""

    package, module = "ai-edge-litert", "ai_edge_litert"
    converted, half = None, False

    def convert(self, model, shape, base):
        import litert_torch
        import torch

        module = torch_module(model, None).eval()
        litert_torch.convert(module, (torch.zeros(shape),)).export(base + ".tflite")

    def load(self, model, shape, threads, device, fetch):
        from ai_edge_litert.interpreter import Interpreter

        if device != "cpu":
            raise RuntimeError("LiteRT's wheel runs on the processor")
        if self.half:
            raise RuntimeError("this driver runs LiteRT in float32")
        with converted(self, model, shape) as (base, about):
            began = time.perf_counter()
            self.interpreter = Interpreter(model_path=base + ".tflite", num_threads=threads)
            self.interpreter.allocate_tensors()
            self.load_s = time.perf_counter() - began
        # In the order that the module gives them: output_0, output_1 and so on.
        given = self.interpreter.get_signature_runner().get_output_details()
        given = sorted(given.items(), key=lambda item: int(item[0].rpartition("_")[2]))
        if len(given) != len(about["outputs"]):
            raise RuntimeError(f"the converter made {len(given)} outputs of {len(about['outputs'])}")
        # It computes every output of a model; fetching one saves only the copy.
        self.places = {name: detail["index"] for name, (_, detail) in zip(about["outputs"], given) if fetch in (None, name)}

    def feed(self, values):
        self.interpreter.set_tensor(self.interpreter.get_input_details()[0]["index"], values)

    def run(self):
        self.interpreter.invoke()

    def outputs(self):
        return {name: self.interpreter.get_tensor(place) for name, place in self.places.items()}


class PyTorch:
    package = "torch"
    compiled = False

    def load(self, model, shape, threads, device, fetch):
        import torch

        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
        if device == "cuda" and not torch.cuda.is_available():
            raise RuntimeError("PyTorch finds no CUDA device")
        self.torch, self.device = torch, torch.device(device)
        self.module = torch_module(model, fetch).to(self.device).eval()
        self.call = torch.compile(self.module, dynamic=False) if self.compiled else self.module

    def feed(self, values):
        self.input = self.torch.from_numpy(values).to(self.device)

    def run(self):
        with self.torch.inference_mode():
            self.results = self.call(self.input)
            if self.device.type == "cuda":
                self.torch.cuda.synchronize()

    def outputs(self):
        return {name: value.cpu().numpy() for name, value in zip(self.module.names, self.results)}


class PyTorchCompiled(PyTorch):
    compiled = True


def torch_module(path, fetch):
    """An ONNX graph as a PyTorch module: the operators that image classifiers are made of, one call each."""
    import onnx
    import onnx.numpy_helper
    import torch
    import torch.nn.functional as f

    graph = onnx.load(path).graph
    wanted = [fetch] if fetch else [output.name for output in graph.output]

    def convolution(x, w, b=None, *, strides=(1, 1), pads=(0, 0, 0, 0), group=1, dilations=(1, 1), **_):
        if pads[:2] != pads[2:]:
            x, pads = f.pad(x, (pads[1], pads[3], pads[0], pads[2])), (0, 0, 0, 0)
        return f.conv2d(x, w, b, tuple(strides), tuple(pads[:2]), tuple(dilations), group)

    def pool(function):
        def call(x, *, kernel_shape, strides=(1, 1), pads=(0, 0, 0, 0), **_):
            if pads[:2] != pads[2:]:
                raise RuntimeError(f"pooling with padding {pads}")
            return function(x, tuple(kernel_shape), tuple(strides), tuple(pads[:2]))
        return call

    def gemm(a, b, c=None, *, alpha=1.0, beta=1.0, transA=0, transB=0):
        product = (a.T if transA else a) @ (b.T if transB else b)
        return product * alpha + (c * beta if c is not None else 0)

    def reshape(x, shape, **_):
        return x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(shape)])

    def mean(x, axes=None, *, keepdims=1, **_):
        return x.mean(dim=axes, keepdim=bool(keepdims))

    calls = {
        "Add": lambda a, b: a + b, "Sub": lambda a, b: a - b, "Mul": lambda a, b: a * b, "Div": lambda a, b: a / b,
        "MatMul": lambda a, b: a @ b, "Gemm": gemm, "Conv": convolution,
        "MaxPool": pool(f.max_pool2d), "AveragePool": pool(f.avg_pool2d),
        "GlobalAveragePool": lambda x: x.mean(dim=(2, 3), keepdim=True),
        "ReduceMean": mean, "Reshape": reshape, "Transpose": lambda x, *, perm: x.permute(perm),
        "Flatten": lambda x, *, axis=1: x.flatten(axis),
        "Concat": lambda *x, axis: torch.cat(x, axis),
        "LayerNormalization": lambda x, w, b=None, *, axis=-1, epsilon=1e-5, **_:
            f.layer_norm(x, x.shape[axis:], w, b, epsilon),
        "Softmax": lambda x, *, axis=-1: f.softmax(x, axis), "Relu": f.relu, "HardSwish": f.hardswish,
        "HardSigmoid": lambda x, *, alpha=0.2, beta=0.5: (x * alpha + beta).clamp(0, 1),
        "Sigmoid": torch.sigmoid, "Gelu": lambda x, *, approximate=b"none": f.gelu(x, approximate=approximate.decode()),
    }
    unknown = sorted({node.op_type for node in graph.node} - calls.keys())
    if unknown:
        raise RuntimeError(f"the PyTorch driver does not know {', '.join(unknown)}")

    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.names = wanted
            self.weights = torch.nn.ParameterDict()
            self.constants, self.keys = {}, {}
            for index, tensor in enumerate(graph.initializer):
                value = onnx.numpy_helper.to_array(tensor)
                if value.dtype.kind == "i":
                    self.constants[tensor.name] = value.tolist()
                else:
                    key = self.keys[tensor.name] = f"w{index}"
                    self.weights[key] = torch.nn.Parameter(torch.from_numpy(value.copy()), requires_grad=False)
            read = lambda attribute: onnx.helper.get_attribute_value(attribute)
            self.steps = [(calls[node.op_type], list(node.input), node.output[0], {a.name: read(a) for a in node.attribute})
                          for node in graph.node]

        def forward(self, image):
            values = {graph.input[0].name: image}
            def value(name):
                if name in values:
                    return values[name]
                return self.weights[self.keys[name]] if name in self.keys else self.constants[name]
            for call, inputs, output, attributes in self.steps:
                values[output] = call(*(value(name) if name else None for name in inputs), **attributes)
            return [values[name] for name in wanted]

    return Module()


RUNTIMES = {"openvino": OpenVino, "ncnn": Ncnn, "mnn": Mnn, "litert": Litert, "pytorch": PyTorch, "pytorch-compiled": PyTorchCompiled}


def peak_rss_bytes():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


class Worker:
    def __init__(self, runtime):
        self.runtime = runtime

    def load(self, request):
        import numpy

        values = numpy.fromfile(request["input"], dtype="<f4").reshape(request["shape"])
        began = time.perf_counter()
        self.runtime.load(request["model"], request["shape"], request["threads"], request["device"], request["fetch"])
        load_s = getattr(self.runtime, "load_s", time.perf_counter() - began)
        self.runtime.feed(values)
        return {"load_s": load_s}

    def outputs(self, _):
        self.runtime.run()
        return {"outputs": {name: value.reshape(-1).tolist() for name, value in self.runtime.outputs().items()}}

    def time(self, request):
        run = self.runtime.run
        began = time.perf_counter()
        for _ in range(request["calls"]):
            run()
        return {"seconds": time.perf_counter() - began}

    def memory(self, _):
        return {"peak_rss_bytes": peak_rss_bytes()}

    def mark(self, _):
        os.sched_yield()
        return {"marked": True}


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("runtime", choices=RUNTIMES)
    parser.add_argument("model", nargs="?")
    parser.add_argument("shape", nargs="?")
    parser.add_argument("--half", action="store_true")
    parser.add_argument("--converted", metavar="BASE")
    parser.add_argument("--convert", metavar="BASE")
    return parser.parse_args()


def main():
    # What libraries print must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    say = lambda answer: print(json.dumps(answer), file=answers)
    given = arguments()
    runtime = RUNTIMES[given.runtime]()
    if given.convert:
        convert(runtime, given.model, [int(size) for size in given.shape.split(",")], given.convert)
        return
    if given.half or given.converted:
        runtime.half, runtime.converted = given.half, given.converted
    try:
        package = runtime.package
        version = importlib.metadata.version(package)
        importlib.import_module(getattr(runtime, "module", package))
    except Exception as error:
        say({"absent": f"{type(error).__name__}: {error}"})
        return
    worker = Worker(runtime)
    say({"version": version, "base_rss_bytes": peak_rss_bytes()})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            with contextlib.redirect_stdout(sys.stderr):
                say(getattr(worker, request["op"])(request))
        except Exception as error:
            say({"error": f"{type(error).__name__}: {str(error)[:500]}"})


main()
