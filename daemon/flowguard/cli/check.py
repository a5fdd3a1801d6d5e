# SPDX-License-Identifier: GPL-2.0-or-later
"""`flowguard check`: would it work here, and if not, what is to be done.

A running service is asked, because it knows which driver must not be touched now.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence

from flowguard import checks, rules
from flowguard.checks import Finding, Grade, neighbours
from flowguard.cli.common import ExitCode, add_configuration, add_socket, find_ubus, unanswered
from flowguard.core.faults import FaultRules
from flowguard.core.serial import from_json, to_json
from flowguard.kernel import linux
from flowguard.platform.configuration import loading
from flowguard.platform.configuration.loading import Loaded
from flowguard.platform.openwrt import netifd
from flowguard.platform.openwrt.netifd import Interfaces
from flowguard.service.control import LONG_CALL_SECONDS, ApiError, NoAnswer, Unreachable, request


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_configuration(parser)
    add_socket(parser)
    parser.add_argument("--json", action="store_true", help="a list of findings")


def run(options: argparse.Namespace) -> ExitCode:
    try:
        found = findings(options)
    except (ApiError, NoAnswer) as error:
        return unanswered(error, options.socket)
    if options.json:
        print(json.dumps(to_json(found), indent=1))
    else:
        for finding in found:
            print(_line(finding))
    return ExitCode.TROUBLE if any(f.grade is Grade.ERROR for f in found) else ExitCode.FINE


def findings(options: argparse.Namespace, *, untouched: bool = False) -> list[Finding]:
    """By the running service, or here; NoAnswer or ApiError where one is that does not tell.

    `untouched`: no device is tried, which would bind its driver.
    """
    if options.config is None:
        try:
            rows = request(options.socket, "check", seconds=LONG_CALL_SECONDS)
            return [from_json(Finding, row) for row in rows]
        except NoAnswer:
            raise
        except Unreachable:
            pass  # Nobody is in charge, so nobody is in the way.
    with linux.opened() as machine:
        known = () if untouched else None
        around = _Around(options.config)
        return asyncio.run(checks.findings(machine, around, options.config, known))


class _Around:
    """See `checks.Around`; nobody else waits here."""

    def __init__(self, path: str | None) -> None:
        self._path = path

    async def load(self) -> Loaded:
        return loading.load(self._path)

    async def load_rules(self, files: Sequence[str]) -> FaultRules:
        return rules.load_usable(files)

    async def interfaces(self) -> Interfaces | None:
        ubus = find_ubus()
        return await netifd.interfaces(ubus) if ubus else None

    async def neighbours(self) -> list[Finding]:
        return neighbours.look()


def _line(finding: Finding) -> str:
    lines = [f"{finding.grade:<8} {finding.code:<14} {finding.sentence}"]
    if finding.remedy:
        lines.append(f"{'':<24}-> {finding.remedy}")
    lines += (f"{'':<27}{line}" for line in finding.section.expandtabs(4).splitlines())
    return "\n".join(lines)
