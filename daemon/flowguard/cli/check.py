# SPDX-License-Identifier: GPL-2.0-or-later
"""`flowguard check`: would it work here, and if not, what is to be done."""

from __future__ import annotations

import argparse
import asyncio
import json

from flowguard import checks
from flowguard.checks import Finding, Grade
from flowguard.cli.common import ExitCode, add_configuration, find_ubus
from flowguard.core.serial import to_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_configuration(parser)
    parser.add_argument("--json", action="store_true", help="a list of findings")


def run(options: argparse.Namespace) -> ExitCode:
    findings = asyncio.run(checks.findings(options.config, find_ubus()))
    if options.json:
        print(json.dumps(to_json(findings), indent=1))
    else:
        for finding in findings:
            print(_line(finding))
    trouble = any(finding.grade is not Grade.FINE for finding in findings)
    return ExitCode.TROUBLE if trouble else ExitCode.FINE


def _line(finding: Finding) -> str:
    line = f"{finding.grade:<8} {finding.code:<14} {finding.sentence}"
    return f"{line}\n{'':<24}-> {finding.remedy}" if finding.remedy else line
