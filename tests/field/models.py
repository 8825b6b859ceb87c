"""Cases of models: ONNX files as people export them, and checkpoints."""

from harness import case, last

# What the reference network says of the reference image, and so what every variant of it should say.
CLASS, PROBABILITY = 6, 0.99910


def image(check):
    return check.reference("p32.png")


def same(check, *parts, more=(), tolerance=2e-3):
    """Asks for the reference network's answer from a variant of it."""
    result = check.classify(image(check), check.file(*parts), *more)
    check.answers(result, CLASS, PROBABILITY, tolerance, what=parts[-1])
    return result


@case("00-reference", "the network that other cases vary")
def reference(check):
    same(check, "00-reference", "two-exits.onnx")


@case("01-external-data", "weights in a file beside")
def external_data(check):
    same(check, "01-external-data", "model.onnx")
    moved = check.folder / "alone.onnx"
    moved.write_bytes(check.file("01-external-data", "model.onnx").read_bytes())
    result = check.classify(image(check), moved)
    check.refused(result, "model.onnx.data", what="weights that are not there")


@case("02-if-early-exit", "an exit as an If node")
def if_node(check):
    for name in ("model.onnx", "one-output.onnx", "two-outputs.onnx"):
        same(check, "02-if-early-exit", name)


@case("03-softmax-outputs", "exits that end in a softmax")
def softmax(check):
    for name in ("model.onnx", "logsoftmax.onnx"):
        same(check, "03-softmax-outputs", name)


@case("04-one-class", "a head with one output")
def one_class(check):
    result = check.classify(image(check), check.file("04-one-class", "model.onnx"))
    if result.code == 2:
        check.that(result.told("one", "binary", "class"), f"says {last(result.err)!r}")
    elif check.that(result.code == 0, f"exit code {result.code}"):
        check.that(result.json().get("probability") != 1.0, "class 0 with probability 1, whatever the image")


@case("05-exits-nc11", "exits of shape (N, C, 1, 1)")
def trailing_ones(check):
    same(check, "05-exits-nc11", "model.onnx")


@case("06-fp16", "half precision")
def half(check):
    for name in ("fp16-io.onnx", "fp16-weights.onnx"):
        same(check, "06-fp16", name, tolerance=5e-3)


@case("07-batchnorm-training", "exported in training mode")
def batchnorm(check):
    result = check.run("inspect", check.file("07-batchnorm-training", "training.onnx"))
    check.refused(result, "eval()", what="training.onnx")
    check.answers(check.classify(image(check), check.file("07-batchnorm-training", "inference.onnx")), 2, what="inference")


@case("09-uint8-nhwc", "NHWC and uint8 inputs")
def nhwc(check):
    for name in ("float-nhwc.onnx", "uint8-nhwc.onnx"):
        result = check.classify(image(check), check.file("09-uint8-nhwc", name))
        if result.code == 0:
            check.that(result.json().get("class") == CLASS, f"{name}: class {result.json().get('class')}")
        else:
            check.refused(result, "nhwc", "uint8", "layout", what=name)


@case("10-initialisers", "initialisers that are inputs too")
def initialisers(check):
    same(check, "10-initialisers-as-inputs", "model.onnx")


@case("11-features", "features among the outputs")
def features(check):
    for name in ("argmax.onnx", "feature-map.onnx"):
        same(check, "11-features-among-outputs", name)
    result = check.classify(image(check), check.file("11-features-among-outputs", "embedding.onnx"))
    if result.code != 0:
        check.refused(result, "--exits", what="embedding.onnx")
    same(check, "11-features-among-outputs", "embedding.onnx", more=("--exits", "exit1,exit2"))


@case("12-same-output-twice", "an output that is listed twice")
def twice(check):
    result = check.run("inspect", check.file("12-same-output-twice", "model.onnx"), "--json")
    if result.code == 0:
        names = [stage["exit"] for stage in result.json().get("stages", [])]
        check.that(len(set(names)) == len(names), f"exits {names}")
        check.that(result.err.strip(), "nothing is said of it")
    else:
        check.refused(result, "twice", "more than once", "duplicate", what="model.onnx")


@case("13-loops", "Loop and Sequence")
def loops(check):
    for name, word in (("loop.onnx", "Loop"), ("sequence.onnx", "Sequence")):
        result = check.run("inspect", check.file("13-sequence-and-loop", name))
        check.refused(result, word, what=name)


@case("14-names", "names of exits")
def names(check):
    same(check, "14-names", "unicode.onnx")
    result = check.classify(image(check), check.file("14-names", "numbers.onnx"), "--exit", "1")
    if result.code == 0:
        check.that(result.err.strip(), "--exit 1 where an exit is called 1: nothing says which was taken")
    else:
        check.refused(result, "1", what="--exit 1")
    result = check.run("inspect", check.file("14-names", "control.onnx"))
    raw = [char for char in result.text if ord(char) < 32 and char not in "\n\t"]
    check.that(not raw, f"inspect prints control characters {sorted(set(raw))!r}")


@case("16-int8-qdq", "quantised networks")
def int8(check):
    for path in sorted(check.file("16-int8-qdq").glob("*.onnx")):
        inspected = check.run("inspect", path)
        result = check.classify(image(check), path)
        if "qoperator" in path.name and inspected.code == 2:
            check.refused(inspected, "QLinear", what=path.name)
            continue
        check.that(inspected.code == result.code, f"{path.name}: inspect {inspected.code}, classify {result.code}")
        check.answers(result, CLASS, PROBABILITY, 5e-3, what=path.name)


