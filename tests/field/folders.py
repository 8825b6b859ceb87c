"""Cases of folders with a folder per class."""

import shutil

from harness import case, last

FOLDER = "37-imagefolder"


def calibrate(check, folder, *more):
    """The result, its report, and the label of every sample recorded, by name."""
    policy, records = check.folder / "policy.json", check.folder / "policy.records.csv"
    for path in (policy, records):
        path.unlink(missing_ok=True)
    model = check.reference()
    result = check.run("calibrate", model, "--data", folder, "-o", policy, "--json", *more)
    labels = {}
    if records.exists():
        for row in records.read_text().splitlines():
            if not row.startswith(("#", "sample,")):
                name, label = row.split(",")[:2]
                labels[name] = int(label)
    return result, result.json(), labels


def by_class(labels):
    found = {}
    for name, label in labels.items():
        found.setdefault(name.split("/")[0], set()).add(label)
    return {name: sorted(values) for name, values in sorted(found.items())}


@case("37-imagefolder", "class folders as people have them")
def folders(check):
    two = {"cat": [0], "dog": [1]}
    for name, samples, classes in (
        ("flat", 6, two), ("nested", 8, two), ("mixed-formats", 6, two), ("ipynb", 2, two),
        ("empty-class", 2, None), ("numbered", 4, None),
    ):
        result, _, labels = calibrate(check, check.file(FOLDER, name))
        if not check.that(result.code in (0, 1), f"{name}: exit code {result.code}: {last(result.err)}"):
            continue
        check.that(len(labels) == samples, f"{name}: {len(labels)} samples, expected {samples}")
        found = by_class(labels)
        check.that(classes is None or found == classes, f"{name}: labels {found}")
        if name == "numbered":
            check.that(found["0"] == [0] and found["1"] == [1], f"numbered: {found}")
        if name == "empty-class":
            check.that(result.told("bee"), "empty-class: nothing is said of bee")
    result, _, labels = calibrate(check, check.file(FOLDER, "stray"))
    if result.code == 2:
        check.that(result.told("contact_sheet", "beside"), f"stray: says {last(result.err)!r}")
    else:
        check.that(by_class(labels) == two and len(labels) == 6, f"stray: labels {by_class(labels)}")
        check.that(result.told("contact_sheet"), "stray: nothing is said of contact_sheet.png")
    result, _, _ = calibrate(check, check.file(FOLDER, "split"))
    check.refused(result, "train", what="split")
    check.that(result.told("val"), f"split: says {last(result.err)!r}")


@case("37-run", "the same folders through the loop")
def frames(check):
    for name, count in (("flat", 6), ("nested", 8), ("mixed-formats", 6), ("stray", 6), ("split", 4)):
        result = check.run("run", "--model", check.reference(), "--frames", check.file(FOLDER, name), "--json")
        frames = (result.records("summary") or [{}])[-1].get("frames", 0)
        told = result.told("contact_sheet") if name == "stray" else False
        check.that(frames >= count and (frames in (count, count + 1) or told), f"run over {name}: {frames} of {count}")


@case("37-one-bad", "one damaged image in a data set")
def one_bad(check):
    source = check.file(FOLDER, "one-bad")
    folder = check.folder / "data"
    shutil.copytree(source, folder)
    damaged = [path for path in sorted(folder.rglob("*.png")) if path.stat().st_size < 200]
    if not damaged:
        path = folder / "cat" / "1.png"
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:100])
        damaged = [path]
    result, report, labels = calibrate(check, folder)
    check.that(result.code == 1, f"calibrate: exit code {result.code}, expected 1: {last(result.err)}")
    check.that(len(labels) == 6 - len(damaged), f"calibrate: {len(labels)} samples, expected {6 - len(damaged)}")
    check.that(result.told(f"{damaged[0].parent.name}/{damaged[0].name}"), "calibrate does not name it")
    policy = check.folder / "policy.json"
    result = check.run("evaluate", check.reference(), "--policy", policy, "--data", folder, "--json")
    check.that(result.code == 1, f"evaluate: exit code {result.code}, expected 1: {last(result.err)}")
    check.that(result.json().get("images") == 6 - len(damaged), f"evaluate: {result.json().get('images')} images")
    result, _, labels = calibrate(check, folder, "--strict")
    check.that(result.code in (1, 2) and not policy.exists(), f"calibrate --strict: exit code {result.code}")


@case("37-by-name", "class folders named like the model's labels")
def by_name(check):
    # The shipped model knows ten articles of clothing; a boot is class 9, and alphabetically the first.
    boot = check.file("30-exif-orientation", "boot-upright.jpg")
    shipped = check.run("classify", boot, "--json").json()
    label = shipped.get("label")
    if not check.that(label is not None, "the shipped model has no labels"):
        return
    data = check.folder / "data"
    for name in (label, "Trouser", "Dress"):
        (data / name).mkdir(parents=True)
        shutil.copy(boot, data / name / "a.jpg")
    summary = check.run("run", "--frames", data, "--json")
    truths = {record.get("truth") for record in summary.records("frame")}
    expected = {1, 3, shipped["class"]}
    check.that(truths in ({None}, expected), f"run: truths {truths}, expected {expected} or none")
