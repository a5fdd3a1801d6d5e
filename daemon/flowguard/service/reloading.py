# SPDX-License-Identifier: GPL-2.0-or-later
"""Takes a changed configuration to every part that depends on it."""

from __future__ import annotations

import logging

from flowguard.core.events import Configured
from flowguard.service.loop import Service

log = logging.getLogger(__name__)


async def reload(service: Service) -> None:
    """Read the configuration again; only what changed is converged.

    A file that cannot be read changes nothing: half an edit must not cost the speed.
    """
    loaded = await service.surroundings.load()
    service.problems.found("configuration", map(str, loaded.problems))
    new, former = loaded.configuration, service.configuration
    if loaded.readable and (new.rules or former.rules):
        service.fault_rules = await service.surroundings.load_rules(new.rules)
        service.problems.found("rules", service.fault_rules.left_out)
        service.kernel_log.use(service.fault_rules)
    await service.standby.look_for_competitors()
    if not loaded.readable:
        log.error("the configuration stays as it was")
        return
    service.configuration = new
    logging.getLogger().setLevel(new.log_level.upper())
    service.converger.flow_timeout = new.flow_timeout
    service.converger.drain_limit = new.drain_limit
    # What somebody asked for at run time holds until the configuration wants another level.
    same = (new.enabled, new.level) == (former.enabled, former.level)
    wanted = service.state.wanted if same else new.wanted
    other_rules = new.offload_settings != former.offload_settings
    service.feed(Configured(service.now(), wanted, new.policy_settings))
    if other_rules or new.flow_timeout != former.flow_timeout:
        service.converge_again()
    if new.clear_crash_dumps:
        service.ledger.clear_dumps()
    service.devices.forget()
    await service.look_at_devices()
