"""Checks a built program against field cases: `python3 tests/field PROGRAM --cases FOLDER`. See README.md here."""

import argparse
import os
import sys
import tempfile
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import harness  # noqa: E402

for module in ("models", "images", "folders", "streams", "program", "power", "hostile"):
    __import__(module)


def main():
    parser = argparse.ArgumentParser(prog="tests/field", description=__doc__)
    parser.add_argument("program", help="the program dyn-perceiver, as built")
    parser.add_argument("--cases", default=os.environ.get("FIELD_CASES"), help="folder of the cases [env: FIELD_CASES]")
    parser.add_argument("--only", help="names of cases, or how they begin, separated by commas")
    parser.add_argument("--verbose", action="store_true", help="say every failed check, not only the first of a case")
    args = parser.parse_args()
    if not args.cases or not Path(args.cases).is_dir():
        parser.error("name the folder of the cases with --cases or FIELD_CASES")
    program = Path(args.program).resolve()
    if not os.access(program, os.X_OK):
        parser.error(f"{program} is no program")
    wanted = args.only.split(",") if args.only else [""]
    rows = []
    for name, title, function in sorted(harness.CASES, key=lambda entry: entry[0]):
        if not any(name.startswith(begin) for begin in wanted):
            continue
        rows.append((name, title, *one(function, program, Path(args.cases).resolve())))
        print(f"{rows[-1][2]:7} {name:24} {title}", flush=True)
        shown = rows[-1][4] if args.verbose else rows[-1][4][:2]
        for failure in shown:
            print(f"          {failure}", flush=True)
    counts = {word: sum(row[2] == word for row in rows) for word in ("pass", "FAIL", "skipped")}
    checks = sum(row[3] for row in rows)
    print(f"\n{counts['pass']} pass, {counts['FAIL']} fail, {counts['skipped']} skipped; {checks} checks")
    sys.exit(1 if counts["FAIL"] else 0)


def one(function, program, cases):
    """Pass, fail or skipped; how many checks there were; and what was not so."""
    with tempfile.TemporaryDirectory(prefix="field-", ignore_cleanup_errors=True) as folder:
        check = harness.Check(program, cases, Path(folder))
        try:
            function(check)
        except harness.NotHere as reason:
            return "skipped" if not check.failures else "FAIL", check.asked, [*check.failures, f"not tried: {reason}"]
        except Exception:
            check.failures.append(traceback.format_exc(limit=2).strip().splitlines()[-1])
        return ("FAIL" if check.failures else "pass"), check.asked, check.failures


main()
