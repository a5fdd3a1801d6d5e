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
    except ValueError as error:
        print(f"flowguard: {error}", file=sys.stderr)
        return ExitCode.USAGE
    return ExitCode.FINE


def _events(path: str) -> Iterator[Line]:
    try:
        with open(0 if path == "-" else path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _event(line, f"{path}: line {number}")
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None


def _event(line: str, place: str) -> Line:
    try:
        return decode_event(line)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None
