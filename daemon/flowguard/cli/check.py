# SPDX-License-Identifier: GPL-2.0-or-later
"""`flowguard check`: would it work here, and if not, what is to be done.

A running service is asked, because it knows which driver must not be touched now.
"""

from __future__ import annotations

import argparse
import asyncio
import json

from flowguard import checks
from flowguard.checks import Finding, Grade
from flowguard.cli.common import ExitCode, add_configuration, add_socket, find_ubus, unanswered
from flowguard.core.serial import from_json, to_json
from flowguard.service.control import LONG_CALL_SECONDS, ApiError, NoAnswer, Unreachable, request


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_configuration(parser)
    add_socket(parser)
    parser.add_argument("--json", action="store_true", help="a list of findings")


def run(options: argparse.Namespace) -> ExitCode:
    try:
        findings = _findings(options)
    except (ApiError, NoAnswer) as error:
        return unanswered(error, options.socket)
    if options.json:
        print(json.dumps(to_json(findings), indent=1))
    else:
        for finding in findings:
            print(_line(finding))
    return ExitCode.TROUBLE if any(f.grade is Grade.ERROR for f in findings) else ExitCode.FINE


def _findings(options: argparse.Namespace) -> list[Finding]:
    if options.config is None:
        try:
            rows = request(options.socket, "check", seconds=LONG_CALL_SECONDS)
            return [from_json(Finding, row) for row in rows]
        except NoAnswer:
            raise
        except Unreachable:
            pass  # Nobody is in charge, so nobody is in the way.
    return asyncio.run(checks.findings(options.config, find_ubus()))


def _line(finding: Finding) -> str:
    line = f"{finding.grade:<8} {finding.code:<14} {finding.sentence}"
    return f"{line}\n{'':<24}-> {finding.remedy}" if finding.remedy else line
