# SPDX-License-Identifier: GPL-2.0-or-later
"""The devices that take part: what the links sensor finds, each tried for its capability."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from flowguard.core.events import DevicesChanged, Event
from flowguard.core.model import Device
from flowguard.host.clock import monotonic
from flowguard.offload.ethtool import code_of
from flowguard.offload.nfnetlink import Nftables
from flowguard.offload.probe import Capability, probe
from flowguard.sensors.links import scan


class Devices:
    """Tells `feed` of the devices; `missing` are configured names that do not exist now.

    A trial binds the driver, and drivers have died of that: `may_try` says of which device
    it may be asked now. What was not tried has no known capability.
    """

    def __init__(
        self,
        nftables: Nftables,
        feed: Callable[[Event], None],
        may_try: Callable[[Device], bool] = lambda device: True,
    ) -> None:
        self.missing: tuple[str, ...] = ()
        self._nftables = nftables
        self._feed = feed
        self._may_try = may_try
        self._found: dict[tuple[str, int], Capability] = {}
        self._lock = asyncio.Lock()

    async def rescan(self, configured: Sequence[str]) -> None:
        """Look at all links again; only devices that were not there before are tried."""
        # One after the other, or an older list of devices could overtake a newer one.
        async with self._lock:
            links = scan(configured)
            self.missing = links.missing
            devices = tuple([await self._with_capability(d) for d in links.devices])
            known = {(d.name, d.ifindex) for d in devices}
            self._found = {k: v for k, v in self._found.items() if k in known}
            self._feed(DevicesChanged(monotonic(), devices))

    def forget(self) -> None:
        """Try every device anew at the next look."""
        self._found.clear()

    async def _with_capability(self, device: Device) -> Device:
        key = (device.name, device.ifindex)
        if key not in self._found and self._may_try(device):
            self._found[key] = await probe(self._nftables, device.name)
        found = self._found.get(key, Capability(None))
        return replace(
            device, hardware_capable=found.capable, reason=found.reason, code=_code(device.name)
        )


def _code(name: str) -> str:
    try:
        return code_of(name)
    except OSError:
        return ""  # It has just vanished, and the next look will not find it.
