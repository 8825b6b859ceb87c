"""Cases of image files."""

import os

from harness import case, last

CHANNELS = ("R", "G", "B")


def means(check, image, model="channel-means.onnx"):
    """What a network of channel means says of an image: a number per channel, or the result that failed."""
    values = []
    for channel in CHANNELS:
        result = check.classify(image, check.reference(model), "--exit", channel)
        if result.code != 0:
            return result
        values.append(result.json().get("probability"))
    return values


def alike(check, image, other, model="channel-means.onnx", tolerance=0.01, what=None):
    """Asks that two images look the same to the network."""
    what = what or image.name
    found, expected = means(check, image, model), means(check, other, model)
    if not check.that(isinstance(found, list), f"{what}: {last(getattr(found, 'err', ''))}"):
        return
    near = all(abs(a - b) <= tolerance for a, b in zip(found, expected))
    check.that(near, f"{what}: {[round(v, 3) for v in found]}, expected {[round(v, 3) for v in expected]}")


@case("30-exif-orientation", "photographs that are stored turned")
def orientation(check):
    folder = check.file("30-exif-orientation")
    alike(check, folder / "orientation6.jpg", folder / "upright.jpg", "bottom-quarter-means.onnx")
    upright = check.run("classify", folder / "boot-upright.jpg", "--json").json().get("class")
    for name in ("boot-orientation3.jpg", "boot-orientation6.jpg"):
        found = check.run("classify", folder / name, "--json").json().get("class")
        check.that(found == upright, f"{name}: class {found}, upright {upright}")


@case("31-cmyk", "CMYK and YCCK")
def cmyk(check):
    folder = check.file("31-cmyk")
    for path in sorted(folder.glob("*.jpg")):
        alike(check, path, folder / "rgb.png")


@case("32-png-kinds", "kinds of PNG")
def png(check):
    folder = check.file("32-png-kinds")
    colour = ("gamma", "interlaced", "palette", "palette-trns", "rgb16", "rgb8", "rgba-half-transparent")
    for name in colour:
        alike(check, folder / f"{name}.png", folder / "rgb8.png")
    for name in ("grey-alpha", "grey16", "one-bit", "grey2bit"):
        alike(check, folder / f"{name}.png", folder / "grey8.png")
    for name in ("1x1", "1x300", "2000x3", "grey16-12bit-camera"):
        result = check.classify(folder / f"{name}.png", check.reference("channel-means.onnx"))
        check.that(result.code == 0, f"{name}: {last(result.err)}")


@case("33-truncated", "cut and damaged images, alone and in a folder")
def truncated(check):
    folder, model = check.file("33-truncated"), check.reference("channel-means.onnx")
    bad = ("half.jpg", "bad-crc.png", "half.png", "zero-bytes.png")
    for name in bad:
        result = check.classify(folder / name, model)
        check.that(result.code in (1, 2), f"{name}: exit code {result.code}")
        check.that(not result.records(), f"{name} is answered")
    for name in ("whole.jpg", "trailing-garbage.jpg"):
        alike(check, folder / name, folder / "whole.jpg")
    whole = folder / "whole.jpg"
    result = check.run("classify", whole, folder / "half.png", whole, "--model", model, "--json")
    answered = [record for record in result.records() if "class" in record]
    check.that(len(answered) == 2, f"classify of two whole images and a cut one: {len(answered)} answers")
    check.that(result.code == 1 and "half.png" in result.err, f"exit code {result.code}: {last(result.err)}")
    frames = check.folder / "frames"
    frames.mkdir()
    for index, name in enumerate(["whole.jpg", "half.png", "whole.jpg", "half.jpg", "whole.jpg"]):
        (frames / f"{index}-{name}").write_bytes((folder / name).read_bytes())
    result = check.run("run", "--model", model, "--frames", frames, "--json")
    summary = (result.records("summary") or [{}])[-1]
    check.that(summary.get("frames") == 3, f"run over 3 whole images of 5: {summary.get('frames')} frames")
    check.that(result.code == 1, f"run over 3 whole images of 5: exit code {result.code}")
    check.that("half.jpg" in result.text and "half.png" in result.text, "run does not name the damaged images")
    strict = check.run("run", "--model", model, "--frames", frames, "--json", "--strict")
    check.that(strict.code in (1, 2), f"run --strict: exit code {strict.code}")
    check.that(len(strict.records("frame")) <= 1, "run --strict goes on after a damaged image")


