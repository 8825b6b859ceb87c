"""Cases of cameras: MJPEG streams and pixel formats, by a command that writes frames."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from harness import NotHere, case, last

PACE = Path(__file__).with_name("pace.py")


def stream(check, file, frames, *more, seconds=40, step=None):
    """Frames answered from a file that comes slowly, until so many have come; and how the run ended."""
    command = f"command:{sys.executable} {PACE} {file}" + (f" {step}" if step else "")
    model = check.reference("channel-means.onnx")
    result = check.run(
        "run", "--model", model, "--exit", "R", "--camera", command, "--no-compare", "--json", "--limit", str(frames),
        *more, seconds=seconds,
    )
    return result.records("frame"), result


def whole(check, *parts):
    """What the network says of a whole frame."""
    result = check.classify(check.file(*parts), check.reference("channel-means.onnx"), "--exit", "R")
    return result.json().get("confidence", 0.0)


def good(check, file, frames, expected, tolerance=3e-3, restarts=0):
    answered, result = stream(check, file, frames, "--camera-format", "mjpeg")
    lost = [record for record in result.records("camera") if record.get("connected") is False]
    check.that(len(answered) == frames, f"{file.name}: {len(answered)} of {frames} frames: {last(result.err)}")
    check.that(len(lost) <= restarts, f"{file.name}: the camera was started again {len(lost)} times")
    for record in answered:
        off = abs(record.get("confidence", 0.0) - expected)
        check.that(off <= tolerance, f"{file.name}: frame {record.get('frame')} is answered as it is not, by {off:.3f}")
    return result


@case("40-mjpeg-no-huffman", "MJPEG without Huffman tables")
def no_huffman(check):
    folder = check.file("40-mjpeg-no-huffman")
    expected = whole(check, "40-mjpeg-no-huffman", "whole.jpg")
    for name in ("no-dht-avi1.jpg", "no-dht-jfif.jpg"):
        result = check.classify(folder / name, check.reference("channel-means.onnx"), "--exit", "R")
        check.answers(result, 0, expected, 0.02, what=name)
    for name in ("whole.mjpeg", "no-dht-avi1.mjpeg", "no-dht-no-app.mjpeg"):
        good(check, folder / name, 5, expected, 0.02)


@case("41-mjpeg-corrupt-frame", "one damaged MJPEG frame")
def corrupt(check):
    folder, expected = check.file("41-mjpeg-corrupt-frame"), whole(check, "40-mjpeg-no-huffman", "whole.jpg")
    for name, frames in (
        ("third-frame-damaged", 5), ("third-frame-no-end", 5), ("third-frame-short-but-ended", 5),
        ("third-frame-zeros", 4), ("extra-ff-and-trailing-zeros", 3), ("http-multipart", 4),
    ):
        result = good(check, folder / f"{name}.mjpeg", frames, expected)
        if name in ("third-frame-damaged", "third-frame-short-but-ended"):
            summary = (result.records("summary") or [{}])[-1]
            damaged = [value for key, value in summary.items() if "damaged" in key]
            counted = (damaged and damaged[0]) or summary.get("dropped")
            check.that(counted, f"{name}: no frame is counted as damaged: {sorted(summary)}")


@case("42-pixel-formats", "planar YUV from a camera command")
def pixel_formats(check):
    folder = check.file("42-pixel-formats")
    width, height = png_size(folder / "rgb.png")
    size = f"{width}x{height}"
    model = check.reference("channel-means.onnx")
    expected = check.classify(folder / "rgb.png", model, "--exit", "R").json().get("confidence", 0.0)
    for name in ("nv12", "i420"):
        answered, result = stream(
            check, folder / f"{name}.raw", 1, "--camera-format", name, "--camera-size", size, step=1 << 20
        )
        if check.that(answered, f"{name}: no frame: {last(result.err)}"):
            off = abs(answered[0].get("confidence", 0.0) - expected)
            check.that(off < 0.03, f"{name}: confidence is off by {off:.3f}: wrong colours")
    for name in ("uyvy", "yvyu", "bgr", "bgr3"):
        result = check.run("run", "--model", model, "--camera", "command:true", "--camera-format", name,
                           "--camera-size", size, "--limit", "1", "--json", seconds=15)
        known = "no pixel format" not in result.err
        if name != "bgr3":
            check.that(known or name == "bgr", f"{name} is not known: {last(result.err)}")


def png_size(path):
    header = path.read_bytes()[16:24]
    return int.from_bytes(header[:4], "big"), int.from_bytes(header[4:], "big")


@case("56-camera-battery", "a camera is not a simulated battery")
def camera_battery(check):
    script = check.folder / "frames.py"
    script.write_text(
        "import sys, time\n"
        "for i in range(400):\n"
        "    sys.stdout.buffer.write(bytes([i % 256]) * 1024)\n"
        "    sys.stdout.buffer.flush()\n"
        "    time.sleep(0.02)\n"
    )
    result = check.run(
        "run", "--model", check.reference(), "--camera", f"command:{sys.executable} {script}", "--camera-format", "grey",
        "--camera-size", "32x32", "--limit", "150", "--json", seconds=60,
    )
    summary = (result.records("summary") or [{}])[-1]
    check.that(summary.get("frames") == 150, f"{summary.get('frames')} of 150 frames, ended {summary.get('ended')!r}")
    never = check.run("run", "--model", check.reference(), "--camera", "/dev/video-none", "--json", seconds=30)
    check.that(never.code in (1, 2), f"a camera that never came: exit code {never.code}")
    check.that(not never.told("battery empty"), "a camera that never came: an empty battery is told")


@case("57-folder-battery", "a folder is read to its end")
def folder_battery(check):
    folder = check.folder / "frames"
    folder.mkdir()
    data = check.reference("p32.png").read_bytes()
    for index in range(200):
        (folder / f"{index:03}.png").write_bytes(data)
    result = check.run("run", "--model", check.reference(), "--frames", folder, "--json")
    summary = (result.records("summary") or [{}])[-1]
    check.that(summary.get("frames") == 200, f"{summary.get('frames')} of 200 frames, ended {summary.get('ended')!r}")
    check.that(not result.told("battery empty"), "the battery is said to be empty")


@case("58-ctrl-c", "Ctrl-C with a camera command")
def ctrl_c(check):
    starts = check.folder / "starts"
    script = check.folder / "camera.sh"
    script.write_text(f'echo started >> "{starts}"\nwhile true; do head -c 1024 /dev/zero; sleep 0.4; done\n')
    command = [str(check.program), "run", "--model", str(check.reference()), "--camera", f"command:sh {script}",
               "--camera-format", "grey", "--camera-size", "32x32", "--json"]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                             start_new_session=True, cwd=check.folder)
    for _ in range(200):
        if starts.exists():
            break
        time.sleep(0.05)
    time.sleep(1.0)
    os.killpg(child.pid, signal.SIGINT)
    try:
        _, said = child.communicate(timeout=5)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        check.that(False, "still running 5 s after Ctrl-C")
        return
    count = len(starts.read_text().splitlines()) if starts.exists() else 0
    check.that(count == 1, f"the camera command was started {count} times")
    check.that(child.returncode in (0, 130), f"exit code {child.returncode}: {last(said.decode('utf-8', 'replace'))}")


@case("58-sigterm", "SIGTERM while the camera command says nothing")
def sigterm(check):
    command = [str(check.program), "run", "--model", str(check.reference()), "--camera", "command:sleep 60 & wait",
               "--camera-format", "grey", "--camera-size", "32x32", "--json"]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                             start_new_session=True, cwd=check.folder)
    time.sleep(2.0)
    if child.poll() is not None:
        raise NotHere(f"the loop ended by itself with {child.returncode}")
    began = time.monotonic()
    child.send_signal(signal.SIGTERM)
    try:
        child.wait(timeout=8)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    seconds = time.monotonic() - began
    check.that(seconds < 3, f"ended {seconds:.1f} s after SIGTERM, asked within 2 s")
