"""Writes the tables of docs/energy.md: runs `dyn-perceiver simulate` and replaces what stands between the markers.

    cargo build --release && python3 docs/energy_tables.py [--seeds 200] [--program target/release/dyn-perceiver]
"""

import argparse
import json
import os
import platform
import subprocess
from pathlib import Path

PAGE = Path(__file__).with_name("energy.md")
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
# (title, options) of every mission of 24 hours.
MISSIONS = [
    ("A frame every 250 ms", []),
    ("The governor chooses the period, between 250 ms and 2 s", ["--between-ms", "250,2000", "--capacity-wh", "120"]),
    ("Events at random, 14,400 an hour", ["--per-hour", "14400"]),
    ("More by day (24,000 an hour) than by night (4,800)", ["--day-night", "24000,4800"]),
    ("Never below 90 % accuracy", ["--floor", "90"]),
    ("A 10 W solar panel", ["--solar", "10", "--capacity-wh", "130"]),
]
FAULTS = ["nack", "bus", "checksum", "out-of-range", "stuck", "jump"]


def simulate(args: argparse.Namespace, options: list[str]) -> dict:
    command = [args.program, "simulate", "--seeds", str(args.seeds), "--json", *args.extra, *options]
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
    over = result["governor_over_steps"]
    lines += [
        "",
        f"Governor over SoC steps: frames x {over['frames']:.3f}, right answers per watt-hour x "
        f"{over['right_per_watt_hour']:.3f}. Right answers over the oracle's: "
        f"{percent(result['governor_over_oracle']['right'])}.",
        "",
    ]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", default="target/release/dyn-perceiver")
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("extra", nargs="*", help="options for every mission, after --")
    args = parser.parse_args()

    first = None
    lines = []
    for title, options in MISSIONS:
        result = simulate(args, options)
        first = first or result
        lines += mission(title, options, result)
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
    scenario = first["scenario"]
    head = [
        f"{scenario['missions']} missions of {scenario['hours']:.0f} h each, {scenario['samples']} {scenario['records']} "
        f"records, joules modelled; made by `python3 docs/energy_tables.py` on {platform.machine()} with "
        f"{os.cpu_count()} cores.",
        "",
    ]
    page = PAGE.read_text()
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    beside = PAGE.with_suffix(".md.tmp")
    beside.write_text(f"{before}{BEGIN}\n\n" + "\n".join(head + lines) + f"\n\n{END}{after}")
    beside.replace(PAGE)


main()
