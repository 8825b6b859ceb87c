"""Runs the program and keeps account of what a case asks for. Only Python's own library is used."""

import json
import os
import resource
import signal
import subprocess
import tempfile
import time
from pathlib import Path

CASES = []
# Ends of a process that are a defect whatever the input: a panic, an abort, a segmentation fault.
CRASHES = {101, 134, 139}


class NotHere(Exception):
    """The case cannot be tried on this machine."""


def case(name, title):
    """Registers a function as the check of a case, named by its folder or number."""

    def register(function):
        CASES.append((name, title, function))
        return function

    return register


class Result:
    """How one run of the program ended."""

    def __init__(self, code, out, err, seconds, peak_mib, late, names=()):
        self.code, self.out, self.err, self.names = code, out, err, names
        self.seconds, self.peak_mib, self.late = seconds, peak_mib, late

    @property
    def text(self):
        return self.out + self.err

    def records(self, kind=None):
        """The JSON objects on stdout, those of a kind."""
        found = []
        for line in self.out.splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict) and kind in (None, record.get("kind")):
                found.append(record)
        return found

    def json(self):
        return (self.records() or [{}])[-1]

    def told(self, *words):
        """Whether one of the words was said, in any case of letters; names of files given to the program do not count."""
        said = self.text
        for name in self.names:
            said = said.replace(name, "")
        said = said.lower()
        return any(word.lower() in said for word in words)

    def crash(self):
        if self.late:
            return "no end within the time given"
        if self.code < 0 or self.code in CRASHES:
            return f"ended with {self.code}"
        return "a panic was printed" if "panicked at" in self.err else None


class Check:
    """What one case asked for, and what was not so."""

    def __init__(self, program, cases, folder):
        self.program, self.cases, self.folder = program, cases, folder
        self.asked, self.failures = 0, []

    def file(self, *parts):
        path = self.cases.joinpath(*parts)
        if not path.exists():
            raise NotHere(f"{Path(*parts)} is not there")
        return path

    def reference(self, name="two-exits.onnx"):
        return self.file("00-reference", name)

    def that(self, condition, text):
        """Asks for something."""
        self.asked += 1
        if not condition:
            self.failures.append(text)
        return bool(condition)

    def run(self, *args, seconds=60, stdin=None, env=None, memory_mib=None, cwd=None, prefix=(), stdout=None, stderr=None):
        """Runs the program; a crash is a failure by itself."""
        command = [*prefix, str(self.program), *[os.fspath(arg) if isinstance(arg, Path) else arg for arg in args]]

        def limit():
            os.setsid()
            if memory_mib:
                resource.setrlimit(resource.RLIMIT_AS, (memory_mib << 20, memory_mib << 20))

        environment = {**os.environ, "NO_COLOR": "", **(env or {})}
        environment.pop("NO_COLOR") if environment["NO_COLOR"] == "" else None
        began = time.monotonic()
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            child = subprocess.Popen(
                command, stdin=subprocess.PIPE if isinstance(stdin, bytes) else (stdin or subprocess.DEVNULL),
                stdout=stdout or out, stderr=stderr or err, preexec_fn=limit, env=environment, cwd=cwd or self.folder,
            )
            if isinstance(stdin, bytes):
                try:
                    child.stdin.write(stdin)
                    child.stdin.close()
                except BrokenPipeError:
                    pass
            code, usage, late = wait(child, seconds)
            texts = []
            for stream in (out, err):
                stream.seek(0)
                texts.append(stream.read().decode("utf-8", "replace"))
        result = Result(code, *texts, time.monotonic() - began, usage.ru_maxrss / 1024, late,
                        [os.fsdecode(arg) for arg in args if "/" in os.fsdecode(arg)])
        crash = result.crash()
        name = " ".join(shown(arg, self.cases) for arg in args)[:100]
        self.that(crash is None, f"{name}: {crash}")
        return result

    def classify(self, image, model, *more, **options):
        return self.run("classify", image, "--model", model, "--json", *more, **options)

    def refused(self, result, *words, codes=(2,), what=""):
        """Asks for a refusal by exit code, which says one of the words."""
        self.that(result.code in codes, f"{what}: exit code {result.code}, expected {codes[0]}")
        if words:
            said = last(result.err)
            self.that(result.told(*words), f"{what}: says {said!r}, and nothing of {' or '.join(words)}")

    def answers(self, result, cls, probability=None, tolerance=2e-3, what=""):
        """Asks for an answer with exit code 0."""
        if not self.that(result.code == 0, f"{what}: exit code {result.code}: {last(result.err)}"):
            return
        found = result.json()
        self.that(found.get("class") == cls, f"{what}: class {found.get('class')}, expected {cls}")
        if probability is not None:
            value = found.get("probability") or 0.0
            self.that(abs(value - probability) <= tolerance, f"{what}: probability {value:.4f}, expected {probability:.4f}")


def wait(child, seconds):
    """Waits for a child; ends its whole session when it is late."""
    ends, late = time.monotonic() + seconds, False
    while True:
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return child.returncode, usage, late
        if time.monotonic() > ends and not late:
            late = True
            os.killpg(child.pid, signal.SIGKILL)
        time.sleep(0.01)


def shown(arg, cases):
    text = os.fsdecode(arg)
    return text.replace(str(cases), "").lstrip("/")


def last(text):
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1][:160] if lines else ""
