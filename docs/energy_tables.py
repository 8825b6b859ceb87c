"""Writes the tables of docs/energy.md: runs `dyn-perceiver simulate` and replaces what stands between the markers.

    cargo build --release
    target/release/dyn-perceiver calibrate models/pretrained/fashion-mnist/model.onnx -o policy.json \
        --data .../train-images-idx3-ubyte.gz --range 55000..60000
    python3 docs/energy_tables.py --records policy.records.csv [--seeds 200] [--program target/release/dyn-perceiver]

The images are Fashion-MNIST's training images, of which the last 5,000 had no part in training.
"""

import argparse
import json
import os
import platform
import subprocess
from pathlib import Path

PAGE = Path(__file__).with_name("energy.md")
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
# (title, options) of every mission of 24 hours: with the shipped model's records, and with synthetic ones.
SHIPPED = [
    ("Shipped model, the governor chooses the period", ["--between-ms", "100,5000"]),
    ("Shipped model, the same with a battery that barely lasts", ["--between-ms", "250,2000", "--capacity-wh", "120"]),
    ("Shipped model, a frame every 250 ms", []),
]
SYNTHETIC = [
    ("A frame every 250 ms", []),
    ("The governor chooses the period", ["--between-ms", "250,2000", "--capacity-wh", "110"]),
    ("Events at random, 14,400 an hour", ["--per-hour", "14400"]),
    ("More by day (24,000 an hour) than by night (4,800)", ["--day-night", "24000,4800"]),
    ("Never below 85 % accuracy", ["--floor", "85"]),
    ("A 10 W solar panel", ["--solar", "10", "--capacity-wh", "100"]),
]
FAULTS = ["nack", "bus", "checksum", "out-of-range", "stuck", "jump"]


def simulate(args: argparse.Namespace, options: list[str]) -> dict:
    command = [args.program, "simulate", "--seeds", str(args.seeds), "--json", *options]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def mission(title: str, options: list[str], result: dict) -> list[str]:
    shown = " ".join(options)
    lines = [
        f"### {title}",
        "",
        f"`dyn-perceiver simulate --seeds {result['scenario']['missions']} {shown}`".rstrip("` ") + "`",
        "",
        "| who decides | frames | accuracy | right per Wh | lifetime | SoC at the end | lowest | within 2 points of the "
        "reserve | more than 2 below | brown-outs | switches |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, s in result["strategies"].items():
        lines.append(
            f"| {name} | {s['frames']:.0f} | {percent(s['accuracy'])} | {s['right_per_watt_hour']:.0f} | "
            f"{percent(s['lifetime'])} | {percent(s['soc_mean'])} | {percent(s['soc_lowest'])} | "
            f"{percent(s['within_2_points'])} | {percent(s['below_2_points'])} | {s['brown_outs']} | {s['switches']:.0f} |"
        )
    over, hindsight = result["governor_over_steps"], result["governor_over_steps_in_hindsight"]
    lines += [
        "",
        f"Governor over SoC steps: frames x {over['frames']:.3f}, right answers per watt-hour x "
        f"{over['right_per_watt_hour']:.3f}; over those in hindsight: x {hindsight['frames']:.3f} and x "
        f"{hindsight['right_per_watt_hour']:.3f}. Right answers over the oracle's: "
        f"{percent(result['governor_over_oracle']['right'])}.",
        "",
    ]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", default="target/release/dyn-perceiver")
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--records", required=True, help="calibration records of the shipped model")
    args = parser.parse_args()

    lines = []
    missions = [(title, options, ["--records", args.records, *options]) for title, options in SHIPPED]
    missions += [(title, options, options) for title, options in SYNTHETIC]
    for title, shown, options in missions:
        result = simulate(args, options)
        shown = ["--records policy.records.csv", *shown] if len(options) > len(shown) else shown
        lines += mission(title, shown, result)
    scenario = result["scenario"]
    lines += [
        "### Gauge faults, from a random moment to the end",
        "",
        "| fault | brown-outs | lifetime | SoC at the end | lowest | frames | accuracy | reasons given besides budget and "
        "hold |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for fault in FAULTS:
        s = simulate(args, ["--fault", fault])["strategies"]["governor"]
        reasons = [f"{name} {percent(share)}" for name, share in s["reasons"].items() if name not in ("budget", "hold")]
        lines.append(
            f"| {fault} | {s['brown_outs']} | {percent(s['lifetime'])} | {percent(s['soc_mean'])} | "
            f"{percent(s['soc_lowest'])} | {s['frames']:.0f} | {percent(s['accuracy'])} | {', '.join(reasons)} |"
        )
    head = [
        f"{scenario['missions']} missions of {scenario['hours']:.0f} h each, joules modelled: 200 ms for the whole network "
        f"on a {scenario['board']}. Made by `python3 docs/energy_tables.py` on {platform.machine()} with {os.cpu_count()} "
        "cores.",
        "",
    ]
    page = PAGE.read_text()
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    beside = PAGE.with_suffix(".md.tmp")
    beside.write_text(f"{before}{BEGIN}\n\n" + "\n".join(head + lines) + f"\n\n{END}{after}")
    beside.replace(PAGE)


main()
