# SPDX-License-Identifier: GPL-2.0-or-later
"""`flowguard flows`: connections with their level, why it is no higher, and what is stalled."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

from flowguard.cli.common import ExitCode, add_socket, ask, size
from flowguard.core.model import Level
from flowguard.core.tables.why import Why

SHOWN = 100
INDENT = " " * 10
CONDITIONS = ("level", "host", "device", "why")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="a list of objects")
    parser.add_argument(
        "--limit",
        type=int,
        default=SHOWN,
        help="stalled first, then the largest (%(default)s)",
    )
    parser.add_argument("--level", choices=[*Level], help="only those on this level")
    parser.add_argument("--host", metavar="ADDRESS", help="only those of this address")
    parser.add_argument("--device", help="only those through this device, or port of a bridge")
    parser.add_argument(
        "--why", choices=[*Why], metavar="WORD", help=f"only those for which: {', '.join(Why)}"
    )
    add_socket(parser)


def run(options: argparse.Namespace) -> ExitCode:
    def show(answer: list[dict[str, Any]]) -> ExitCode:
        if options.json:
            print(json.dumps(answer, indent=1))
        else:
            print("\n".join(describe(answer)))
        return ExitCode.FINE

    given = {name: getattr(options, name) for name in CONDITIONS}
    conditions = {name: value for name, value in given.items() if value is not None}
    return ask(options, "flows", {"limit": options.limit, **conditions}, show)


def describe(flows: list[dict[str, Any]]) -> Iterator[str]:
    """The flows as lines of text."""
    yield f"{'level':<9} {'arm':<8} {'age':>6} {'sent':>8} {'received':>8}  flow"
    for flow in flows:
        age = "-" if flow["age"] is None else f"{flow['age']:.0f} s"
        sent, received = (size(flow["bytes"][way]) for way in ("original", "reply"))
        line = f"{flow['level']:<9} {flow['arm'] or '-':<8} {age:>6} {sent:>8} {received:>8}"
        line += f"  {flow['flow']}"
        if flow["stalled_for"] is not None:
            line += f"  (stalled for {flow['stalled_for']:.0f} s)"
        yield line
        if len(set(flow["paths"].values())) > 1:
            yield f"{INDENT}its answers are in {flow['paths']['reply']}"
        if flow["because"]:
            yield INDENT + flow["because"]
