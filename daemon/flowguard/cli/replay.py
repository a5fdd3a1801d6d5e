# SPDX-License-Identifier: GPL-2.0-or-later
"""`flowguard replay`: the policy's decisions on a recorded event log, one JSON object a line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator

from flowguard.cli.common import ExitCode
from flowguard.core.replay import Line, decision_to_json, decode_event, replay


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("events", metavar="EVENTS.jsonl", help="- reads standard input")


def run(options: argparse.Namespace) -> ExitCode:
    try:
        for decision in replay(_events(options.events)):
            print(json.dumps(decision_to_json(decision)))
    except OSError as error:
        print(f"flowguard: {options.events}: {error.strerror}", file=sys.stderr)
        return ExitCode.USAGE
    except ValueError as error:
        print(f"flowguard: {error}", file=sys.stderr)
        return ExitCode.USAGE
    return ExitCode.FINE


def _events(path: str) -> Iterator[Line]:
    with open(0 if path == "-" else path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield decode_event(line)
            except ValueError as error:
                raise ValueError(f"{path}: line {number}: {error}") from None
