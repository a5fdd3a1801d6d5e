# SPDX-License-Identifier: GPL-2.0-or-later
"""What the log says at a start: what there is, and what keeps it from working."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from flowguard import __version__
from flowguard.core.model import Level
from flowguard.service.loop import Service

NAME_THEM = "name them: uci add_list flowguard.globals.device=..., then reload"

log = logging.getLogger(__name__)


def greet(service: Service) -> None:
    state = service.state
    devices = ", ".join(d.name for d in state.devices) or "no device"
    log.info("version %s: up to level %s on %s", __version__, state.wanted, devices)
    for obstacle in obstacles(service):
        log.warning("%s", obstacle)


def obstacles(service: Service) -> Iterator[str]:
    """What is in the way of what is wanted, a line each, with what would mend it."""
    state, found = service.state, service.devices.found
    for name in found.missing:
        yield f"device {name} does not exist: correct list device, or wait until it appears"
    if not state.devices:
        reasons = "; ".join(f"{left.name}: {left.reason}" for left in found.left_out)
        yield f"no device can take part ({reasons or 'none is routed over'}): {NAME_THEM}"
    if state.wanted is not Level.HARDWARE:
        return
    for device in state.devices:
        if device.hardware_capable is False:
            yield f"{device.name} stays in software: {device.reason}"
