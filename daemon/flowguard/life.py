# SPDX-License-Identifier: GPL-2.0-or-later
"""One life of the daemon, and what is left if it cannot live.

Reading the rules takes a megabyte for a moment. The service is imported after that, and what
it takes for good comes to lie where the rules were read.
"""

from __future__ import annotations

from flowguard import rules
from flowguard.core.faults import RuleError
from flowguard.host import log
from flowguard.host.clock import monotonic
from flowguard.host.configuration import Loaded
from flowguard.host.runs import Runs
from flowguard.paths import Paths

DEATHS_LIMIT = 5
"""So many deaths within an hour, and hardware is not left to a daemon that cannot stay up."""


def live(paths: Paths, loaded: Loaded) -> None:
    """Serve until told to stop.

    Raises RuleError for a file of rules that cannot be used, OSError for what the system
    refuses. One that cannot be started leaves the software level behind, as does one that
    died too often.
    """
    journal = log.set_up(loaded.configuration.log_level)
    runs = Runs(paths.runtime_directory)
    deaths = runs.begin(monotonic())
    try:
        fault_rules = rules.load(loaded.configuration.rules)
    except RuleError:
        _leave_hardware(paths, loaded)
        raise
    if deaths >= DEATHS_LIMIT:
        _leave_hardware(paths, loaded)
    from flowguard import daemon

    daemon.run(paths, loaded, fault_rules, journal, deaths if deaths >= DEATHS_LIMIT else 0)
    runs.end()


def _leave_hardware(paths: Paths, loaded: Loaded) -> None:
    from flowguard import retreat

    retreat.to_software(loaded.configuration, paths.runtime_directory)
