# SPDX-License-Identifier: GPL-2.0-or-later
"""The devices that take part: those configured or found, each tried for its capability."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from flowguard.core.events import DevicesChanged, Event
from flowguard.core.model import Device
from flowguard.core.records import frozen, replace
from flowguard.core.tables.topology import (
    SOFTWARE_ONLY,
    Kind,
    LeftOut,
    Paths,
    paths_of,
    resolve,
)
from flowguard.kernel.machine import Machine, Network
from flowguard.sensors.capability import UNKNOWN, Capability, bound_devices, known, trial
from flowguard.sensors.watching import ChangesSensor

if TYPE_CHECKING:  # Where there is no ubus, it costs no memory.
    from flowguard.platform.openwrt.netifd import Interfaces

log = logging.getLogger(__name__)

AskInterfaces = Callable[[], Awaitable["Interfaces | None"]]
"""Asks netifd: OSError when nobody answers, None when there is no netifd."""


async def no_netifd() -> None:
    """Where there is none."""


@frozen
class Routed:
    """Network devices that packets are routed over; `carriers` as in kernel.machine.Network."""

    names: tuple[str, ...] = ()
    carriers: Mapping[str, str] = MappingProxyType({})
    by_netifd: bool = False


@frozen
class Found:
    """`missing` are configured names that do not exist now; `left_out` is for people."""

    devices: tuple[Device, ...] = ()
    missing: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


async def routed(
    network: Network, interfaces: AskInterfaces, former: Routed | None = None
) -> Routed | None:
    """From netifd, or from the kernel where there is none.

    The `former` answer holds while its netifd is away. None, and a warning, when there is no
    answer.
    """
    try:
        answer = await interfaces()
        if answer:
            return Routed(answer.names, answer.carriers, by_netifd=True)
        if former and former.by_netifd:
            return former
        return Routed(await network.forwarding_interfaces())
    except OSError as error:
        log.warning("the interfaces in use cannot be found: %s", error)
        return None


async def find(
    machine: Machine, configured: Sequence[str], known: Routed, kept: Sequence[str] = ()
) -> Found:
    """The configured devices, or those below the interfaces that packets are routed over.

    Of the devices `kept` from before, those that could still take part do: a route that is
    gone for a moment must not cost a drain.
    """
    network, paths = machine.network, paths_of(machine.release)
    present = await network.links(known.carriers)
    kinds = {link.name: link.kind for link in present}
    left_out: tuple[LeftOut, ...] = ()
    if configured:
        names = list(configured)
        # Wi-Fi that somebody names is wanted in hardware.
        software_only = {n for n in names if kinds.get(n) in SOFTWARE_ONLY.keys() - {Kind.WIFI}}
    else:
        found = partial(resolve, present, paths=paths)
        resolution = found(known.names)
        still = [name for name in kept if found((name,)).devices == (name,)]
        software_only, left_out = {*resolution.software_only}, resolution.left_out
        names = sorted({*resolution.devices, *still, *software_only})
    seen = await network.scan(names, known.carriers)
    devices = tuple(
        _software_only(d, kinds[d.name]) if d.name in software_only else d for d in seen.devices
    )
    if paths is not Paths.ON_TOP:
        devices = tuple(replace(d, by_port=True) for d in devices)
    return Found(devices, seen.missing if configured else (), left_out)


def _software_only(device: Device, kind: Kind) -> Device:
    reason = SOFTWARE_ONLY[kind]
    if kind is Kind.WIFI:
        return replace(device, hardware_capable=False, reason=reason)
    # Itself alone: whatever moves its packets is another device.
    return Device(
        device.name,
        device.ifindex,
        forward_names=(device.name,),
        hardware_capable=False,
        reason=reason,
    )


class Devices:
    """Tells `feed` of the devices.

    A trial binds the driver, and drivers have died of that: `may_try` says of which device
    it may be asked now. What has never been bound or tried has no known capability.
    """

    def __init__(
        self,
        machine: Machine,
        feed: Callable[[Event], None],
        interfaces: AskInterfaces = no_netifd,
        may_try: Callable[[Device], Awaitable[bool]] | None = None,
    ) -> None:
        self.found = Found()
        self._machine = machine
        self._network = machine.network
        self._tables = machine.tables
        self._now = machine.clock.now
        self._feed = feed
        self._interfaces = interfaces
        self._may_try = may_try
        self._routed: Routed | None = None
        self._kept: tuple[str, ...] = ()
        self._capabilities: dict[tuple[str, int], Capability] = {}
        self._lock = asyncio.Lock()

    async def rescan(self, configured: Sequence[str]) -> None:
        """Look at all links again; only devices that were not there before are tried."""
        # One after the other, or an older list of devices could overtake a newer one.
        async with self._lock:
            routes = await self._routes()
            self.found = await find(self._machine, configured, routes, self._kept)
            devices = await self._with_capabilities(self.found.devices)
            present = {(d.name, d.ifindex) for d in devices}
            self._capabilities = {k: v for k, v in self._capabilities.items() if k in present}
            self._kept = tuple(d.name for d in devices)
            self._feed(DevicesChanged(self._now(), devices))

    def forget(self) -> None:
        """Choose and try every device anew at the next look."""
        self._capabilities.clear()
        self._kept = ()

    async def _routes(self) -> Routed:
        """While nobody answers, what was said before holds; at first it is the kernel's word."""
        found = await routed(self._network, self._interfaces, self._routed)
        self._routed = found or self._routed or await routed(self._network, no_netifd)
        return self._routed or Routed()

    async def _with_capabilities(self, devices: Sequence[Device]) -> tuple[Device, ...]:
        if not devices:
            return ()
        try:
            bound = await bound_devices(self._tables)
        except OSError as error:
            reason = error.strerror or str(error)
            return tuple([await self._described(d, Capability(None, reason)) for d in devices])
        return tuple([await self._described(d, await self._capability(d, bound)) for d in devices])

    async def _capability(self, device: Device, bound: Sequence[str]) -> Capability:
        if device.hardware_capable is False:
            return Capability(False, device.reason)
        key = (device.name, device.ifindex)
        found = await known(self._network, device.name, bound)
        if found.capable:
            self._capabilities[key] = found
        elif found == UNKNOWN:
            if key not in self._capabilities and await self._is_allowed(device):
                tried = await trial(self._tables, device.name)
                # Never unknown: what a trial could not find out would be tried for ever.
                self._capabilities[key] = replace(tried, capable=bool(tried.capable))
            found = self._capabilities.get(key, UNKNOWN)
        return found

    async def _is_allowed(self, device: Device) -> bool:
        return self._may_try is None or await self._may_try(device)

    async def _described(self, device: Device, found: Capability) -> Device:
        try:
            code = await self._network.code_of(device.name)
        except OSError:
            code = ""  # It has just vanished, and the next look will not find it.
        return replace(device, hardware_capable=found.capable, reason=found.reason, code=code)


class LinksSensor(ChangesSensor):
    """Calls `changed` after any device or address appeared, vanished or changed."""

    def __init__(self, network: Network, changed: Callable[[], None]) -> None:
        super().__init__("links", network.watch, changed)


class DevicesSensor:
    """Looks at the devices whenever it is asked to; one look that waits serves all who asked.

    A look that fails is taken again: what it was to find would be missed for ever.
    """

    name = "devices"
    patience: float | None = None

    def __init__(self, look: Callable[[], Awaitable[None]]) -> None:
        self._look = look
        self._asked = asyncio.Event()

    def ask(self) -> None:
        self._asked.set()

    async def run(self, alive: Callable[[], None]) -> None:
        while True:
            alive()
            await self._asked.wait()
            self._asked.clear()
            try:
                await self._look()
            except BaseException:
                self._asked.set()
                raise