@case("34-jpeg-kinds", "kinds of JPEG")
def jpeg(check):
    folder = check.file("34-jpeg-kinds")
    for name in ("baseline-411", "progressive", "restart", "rgb-adobe-transform0"):
        alike(check, folder / f"{name}.jpg", folder / "baseline-420.jpg")
    for name in ("grey", "odd-127x65"):
        result = check.classify(folder / f"{name}.jpg", check.reference("channel-means.onnx"))
        check.that(result.code == 0, f"{name}: {last(result.err)}")


@case("35-decompression-bomb", "images that claim or have too many pixels")
def bomb(check):
    model = check.reference("channel-means.onnx")
    for path in sorted(check.file("35-decompression-bomb").iterdir()):
        result = check.classify(path, model)
        check.that(result.peak_mib < 300, f"{path.name}: {result.peak_mib:.0f} MiB")
        if path.name.startswith("claims"):
            check.refused(result, what=path.name)


@case("36-other-formats", "formats beside PNG and JPEG")
def formats(check):
    folder = check.file("36-other-formats")
    for name in ("picture.bmp", "picture.webp", "really-webp.jpg", "really-a-png.jpg", "noextension"):
        alike(check, folder / name, folder / "really-a-png.jpg", tolerance=0.02)
    model = check.reference("channel-means.onnx")
    for name, words in (
        ("picture.ppm", ()), ("picture.tif", ()), ("animated.gif", ()), ("iphone.jpg", ("heic", "heif")),
        ("page.jpg", ("html", "web page", "not a readable image")),
    ):
        check.refused(check.classify(folder / name, model), *words, what=name)


@case("39-odd-paths", "names that are not UTF-8, pipes, folders")
def paths(check):
    model, picture = check.reference(), check.reference("p32.png")
    odd = os.path.join(os.fsencode(check.folder), b"caf\xe9")
    os.mkdir(odd)
    image, network = os.path.join(odd, b"a\xff.png"), os.path.join(odd, b"m\xff.onnx")
    for source, target in ((picture, image), (model, network)):
        with open(target, "wb") as file:
            file.write(source.read_bytes())
    check.answers(check.run("classify", image, "--model", network, "--json"), 6, what="classify of odd names")
    for args in (("inspect", network, "--json"), ("compile", network, "-o", b"out\xff.dynp", "--json"),
                 ("run", "--model", network, "--frames", odd, "--json")):
        result = check.run(*args)
        check.that(result.code == 0, f"{args[0]} of odd names: exit code {result.code}: {last(result.err)}")
    piped = check.run("classify", "/dev/stdin", "--model", model, "--json", stdin=picture.read_bytes())
    check.answers(piped, 6, what="an image through a pipe")
    piped = check.run("classify", picture, "--model", "/dev/stdin", "--json", stdin=model.read_bytes())
    check.answers(piped, 6, what="a model through a pipe")
    named = os.path.join(os.fsencode(check.folder), b"a\x1b[31m\nb.png")
    with open(named, "wb") as file:
        file.write(picture.read_bytes())
    result = check.run("classify", named, "--model", model)
    check.that("\x1b" not in result.text, "an escape sequence in a name reaches the terminal")
    missing = check.run("classify", "no-such.png", "--model", model)
    check.refused(missing, what="a missing image")
    check.that(missing.err.count("No such file") <= 1, f"the cause is told twice: {last(missing.err)}")
    empty = check.folder / "empty.png"
    empty.write_bytes(b"")
    codes = {check.run("classify", empty, "--model", model).code, check.run("run", "--frames", empty, "--model", model).code}
    check.that(len(codes) == 1, f"an empty image: exit codes {sorted(codes)} of classify and run")
    for folder in (check.folder, check.file("39-odd-paths", "looped")):
        check.that(check.run("classify", folder, "--model", model).code in (0, 1, 2), "a folder as an image")
