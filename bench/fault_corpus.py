# SPDX-License-Identifier: GPL-2.0-or-later
"""The fault rules against a folder of field logs with an index of what they should say.

Run: python -m bench.fault_corpus [FOLDER]   (default: ../shared/kmsg beside the repository)
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

from flowguard.cli.classify import classify
from flowguard.core.faults import verdict
from flowguard.rules import load

DEFAULT = Path(__file__).parents[2] / "shared" / "kmsg"


def main() -> int:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT
    if not folder.is_dir():
        print(f"{folder}: no such folder", file=sys.stderr)
        return 2
    rules = load()
    table: Counter[tuple[str, str, str]] = Counter()
    for entry in json.loads((folder / "index.json").read_text()):
        faults = classify(rules, (folder / entry["file"]).read_text(errors="replace"))
        wanted, found = entry.get("attribution", "none"), str(verdict(faults))
        classes = {str(fault.fault_class) for fault in faults}
        table[entry["label"], wanted, found] += 1
        if wanted != found or (entry["expected_class"] or found) not in {*classes, "none"}:
            seen = ", ".join(f"{f.rule} ({f.because or f.line.strip()})" for f in faults)
            print(f"{entry['file']}: {wanted}, found {found}: {seen}")
    print(f"\n{'label':16} {'wanted':8} {'found':8} logs")
    for (label, wanted, found), count in sorted(table.items()):
        print(f"{label:16} {wanted:8} {found:8} {count:4}{'' if wanted == found else '  <-'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
