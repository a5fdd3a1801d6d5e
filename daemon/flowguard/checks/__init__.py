# SPDX-License-Identifier: GPL-2.0-or-later
"""What `flowguard check` looks at: each finding has a code, a sentence and a remedy."""

from __future__ import annotations

from collections.abc import Sequence

from flowguard.checks.finding import Finding, Grade
from flowguard.checks.flowtables import check_tables
from flowguard.checks.known_kernels import check_modules, check_version
from flowguard.checks.neighbours import check_firewall, check_neighbours
from flowguard.checks.own import check_configuration, check_evidence, check_rules, check_sysctls
from flowguard.core.model import Device
from flowguard.platform.configuration import loading
from flowguard.platform.openwrt import effective

__all__ = ["Finding", "Grade", "findings"]


async def findings(
    path: str | None, ubus: str | None, known: Sequence[Device] | None = None
) -> list[Finding]:
    """Everything that is looked at, for the configuration in a file, or the one that counts.

    `ubus` is ubusd's socket, where there is one. What a running service knows of its devices
    is taken as it is; with None each device is tried, which binds its driver for a moment.
    """
    loaded = loading.load(path)
    found = [
        *check_configuration(loaded, path or effective.file_of(loading.PACKAGE)),
        *check_rules(loaded.configuration.rules),
        *check_sysctls(),
        *check_firewall(),
        *check_neighbours(),
        *check_version(),
        *check_modules(),
        *check_evidence(),
    ]
    try:
        found += [f async for f in check_tables(loaded.configuration, ubus, known)]
    except OSError as error:
        sentence = f"the kernel's flowtables cannot be examined: {error.strerror or error}"
        found.append(Finding(Grade.ERROR, "tables", sentence, "run as root"))
    return found
