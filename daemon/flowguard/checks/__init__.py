# SPDX-License-Identifier: GPL-2.0-or-later
"""What `flowguard check` looks at: each finding has a code, a sentence and a remedy."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from flowguard.checks import counters
from flowguard.checks.finding import Finding, Grade
from flowguard.checks.flowtables import check_min_packets, check_tables
from flowguard.checks.known_kernels import check_fast_paths, check_modules, check_version
from flowguard.checks.own import check_configuration, check_evidence, check_rules, check_sysctls
from flowguard.core.faults import FaultRules
from flowguard.core.interface import Interface
from flowguard.core.model import Device
from flowguard.kernel.machine import Machine
from flowguard.platform.configuration import loading
from flowguard.platform.openwrt import effective

if TYPE_CHECKING:  # Where there is no ubus, it costs no memory.
    from flowguard.platform.openwrt.netifd import Interfaces

__all__ = ["Around", "Finding", "Grade", "findings"]


class Around(Interface):
    """What is looked at beside the machine; the service has the same (service.surroundings).

    `neighbours` tells of the firewall and of other programs.
    """

    @property
    def load(self) -> Callable[[], Awaitable[loading.Loaded]]: ...
    @property
    def load_rules(self) -> Callable[[Sequence[str]], Awaitable[FaultRules]]: ...
    @property
    def interfaces(self) -> Callable[[], Awaitable[Interfaces | None]]: ...
    @property
    def neighbours(self) -> Callable[[], Awaitable[Iterable[Finding]]]: ...


async def findings(
    machine: Machine,
    around: Around,
    path: str | None = None,
    known: Sequence[Device] | None = None,
    left_out: Sequence[str] | None = None,
) -> list[Finding]:
    """Everything that is looked at, for the configuration in a file, or the one that counts.

    What a running service knows is taken as it is: its devices are `known`, and `left_out` are
    the problems of its rules. With None each device is tried, which binds its driver for a
    moment, and the rules are compiled.

    The loop has its turn after each part.
    """
    loaded = await around.load()
    configured = loaded.configuration
    if left_out is None:
        left_out = (await around.load_rules(configured.rules)).left_out if configured.rules else ()
    found: list[Finding] = []
    for part in (
        check_configuration(loaded, path or effective.file_of(loading.PACKAGE)),
        check_rules(configured.rules, left_out),
        check_sysctls(machine.sysctls),
        check_modules(machine),
        check_fast_paths(machine.files),
        check_evidence(machine),
        check_min_packets(machine.sysctls, configured.min_packets),
        counters.look(configured.level),
    ):
        found += part
        await asyncio.sleep(0)
    found += await check_version(machine)
    found += await around.neighbours()
    try:
        found += [f async for f in check_tables(machine, configured, around.interfaces, known)]
    except OSError as error:
        sentence = f"the kernel's flowtables cannot be examined: {error.strerror or error}"
        found.append(Finding(Grade.ERROR, "tables", sentence, "run as root"))
    return found
