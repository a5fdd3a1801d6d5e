# SPDX-License-Identifier: GPL-2.0-or-later
"""The devices that take part: those configured or found, each tried for its capability."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from flowguard.core.events import DevicesChanged, Event
from flowguard.core.model import Device
from flowguard.core.records import frozen, replace
from flowguard.core.tables.topology import LeftOut, resolve
from flowguard.kernel.clock import monotonic
from flowguard.kernel.ethtool import code_of
from flowguard.kernel.nftables.probe import UNKNOWN, Capability, known, trial
from flowguard.kernel.nftables.transactions import Nftables
from flowguard.kernel.route.addresses import forwarding_interfaces
from flowguard.kernel.route.links import links, scan

log = logging.getLogger(__name__)


@frozen
class Routed:
    """Network devices that packets are routed over; `carriers` as in sensors.links."""

    names: tuple[str, ...] = ()
    carriers: Mapping[str, str] = MappingProxyType({})
    by_netifd: bool = False


@frozen
class Found:
    """`missing` are configured names that do not exist now; `left_out` is for people."""

    devices: tuple[Device, ...] = ()
    missing: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


async def routed(ubus: str | None, former: Routed | None = None) -> Routed | None:
    """From netifd behind this socket, or from the kernel where there is none.

    The `former` answer holds while its netifd is away. None, and a warning, when there is no
    answer.
    """
    try:
        netifd = await _netifd(ubus) if ubus else None
        if not netifd and former and former.by_netifd:
            return former
        return netifd or Routed(forwarding_interfaces())
    except OSError as error:
        log.warning("the interfaces in use cannot be found: %s", error)
        return None


async def _netifd(ubus: str) -> Routed | None:
    """None when ubusd knows no netifd; raises OSError when nobody answers."""
    # Where there is no ubus, it costs no memory.
    from flowguard.platform.openwrt import netifd
    from flowguard.ubus.errors import UbusError
    from flowguard.ubus.wire import Status

    try:
        answer = await netifd.interfaces(ubus)
    except UbusError as error:
        if error.status is Status.NOT_FOUND:
            return None
        raise OSError(f"netifd: {error}") from error
    return Routed(answer.names, answer.carriers, by_netifd=True)


def find(
    configured: Sequence[str],
    known: Routed,
    kept: Sequence[str] = (),
    sys: str = "/sys",
    proc: str = "/proc",
) -> Found:
    """The configured devices, or those below the interfaces that packets are routed over.

    Of the devices `kept` from before, those that could still take part do: a route that is
    gone for a moment must not cost a drain.
    """
    if configured:
        seen = scan(configured, sys, proc, known.carriers)
        return Found(seen.devices, seen.missing)
    present = links(sys, proc, known.carriers)
    resolution = resolve(present, known.names)
    still = [name for name in kept if resolve(present, (name,)).devices == (name,)]
    names = sorted({*resolution.devices, *still})
    return Found(scan(names, sys, proc, known.carriers).devices, (), resolution.left_out)


class Devices:
    """Tells `feed` of the devices; `ubus` is the socket of netifd's ubusd, where there is one.

    A trial binds the driver, and drivers have died of that: `may_try` says of which device
    it may be asked now. What has never been bound or tried has no known capability.
    """

    def __init__(
        self,
        nftables: Nftables,
        feed: Callable[[Event], None],
        may_try: Callable[[Device], bool] = lambda device: True,
    ) -> None:
        self.ubus: str | None = None
        self.found = Found()
        self._nftables = nftables
        self._feed = feed
        self._may_try = may_try
        self._routed: Routed | None = None
        self._kept: tuple[str, ...] = ()
        self._capabilities: dict[tuple[str, int], Capability] = {}
        self._lock = asyncio.Lock()

    async def rescan(self, configured: Sequence[str], standby: str = "") -> None:
        """Look at all links again; only devices that were not there before are tried.

        With a reason to stand by they are all left out.
        """
        # One after the other, or an older list of devices could overtake a newer one.
        async with self._lock:
            # While nobody answers, what was said before holds.
            found = await routed(self.ubus, self._routed)
            self._routed = found or self._routed or await routed(None)
            self.found = find(configured, self._routed or Routed(), self._kept)
            if standby:
                idle = tuple(LeftOut(d.name, standby) for d in self.found.devices)
                self.found = replace(self.found, devices=(), left_out=self.found.left_out + idle)
            devices = tuple([await self._with_capability(d) for d in self.found.devices])
            known = {(d.name, d.ifindex) for d in devices}
            self._capabilities = {k: v for k, v in self._capabilities.items() if k in known}
            self._kept = tuple(d.name for d in devices)
            self._feed(DevicesChanged(monotonic(), devices))

    def forget(self) -> None:
        """Choose and try every device anew at the next look."""
        self._capabilities.clear()
        self._kept = ()

    async def _with_capability(self, device: Device) -> Device:
        key = (device.name, device.ifindex)
        found = known(self._nftables, device.name)
        if found.capable:
            self._capabilities[key] = found
        elif found == UNKNOWN:
            if key not in self._capabilities and self._may_try(device):
                self._capabilities[key] = await self._trial(device)
            found = self._capabilities.get(key, UNKNOWN)
        return replace(
            device, hardware_capable=found.capable, reason=found.reason, code=_code(device.name)
        )

    async def _trial(self, device: Device) -> Capability:
        """Never unknown: what a trial could not find out would be tried for ever."""
        found = await trial(self._nftables, device.name)
        return replace(found, capable=bool(found.capable))


def _code(name: str) -> str:
    try:
        return code_of(name)
    except OSError:
        return ""  # It has just vanished, and the next look will not find it.
