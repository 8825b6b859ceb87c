"""Checks the Ray driver on this machine: two workers, of which one is killed at work, have to leave the bytes of one run.

    python examples/scale/check_ray.py MODEL DATA --program target/release/dyn-perceiver
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DRIVER = Path(__file__).with_name("ray_records.py")


def workers(driver):
    """Processes below `driver` that run the program."""
    children = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, fields = stat.read_text().rsplit(")", 1)
        except OSError:
            continue
        pid, name = int(stat.parent.name), name.split("(", 1)[1]
        children.setdefault(int(fields.split()[1]), []).append((pid, name))
    found, waiting = [], [driver]
    while waiting:
        for pid, name in children.get(waiting.pop(), []):
            waiting.append(pid)
            found.extend([pid] if name.startswith("ray::collect") else [])
    return found


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model"), p.add_argument("data"), p.add_argument("--program", default="dyn-perceiver")
    p.add_argument("--parts", default="6")
    args = p.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        one, parts = Path(folder, "one.csv"), Path(folder, "all.csv")
        collect = [args.program, "records", "collect", args.model, "--data", args.data, "-o", str(one)]
        subprocess.run(collect, check=True, stdout=subprocess.DEVNULL)
        command = [sys.executable, str(DRIVER), args.model, args.data, "-o", str(parts), "--parts", args.parts]
        driver = subprocess.Popen([*command, "--program", args.program, "--workers", "2"])
        # One part is made, and another under way.
        while driver.poll() is None and not (list(Path(folder).glob("all.csv.part-?-of-?")) and workers(driver.pid)):
            time.sleep(0.05)
        if driver.poll() is not None:
            sys.exit("it ended before a worker could be killed: give it more --parts or more images")
        os.kill(workers(driver.pid)[0], signal.SIGKILL)
        print("killed a worker", flush=True)
        if driver.wait() != 0:
            sys.exit("the driver failed")
        if one.read_bytes() != parts.read_bytes():
            sys.exit("the records differ from those of one run")
    print("the same bytes as one run")


if __name__ == "__main__":
    main()
