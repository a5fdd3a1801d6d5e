# SPDX-License-Identifier: GPL-2.0-or-later
"""When flowguard offloads nothing, because the firewall was stopped or offloads by itself."""

from __future__ import annotations

import logging

from flowguard.host.firewall4 import TABLE, Firewall4
from flowguard.offload.nfnetlink import Nftables
from flowguard.offload.tables import foreign_flowtables

STOPPED = "the firewall was stopped; flowguard goes on when it is started"
OWN_OFFLOADING = "the firewall's own flow offloading is on (fw4-offload); switch it off there"

log = logging.getLogger(__name__)


class Standby:
    """`reason` says why no device may take part; empty when nothing is in the way."""

    def __init__(self, nftables: Nftables, firewall: Firewall4) -> None:
        self.reason = ""
        self._nftables = nftables
        self._firewall = firewall

    async def look(self, tables_lost: bool) -> bool:
        """Find the reason anew; whether it is another than before.

        A firewall without state was stopped when our tables went with it; before that it may
        never have been in use.
        """
        before = self.reason
        stopped = (tables_lost or before == STOPPED) and await self._firewall.is_stopped()
        self.reason = OWN_OFFLOADING if self._firewall_offloads() else STOPPED if stopped else ""
        if self.reason and self.reason != before:
            log.warning("%s", self.reason)
        return self.reason != before

    async def firewall_started(self) -> None:
        """Wait until it is."""
        await self._firewall.started()

    def _firewall_offloads(self) -> bool:
        """Two flowtables on one device compete for its flows, and the firewall's comes first."""
        try:
            return any(found.table == TABLE for found in foreign_flowtables(self._nftables))
        except OSError as error:
            log.warning("the firewall's flowtables cannot be seen: %s", error.strerror)
            return False
