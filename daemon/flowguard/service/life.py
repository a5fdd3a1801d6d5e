# SPDX-License-Identifier: GPL-2.0-or-later
"""One life of the daemon, and what is left if it cannot live.

Reading the rules takes a megabyte for a moment. The service is imported after that, and what
it takes for good comes to lie where the rules were read.
"""

from __future__ import annotations

import asyncio

from flowguard import rules
from flowguard.kernel import linux
from flowguard.kernel.machine import Machine
from flowguard.paths import Paths
from flowguard.platform import log
from flowguard.platform.configuration.loading import Loaded
from flowguard.service.runs import Runs

DEATHS_LIMIT = 5
"""So many deaths within an hour, and hardware is not left to a daemon that cannot stay up."""


def live(paths: Paths, loaded: Loaded) -> None:
    """Serve until told to stop.

    Raises OSError for what the system refuses. One that died too often begins with leaving
    the software level behind.
    """
    log_health = log.set_up(loaded.configuration.log_level)
    machine = linux.machine()
    runs = Runs(machine.files, paths.runtime_directory)
    deaths = runs.begin(machine.clock.now())
    try:
        _serve(machine, paths, loaded, log_health, deaths if deaths >= DEATHS_LIMIT else 0)
    except SystemExit:
        _stop_early(paths, loaded)
        runs.end()
        raise
    runs.end()


def _serve(machine: Machine, paths: Paths, loaded: Loaded, log_health: str, deaths: int) -> None:
    if deaths:
        from flowguard.service import retreat

        with linux.opened() as other:  # Each loop has its own: locks stay with theirs.
            retreat.to_software(other, loaded.configuration, paths)
    fault_rules = rules.load_usable(loaded.configuration.rules)
    from flowguard.service import wiring

    asyncio.run(wiring.serve(machine, paths, loaded, fault_rules, log_health, deaths))


def _stop_early(paths: Paths, loaded: Loaded) -> None:
    """Told to stop before the loop listens, it leaves what one before had in hardware."""
    from flowguard.service import retreat

    with linux.opened() as machine:
        retreat.to_software(machine, loaded.configuration, paths)


def stay_off(paths: Paths, loaded: Loaded) -> None:
    """What one before may have left in hardware has no guard: nothing stays where that is
    wished, the software level where the file does not tell any more what is wished."""
    from flowguard.service import retreat

    log.set_up(loaded.configuration.log_level)
    if loaded.readable:
        retreat.to_nothing(linux.machine(), paths)
    else:
        retreat.to_software(linux.machine(), loaded.configuration, paths)
