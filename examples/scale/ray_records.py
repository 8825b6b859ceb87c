"""Records of a large validation set, made by the workers of a Ray cluster and put together.

    python examples/scale/ray_records.py MODEL DATA --parts 16 -o all.csv

Model, data and program have to be reachable under the same paths on every node. Ray runs a part again whose worker was
lost; a part that was made is not made again. What is written is what one run over all images writes, byte for byte.
"""

import argparse
import os
import subprocess
from pathlib import Path

import ray


@ray.remote(num_cpus=1, max_retries=5)
def collect(program, model, data, part, parts, output):
    path = Path(f"{output}.part-{part}-of-{parts}")
    if not path.exists():
        # Under a name of its own: the program of a worker that was lost may still be writing.
        own = path.with_name(f"{path.name}.{os.uname().nodename}-{os.getpid()}")
        command = [program, "records", "collect", model, "--data", data, "--shard", f"{part}/{parts}", "-o", str(own)]
        subprocess.run([*command, "--jobs", "1"], check=True, stdout=subprocess.DEVNULL)
        # The logits lie beside; the records come last, so that a part that is there is whole.
        for ending in (".logits", ""):
            os.replace(f"{own}{ending}", f"{path}{ending}")
    return str(path)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model", type=Path)
    p.add_argument("data", type=Path)
    p.add_argument("-o", "--output", type=Path, required=True)
    p.add_argument("--parts", type=int, default=16)
    p.add_argument("--program", default="dyn-perceiver")
    p.add_argument("--address", help="of a running cluster; without it, a local one with --workers")
    p.add_argument("--workers", type=int, default=2)
    args = p.parse_args()
    ray.init(address=args.address) if args.address else ray.init(num_cpus=args.workers, include_dashboard=False)
    model, data, output = (str(path.absolute()) for path in (args.model, args.data, args.output))
    parts = [collect.remote(args.program, model, data, i + 1, args.parts, output) for i in range(args.parts)]
    subprocess.run([args.program, "records", "merge", *ray.get(parts), "-o", output], check=True)


if __name__ == "__main__":
    main()
