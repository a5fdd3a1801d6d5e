# SPDX-License-Identifier: GPL-2.0-or-later
"""`flowguard classify`: the fault rules over saved kernel logs, nothing else."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from flowguard import rules
from flowguard.cli.common import ExitCode
from flowguard.core.faults import FaultAssembler, FaultRules, RuleError, logtext, verdict
from flowguard.core.model import Fault


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="+", help="- reads standard input")
    parser.add_argument("--json", action="store_true", help="one JSON object a file")
    parser.add_argument(
        "--rules", metavar="TOML", action="append", default=[], help="further fault rules"
    )


def run(options: argparse.Namespace) -> ExitCode:
    try:
        compiled = rules.load(options.rules)
    except RuleError as error:
        print(f"flowguard: {error}", file=sys.stderr)
        return ExitCode.USAGE
    code = ExitCode.FINE
    for path in options.files:
        try:
            text = _read(path)
        except OSError as error:
            print(f"flowguard: {path}: {error.strerror}", file=sys.stderr)
            code = ExitCode.USAGE
            continue
        faults = classify(compiled, text)
        if faults:
            code = max(code, ExitCode.TROUBLE)
        print(_json(path, faults) if options.json else _lines(path, faults))
    return code


def classify(compiled: FaultRules, text: str) -> list[Fault]:
    """Every fault in the text of a log, the oldest first."""
    assembler = FaultAssembler(compiled)
    faults = [fault for record in logtext.read(text) for fault in assembler.feed(record)]
    return faults + assembler.flush()


def _read(path: str) -> str:
    with open(0 if path == "-" else path, encoding="utf-8", errors="replace") as file:
        return file.read()


def _json(path: str, faults: Sequence[Fault]) -> str:
    return json.dumps(
        {
            "file": path,
            "verdict": verdict(faults),
            "faults": [
                {
                    "rule": fault.rule,
                    "class": fault.fault_class,
                    "attribution": fault.attribution,
                    "device": fault.device,
                    "driver": fault.driver,
                    "line": fault.line,
                    "because": fault.because,
                }
                for fault in faults
            ],
        }
    )


def _lines(path: str, faults: Sequence[Fault]) -> str:
    lines = [f"{path}: {verdict(faults)}"]
    for fault in faults:
        who = " ".join(filter(None, (fault.device, fault.driver and f"({fault.driver})")))
        lines.append(f"  {fault.attribution:8}{fault.rule}{' on ' if who else ''}{who}")
        lines.append(f"          {fault.line.strip()}")
        if fault.because:
            lines.append(f"          because of {fault.because}")
    return "\n".join(lines)
