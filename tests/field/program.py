"""Cases of terminals, pipes, disks and the state file."""

import fcntl
import json
import os
import pty
import re
import select
import shlex
import struct
import subprocess
import termios
import time

from harness import NotHere, case, last

# So large a battery that no run ends for it.
LARGE = ("--battery-mwh", "100000")
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def frames(check, count):
    return ("run", "--model", check.reference(), "--synthetic", str(count), "--no-compare", *LARGE)


def shell(check, command, seconds=60):
    """Runs a line of bash with the program as $P; the exit codes of a pipe are in PIPESTATUS."""
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=seconds, cwd=check.folder, text=True,
                          errors="replace", env={**os.environ, "P": str(check.program), "M": str(check.reference()),
                                                 "I": str(check.reference("p32.png"))})
    check.that("panicked at" not in done.stderr, f"a panic: {command}")
    return done


@case("50-broken-pipe", "a pipe that is closed")
def broken_pipe(check):
    run = "run --model $M --synthetic 3000 --no-compare --battery-mwh 100000"
    for command in (run, f"{run} --json", "inspect $M", "classify $I --model $M", "models", "doctor"):
        done = shell(check, f"$P {command} | (exec <&-; sleep 0.5); echo ${{PIPESTATUS[0]}}")
        code = int(done.stdout.strip() or 99)
        check.that(code in (0, 1, 141), f"{command.split()[0]}: exit code {code} on a closed pipe")


@case("51-full-disk", "stdout and stderr on a full disk")
def full_disk(check):
    if not os.path.exists("/dev/full"):
        raise NotHere("/dev/full")
    run = "run --model $M --synthetic 20 --no-compare --battery-mwh 100000"
    for command in (run, f"{run} --json", "inspect $M", "classify $I --model $M --json"):
        done = shell(check, f"$P {command} >/dev/full; echo \"code $?\" >&2")
        code = int(done.stderr.strip().splitlines()[-1].split()[-1])
        check.that(code == 1, f"{command.split()[0]} >/dev/full: exit code {code}, expected 1")
        check.that(len(done.stderr.strip().splitlines()) > 1, f"{command.split()[0]} >/dev/full: says nothing")
    done = shell(check, "$P inspect nosuch.onnx 2>/dev/full; echo $?")
    check.that(done.stdout.strip() == "2", f"inspect nosuch.onnx 2>/dev/full: exit code {done.stdout.strip()}")


@case("52-small-disk", "the disk fills while the loop runs")
def small_disk(check):
    inner = (
        "mkdir -p d && mount -t tmpfs -o size=64k small d && "
        "head -c 52000 /dev/zero > d/ballast && "
        "$P run --model $M --synthetic 300 --no-compare --battery-mwh 100000 --json --state d/state.json --save-every 0.01 "
        "--log d/log >/dev/null 2>d/err; echo \"code $?\"; ls -A d; rm d/ballast; "
        "$P run --model $M --synthetic 5 --no-compare --battery-mwh 100000 --json --log d/log >/dev/null 2>&1; "
        "echo LOG; cat d/log"
    )
    done = shell(check, f"unshare -rm bash -c {shlex.quote(inner)} || true", seconds=120)
    if "code " not in done.stdout:
        raise NotHere(f"no mount namespaces: {last(done.stderr)}")
    before, _, log = done.stdout.partition("LOG\n")
    code = re.search(r"code (\d+)", before).group(1)
    check.that(code in ("0", "1"), f"exit code {code}")
    left = [name for name in before.splitlines()[1:] if name.endswith(".tmp") or ".tmp" in name]
    check.that(not left, f"temporary files stay: {left}")
    broken = 0
    for line in log.splitlines():
        try:
            json.loads(line)
        except ValueError:
            broken += 1
    check.that(broken <= 1, f"{broken} lines of the log are no JSON")
    glued = sum(line.count('"kind"') > 1 for line in log.splitlines())
    check.that(not glued, f"{glued} lines hold two records")


@case("53-read-only", "a state file where none can be written")
def read_only(check):
    result = check.run(*frames(check, 50), "--state", "/proc/no-such-folder/state.json", "--json")
    early = result.code in (1, 2) and not result.records("frame")
    warned = result.err.strip() != ""
    check.that(early or warned, f"nothing is said at the start; exit code {result.code}")
    check.that(early or result.code != 0, f"exit code {result.code} though the state was never stored")


def terminal(check, columns, environment, count=120):
    """What a terminal of so many columns is sent."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    command = [str(check.program), *map(str, frames(check, count)), "--fps", "60"]
    env = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS", "LINES")}
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=follower, stderr=follower, cwd=check.folder,
                             env={**env, **environment}, start_new_session=True)
    os.close(follower)
    data, ends = b"", time.monotonic() + 40
    while time.monotonic() < ends:
        if select.select([leader], [], [], 0.2)[0]:
            try:
                piece = os.read(leader, 65536)
            except OSError:
                break
            if not piece:
                break
            data += piece
        elif child.poll() is not None:
            break
    child.kill()
    child.wait()
    os.close(leader)
    return data.decode("utf-8", "replace")


@case("54-terminal", "narrow and dumb terminals, colours into files")
def narrow(check):
    for columns in (40, 60, 80):
        text = terminal(check, columns, {"TERM": "xterm-256color"})
        live = [line for line in re.split(r"[\r\n]+", text) if "\x1b[K" in line or "\x1b[2K" in line]
        longest = max((len(ESCAPE.sub("", line)) for line in live), default=0)
        check.that(longest <= columns, f"a live line of {longest} on {columns} columns")
    dumb = terminal(check, 80, {"TERM": "dumb"})
    check.that("\x1b" not in dumb, "escape sequences on TERM=dumb")
    lost = shell(check, "timeout -s INT 4 $P run --model $M --camera command:false --camera-format mjpeg --limit 1")
    check.that("\x1b[" not in lost.stdout + lost.stderr, "colour codes in a stderr that is no terminal")


@case("55-state-file", "a state file that is empty, cut or newer")
def state_file(check):
    good = check.file("55-state-file", "s.json").read_text()
    contents = {
        "empty": "", "half": check.file("55-state-file", "half.json").read_text(), "nuls": "\0" * 200,
        "newer": good.rstrip().rstrip("}") + ', "a_field_of_a_newer_version": 1}', "good": good,
    }
    for name, text in contents.items():
        folder = check.folder / name
        folder.mkdir()
        state = folder / "state.json"
        state.write_text(text)
        result = check.run(*frames(check, 10), "--state", state, "--json")
        check.that(result.code == 0, f"{name}: exit code {result.code}: {last(result.err)}")
        if name == "good":
            continue
        check.that(result.err.strip(), f"{name}: nothing is said")
        others = [path for path in folder.iterdir() if path != state and path.read_text(errors="replace") == text]
        check.that(others or name == "newer", f"{name}: not put aside, {sorted(p.name for p in folder.iterdir())}")
        check.that(state.exists() and '"' in state.read_text(), f"{name}: no new state")


@case("59-fps", "numbers that make no sense")
def fps(check):
    for value in ("1e-30", "0", "-1", "nan", "inf"):
        result = check.run(*frames(check, 2), "--fps", value, seconds=10)
        check.refused(result, what=f"--fps {value}")
