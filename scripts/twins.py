"""`make test-twins`: puts every seeded defect in and shows which ones the tests catch.

scripts/twins.py [--jobs N] [CASE ...]      for example: scripts/twins.py T13 T25
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[0] = str(ROOT / "tests")  # not this folder, where `twins` is this file

from twins.register import collect, lacking  # noqa: E402  found where the line above says
from twins.runner import Result, run  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help="only these (default: all)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at a time")
    parser.add_argument("--root", type=Path, default=ROOT, help="repository")
    options = parser.parse_args()
    defects = collect(options.root)
    chosen = [d for d in defects if not options.cases or d.case in options.cases]
    with tempfile.TemporaryDirectory(prefix="dormouse-twins-") as folder:
        found = list(map(_shown, run(options.root, chosen, folder=Path(folder), jobs=options.jobs)))
    untested, without_twin = lacking(options.root, defects)
    missed = [result for result in found if result.verdict != "caught"]
    print(f"\n{len(found) - len(missed)} of {len(found)} defects caught")
    print(f"cases without a test: {' '.join(untested) or 'none'}")
    print(f"cases without a twin: {' '.join(without_twin) or 'none'}")
    return 1 if missed else 0


def _shown(result: Result) -> Result:
    defect = result.defect
    print(
        f"{defect.case:5} {defect.what[:60]:60} {result.verdict:10} {result.seconds:6.1f} s",
        f" {result.why}" if result.why else "",
        flush=True,
    )
    return result


if __name__ == "__main__":
    sys.exit(main())
