# SPDX-License-Identifier: GPL-2.0-or-later
"""Behind which devices the two ends of a flow are, as the kernel would route to them."""

from __future__ import annotations

import logging
from collections.abc import Callable

from flowguard.kernel.conntrack import Flow
from flowguard.kernel.machine import Network
from flowguard.kernel.netlink.codec import MalformedMessage

ENTRIES = 4096
SECONDS = 60.0

log = logging.getLogger(__name__)


class Ways:
    """Answers are kept for a minute, or until `forget`."""

    def __init__(self, network: Network, now: Callable[[], float]) -> None:
        self._network = network
        self._now = now
        self._known: dict[str, tuple[float, str | None]] = {}
        self._complained = False

    def forget(self) -> None:
        """Routes or devices changed."""
        self._known.clear()

    def pair_of(self, flow: Flow) -> tuple[str, str] | None:
        """The devices behind a flow's real ends, sorted, whatever NAT shows to either.

        None when an end has no route, or it cannot be found out (logged once).
        """
        one, other = self.ends_of(flow)
        if one is None or other is None:
            return None
        return (one, other) if one <= other else (other, one)

    def ends_of(self, flow: Flow) -> tuple[str | None, str | None]:
        """The device behind the original source, and behind the reply's; None: no route, or it
        cannot be found out.
        """
        return self._device_of(flow.original.source), self._device_of(flow.reply.source)

    def _device_of(self, address: str) -> str | None:
        now = self._now()
        expiry, device = self._known.get(address, (now, None))
        if expiry > now:
            return device
        try:
            device = self._network.device_of(address)
        except (OSError, MalformedMessage) as error:
            device = None
            self._complain(address, error)
        self._known.pop(address, None)
        if len(self._known) >= ENTRIES:
            del self._known[next(iter(self._known))]
        self._known[address] = now + SECONDS, device
        return device

    def _complain(self, address: str, error: Exception) -> None:
        if not self._complained:
            self._complained = True
            log.warning("the route to %s cannot be looked up: %s", address, error)
