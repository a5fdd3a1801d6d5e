# SPDX-License-Identifier: GPL-2.0-or-later
"""One life of the daemon, and what is left if it cannot live.

Reading the rules takes a megabyte for a moment. The service is imported after that, and what
it takes for good comes to lie where the rules were read.
"""

from __future__ import annotations

from flowguard import rules
from flowguard.kernel.clock import LinuxClock
from flowguard.kernel.files import LinuxFiles
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
    runs = Runs(LinuxFiles(), paths.runtime_directory)
    deaths = runs.begin(LinuxClock().now())
    try:
        _serve(paths, loaded, log_health, deaths if deaths >= DEATHS_LIMIT else 0)
    except SystemExit:
        _leave_hardware(paths, loaded)  # It ends before the loop listened.
        runs.end()
        raise
    runs.end()


def _serve(paths: Paths, loaded: Loaded, log_health: str, deaths: int) -> None:
    if deaths:
        _leave_hardware(paths, loaded)
    fault_rules = rules.load_usable(loaded.configuration.rules)
    import asyncio

    from flowguard.kernel import linux
    from flowguard.service import wiring

    machine = linux.machine()
    asyncio.run(wiring.serve(machine, paths, loaded, fault_rules, log_health, deaths))


def _leave_hardware(paths: Paths, loaded: Loaded) -> None:
    """What one before may have left in it; with a machine of its own, as locks stay with the
    loop that they are used in."""
    from flowguard.kernel import linux
    from flowguard.service import retreat

    with linux.opened() as machine:
        retreat.to_software(machine, loaded.configuration, paths)


def stay_off(paths: Paths, loaded: Loaded) -> None:
    """What one before may have left in hardware has no guard: nothing stays where that is
    wished, the software level where the file does not tell any more what is wished."""
    from flowguard.kernel import linux
    from flowguard.service import retreat

    log.set_up(loaded.configuration.log_level)
    if loaded.readable:
        retreat.to_nothing(linux.machine(), paths)
    else:
        retreat.to_software(linux.machine(), loaded.configuration, paths)