@case("17-input-rank", "inputs that are no image")
def ranks(check):
    for path in sorted(check.file("17-input-rank").glob("*.onnx")):
        check.refused(check.run("inspect", path), what=path.name)


@case("18-nonsquare", "height and width")
def sizes(check):
    check.answers(check.classify(image(check), check.file("18-nonsquare", "24x48.onnx")), 6, 0.99884, what="24x48")
    same(check, "18-nonsquare", "open-size-metadata.onnx")
    result = check.run("inspect", check.file("18-nonsquare", "open-size.onnx"))
    check.refused(result, "--size", "dyn_perceiver.size", what="open-size.onnx")
    for size in ("32", "32x32"):
        result = check.classify(image(check), check.file("18-nonsquare", "open-size.onnx"), "--size", size)
        if result.code == 0:
            break
    check.answers(result, CLASS, PROBABILITY, what="open-size.onnx --size 32")


@case("20-opsets", "opsets 11 to 23")
def opsets(check):
    for path in sorted(check.file("20-opsets").glob("*.onnx")):
        same(check, "20-opsets", path.name)


@case("21-nan-logits", "an exit whose logits are NaN")
def nan(check):
    same(check, "21-nan-logits", "nan-exit1.onnx")
    result = check.classify(image(check), check.file("21-nan-logits", "nan-exit2.onnx"))
    if result.code == 0:
        check.that(result.json().get("exit") == "exit1", f"exit {result.json().get('exit')}")
    else:
        check.refused(result, "exit2", codes=(1,), what="nan-exit2.onnx")
    frames = check.folder / "frames"
    frames.mkdir()
    for index in range(4):
        (frames / f"{index}.png").write_bytes(image(check).read_bytes())
    for name in ("nan-exit1.onnx", "nan-exit2.onnx"):
        model = check.file("21-nan-logits", name)
        result = check.run("run", "--model", model, "--frames", frames, "--no-compare", "--json")
        summary = (result.records("summary") or [{}])[-1]
        check.that(summary, f"run with {name}: no summary, {last(result.err)}")
        check.that(result.code in (0, 1), f"run with {name}: exit code {result.code}")
        if name == "nan-exit1.onnx":
            check.that(summary.get("frames") == 4, f"{name}: {summary.get('frames')} of 4 frames")


@case("23-one-exit", "one exit, and forty")
def exits(check):
    check.answers(check.classify(image(check), check.file("23-one-exit", "model.onnx")), 5, 0.65075, what="one exit")
    check.refused(check.run("inspect", check.file("23-one-exit", "forty-exits.onnx")), "40", what="forty exits")


@case("24-branchynet-ops", "LRN, ceil_mode, Dropout in training")
def branchynet(check):
    check.answers(check.classify(image(check), check.file("24-branchynet-ops", "lrn-ceil.onnx")), 3, 0.99999, what="lrn")
    path = check.file("24-branchynet-ops", "dropout-training.onnx")
    inspected, result = check.run("inspect", path), check.classify(image(check), path)
    check.that(inspected.code == result.code, f"inspect {inspected.code}, classify {result.code}")
    check.that(result.code == 0, f"dropout-training.onnx: exit code {result.code}: {last(result.err)}")
    check.that(result.told("dropout"), "nothing is said of Dropout in training mode")


@case("25-not-a-model", "files that are no model")
def no_model(check):
    for name, words in (
        ("empty.onnx", ("empty",)), ("lfs-pointer.onnx", ("lfs",)), ("page.onnx", ("html", "web page")),
        ("truncated.onnx", ("truncated", "ends", "cut")),
    ):
        check.refused(check.run("inspect", check.file("25-not-a-model", name)), *words, what=name)


@case("26-value-info", "intermediate shapes in the file")
def value_info(check):
    for path in sorted(check.file("26-value-info").glob("*.onnx")):
        same(check, "26-value-info", path.name)


@case("27-no-normalisation", "a model that says nothing of its normalisation")
def no_metadata(check):
    model = check.reference("no-metadata.onnx")
    result = check.classify(image(check), model)
    check.that(result.told("--mean", "dyn_perceiver.mean"), f"nothing of it is said: {last(result.err)!r}")
    check.that(result.told("--std", "dyn_perceiver.std"), "the deviation is not named")
    tried = []
    for more in (("--crop", "1"), ()):
        result = check.classify(image(check), model, "--mean", "0,0,0", "--std", "1,1,1", *more)
        tried.append(result)
        if result.code == 0 and result.json().get("class") == CLASS:
            break
    check.answers(result if result.code == 0 else tried[0], CLASS, PROBABILITY, what="--mean 0,0,0 --std 1,1,1")


@case("70-checkpoints", "PyTorch checkpoints")
def checkpoints(check):
    for path in sorted(check.file("70-checkpoints").iterdir()):
        target = check.folder / "imported.onnx"
        result = check.run("import", path, "-o", target)
        check.that(result.code in (0, 2), f"{path.name}: exit code {result.code}")
        check.that(result.code == 2 or target.exists(), f"{path.name}: nothing was written")
        if result.code == 2:
            refused = "no checkpoint of weights needs" in result.err and "state" not in result.err
            check.that(not refused, f"{path.name}: {last(result.err)}")
        target.unlink(missing_ok=True)
