"""Cases of batteries, power supplies and rails, by the kernel's files."""

import shlex
import shutil
import subprocess

from harness import NotHere, case, last

SUPPLY = "60-power-supply"


def bound(check, what, folder, *args, seconds=60):
    """Runs the program with /sys/class showing nothing but a folder, in a mount namespace of its own."""
    shown = check.folder / f"class-{what}-{folder.name}"
    if not shown.exists():
        shutil.copytree(folder, shown / what)
    mount = f"mount --bind {shlex.quote(str(shown))} /sys/class"
    inner = f"{mount} && exec \"$@\""
    probe = subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True, check=False)
    if probe.returncode != 0:
        raise NotHere("no mount namespaces")
    return check.run(*args, prefix=["unshare", "-rm", "sh", "-c", inner, "sh"], seconds=seconds)


def gauge(check, name, *more):
    """The result of a few frames governed by a power supply, and their records."""
    result = bound(
        check, "power_supply", check.file(SUPPLY, name), "run", "--model", check.reference(), "--synthetic",
        "20", "--no-compare", "--gauge", "power-supply", "--json", *more,
    )
    return result, result.records("frame")


def soc(check, name, expected, *more):
    result, frames = gauge(check, name, *more)
    if not check.that(frames, f"{name}: no frames: {last(result.err)}"):
        return
    found = frames[-1].get("soc")
    near = found is not None and abs(found - expected) < 0.02
    check.that(near, f"{name}: charge {found}, expected {expected}")
    failed = [frame["reason"] for frame in frames if frame.get("reason") == "gauge-failed"]
    check.that(not failed, f"{name}: the gauge is said to have failed")


@case("60-power-supply", "whose battery is it?")
def power_supply(check):
    soc(check, "mouse", 0.18)
    soc(check, "keyboard", 0.80)
    soc(check, "two", 0.286)
    soc(check, "removed", 0.55)
    soc(check, "above", 1.0)
    soc(check, "unknown", 0.50)
    for name in ("onlymouse", "usb"):
        result, _ = gauge(check, name)
        check.refused(result, "battery", what=name)
    for name in ("negative",):
        result, frames = gauge(check, name)
        said = result.told("capacity", "percent", "-19", "gauge")
        check.that(result.code == 2 or said, f"{name}: why the gauge failed is not told: {last(result.err)!r}")
    root = check.folder / "root"
    shutil.copytree(check.file(SUPPLY, "root"), root)
    found = check.run("doctor", "--root", root, "--json").json().get("checks", [])
    battery = [entry.get("found") or "" for entry in found if entry.get("check") == "battery"]
    check.that(battery and "ip5xxx" in battery[0], f"doctor: {battery}")
    counted = battery and "hid-34" in battery[0] and "18 %, hid" in battery[0]
    check.that(not counted, f"doctor takes the mouse for a battery: {battery}")


@case("61-on-mains", "on external power the level rightly stays")
def mains(check):
    policy = check.folder / "policy.json"
    data = check.file("37-imagefolder", "flat")
    made = check.run("calibrate", check.reference(), "--data", data, "-o", policy, "--json")
    if not check.that(policy.exists(), f"no policy: {last(made.err)}"):
        return
    for name, level in (("mains", 0.80), ("full", 1.0)):
        result = bound(
            check, "power_supply", check.file(SUPPLY, name), "run", "--model", check.reference(),
            "--synthetic", "400", "--no-compare", "--gauge", "power-supply", "--mode", "mission", "--hours", "1",
            "--policy", policy, "--fps", "200",
            "--battery-mwh", "0.02", "--idle-watts", "2.7", "--active-watts", "6.4", "--json",
        )
        frames = result.records("frame")
        if not check.that(frames, f"{name}: no frames: {last(result.err)}"):
            continue
        bad = {frame.get("reason") for frame in frames} & {"gauge-failed", "stale-hold", "stale-degrade"}
        check.that(not bad, f"{name}: reasons {sorted(bad)} on external power")
        check.that(abs((frames[-1].get("soc") or 0) - level) < 0.02, f"{name}: charge {frames[-1].get('soc')}")
        told = "external" in result.text or any("external" in str(frame.get("reason")) for frame in frames)
        check.that(told, f"{name}: external power is not told")


@case("65-sensors", "sensors by name, chemistry, channels")
def sensors(check):
    base = ("run", "--model", check.reference(), "--synthetic", "2", "--no-compare", "--battery-mwh", "1000", "--gauge")
    for name in ("pisugar2", "pijuice", "max17040", "lc709203f", "max17048", "bq27441", "pisugar3"):
        result = check.run(*base, f"{name}:/dev/i2c-none")
        known = "is no sensor" not in result.err and "/dev/i2c-none" in result.err
        check.that(known, f"{name}: {last(result.err)}")
    for name in ("ina260:/dev/i2c-none:0x40", "ina3221:/dev/i2c-none:0x40:0.1:2", "ina219:/dev/i2c-none:0x43:0.00725"):
        result = check.run(*base, name)
        check.that(result.code == 2 and "is no sensor" not in result.err, f"{name}: {last(result.err)}")
        check.that("expected" not in result.err, f"{name}: {last(result.err)}")
    result = check.run(*base, "nosuch:/dev/i2c-1")
    for word in ("ina219", "ina226", "rail", "max17048"):
        check.that(word in result.err, f"the list of sensors lacks {word}: {last(result.err)}")
    result = check.run("run", "--model", check.reference(), "--synthetic", "2", "--chemistry", "lifepo4", "--no-compare")
    check.that(result.code == 0, f"--chemistry lifepo4: {last(result.err)}")


@case("66-rails", "rails of the kernel's drivers, without labels")
def rails(check):
    folder = check.file("66-rails", "hwmon")
    for name in ("ina219", "VDD_1"):
        label = name
        if name == "VDD_1":
            labels = [path.read_text().strip() for path in folder.glob("*/in*_label")]
            if not labels:
                continue
            label = labels[0]
        result = bound(
            check, "hwmon", folder, "run", "--model", check.reference(), "--synthetic", "5", "--no-compare",
            "--gauge", f"rail:{label}", "--battery-mwh", "1000", "--json",
        )
        check.that(result.code == 0, f"rail:{label}: {last(result.err)}")
        check.that(len(result.records("frame")) == 5, f"rail:{label}: {len(result.records('frame'))} frames")
