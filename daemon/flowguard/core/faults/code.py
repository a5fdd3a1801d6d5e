# SPDX-License-Identifier: GPL-2.0-or-later
"""Which code of the kernel belongs to whom, and so whom a dump accuses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

from flowguard.core.faults.trace import Code, Trace
from flowguard.core.model import Attribution
from flowguard.core.records import frozen


class Owner(StrEnum):
    """Whose code it is, the most telling first."""

    LOOK = "look"  # prints the engine's table, because somebody reads it
    WORKER = "worker"  # the flow-offload worker: everything above it is offloading
    OFFLOAD = "offload"
    UNRELATED = "unrelated"
    WIFI_APART = "wifi_apart"  # the same SoCs' wireless that cannot be offloaded
    WIFI = "wifi"  # wireless of a SoC whose wireless can be offloaded
    DRIVER = "driver"  # a wired Ethernet driver
    HELPER = "helper"  # called by everybody: the caller is to blame
    DISPATCH = "dispatch"  # calls a network driver's transmit or poll function
    NETWORK = "network"  # the network stack itself


@frozen
class CodeGroup:
    """Symbols by prefix, modules and drivers by name, source files by path prefix."""

    owner: Owner
    driver: str | None
    symbols: tuple[str, ...]
    modules: frozenset[str]
    drivers: frozenset[str]
    files: tuple[str, ...]


@frozen
class Accusation:
    """Whom a dump accuses; `because` is the place that decided, for people.

    `by_look`: it happened while somebody read the engine's table.
    """

    attribution: Attribution
    driver: str | None = None
    because: str = ""
    by_look: bool = False


_STRENGTH = (Attribution.NONE, Attribution.WEAK, Attribution.DRIVER, Attribution.OFFLOAD)


# Places in the kernel whose owner is kept; a trace asks for each several times.
_REMEMBERED = 512


def strength(attribution: Attribution) -> int:
    return _STRENGTH.index(attribution)


_Place = tuple[Code, Owner | None]


class CodeMap:
    """Owner of a place in the kernel, and the verdict over a whole trace."""

    def __init__(self, groups: Iterable[CodeGroup]) -> None:
        order = list(Owner)
        self._groups = sorted(groups, key=lambda group: order.index(group.owner))
        self._looked_up: dict[Code, CodeGroup | None] = {}

    def owner(self, code: Code) -> Owner | None:
        group = self._group(code)
        return group.owner if group else None

    def driver_owner(self, driver: str) -> Owner | None:
        """Owner of a driver by the name it has in messages (`-` and `_` are the same)."""
        name = driver.replace("-", "_")
        groups = (g for g in self._groups if name in g.drivers or name in g.modules)
        return next((group.owner for group in groups), None)

    def judge(self, trace: Trace, default: Attribution) -> Accusation:
        """The verdict over a trace; `default` when no name in it tells anything."""
        stack = trace.stack
        owners = [self.owner(code) for code in stack]
        if Owner.LOOK in owners:
            look = stack[owners.index(Owner.LOOK)]
            return Accusation(Attribution.OFFLOAD, self._driver(stack), str(look), by_look=True)
        if worker := self._worker(trace):
            return Accusation(Attribution.OFFLOAD, self._driver(stack), str(worker))
        culprit = next((i for i, owner in enumerate(owners) if owner is not Owner.HELPER), None)
        if culprit is None:
            return Accusation(default)
        code, owner = stack[culprit], owners[culprit]
        outwards = list(zip(stack, owners, strict=True))[culprit:]
        if owner is not Owner.UNRELATED and Owner.OFFLOAD in owners:
            offload = stack[owners.index(Owner.OFFLOAD)]
            return Accusation(Attribution.OFFLOAD, self._driver(stack), str(offload))
        if owner is None and code.module:
            owner = _unknown_module(code, outwards)
        elif owner in (None, Owner.NETWORK) and (caller := _called_from_elsewhere(outwards)):
            return Accusation(Attribution.NONE, None, str(caller))
        if owner is None or owner is Owner.DISPATCH:
            return Accusation(default, None, str(code))
        if owner is Owner.WIFI and Owner.WIFI_APART in owners:
            owner = Owner.WIFI_APART  # The place is shared by both kinds.
        if owner is Owner.WIFI_APART:
            # Its warnings are its own; where it crashes, others may have written.
            return Accusation(min(default, Attribution.WEAK, key=strength), None, str(code))
        attribution = _ATTRIBUTION[owner]
        driver = self._driver([code]) if attribution is Attribution.DRIVER else None
        return Accusation(attribution, driver, str(code))

    def names_nothing(self, trace: Trace) -> bool:
        """True when nothing in the trace says where the kernel was."""
        return all(self.owner(code) is Owner.HELPER for code in trace.stack)

    def _worker(self, trace: Trace) -> Code | None:
        for code in trace.stack:
            if self.owner(code) is Owner.WORKER:
                return code
        for queue, work in zip(trace.queues, trace.works, strict=True):
            if self.owner(Code(queue)) is Owner.WORKER or self.owner(work) is Owner.OFFLOAD:
                return work
        return None

    def _driver(self, stack: Sequence[Code]) -> str | None:
        """The first driver on the way to the offload worker, by table or by its module."""
        for code in stack:
            group = self._group(code)
            if group and group.driver:
                return group.driver
            if code.module and (group is None or group.owner is Owner.DRIVER):
                return code.module
        return None

    def _group(self, code: Code) -> CodeGroup | None:
        if code not in self._looked_up:
            if len(self._looked_up) >= _REMEMBERED:
                self._looked_up.clear()
            self._looked_up[code] = self._look_up(code)
        return self._looked_up[code]

    def _look_up(self, code: Code) -> CodeGroup | None:
        for group in self._groups:
            if code.module in group.modules:
                # A driver's module also holds its offload code.
                return self._by_symbol(code.symbol, _OFFLOADING) or group
        if code.module:
            offload = self._by_symbol(code.symbol, _OFFLOADING)
            return offload or self._by_file(code.file)
        return self._by_symbol(code.symbol) or self._by_file(code.file)

    def _by_symbol(self, symbol: str, owners: Sequence[Owner] = tuple(Owner)) -> CodeGroup | None:
        for group in self._groups:
            if group.owner in owners and symbol.startswith(group.symbols):
                return group
        return None

    def _by_file(self, file: str) -> CodeGroup | None:
        for group in self._groups:
            if any(f"/{path}" in f"/{file}" for path in group.files):
                return group
        return None


_OFFLOADING = (Owner.LOOK, Owner.WORKER, Owner.OFFLOAD)
_ATTRIBUTION = {
    Owner.OFFLOAD: Attribution.OFFLOAD,
    Owner.WORKER: Attribution.OFFLOAD,
    Owner.DRIVER: Attribution.DRIVER,
    Owner.WIFI: Attribution.WEAK,
    Owner.NETWORK: Attribution.WEAK,
    Owner.UNRELATED: Attribution.NONE,
}


def _unknown_module(code: Code, outwards: Sequence[_Place]) -> Owner | None:
    """A module that the transmit or poll path called is a network driver."""
    callers = (
        owner
        for frame, owner in outwards
        if frame.module != code.module and owner is not Owner.HELPER
    )
    return Owner.DRIVER if next(callers, None) is Owner.DISPATCH else Owner.UNRELATED


def _called_from_elsewhere(outwards: Sequence[_Place]) -> Code | None:
    """Who brought the kernel's own code there, if that has nothing to do with packets.

    Code without an owner is its caller's. The network stack is its caller's where a module
    sets something up in it; on a packet's way it is nobody's but its own.
    """
    in_the_stack = outwards[0][1] is Owner.NETWORK
    for index, (code, owner) in enumerate(outwards):
        if owner is None and code.module:
            owner = _unknown_module(code, outwards[index:])
        if owner is Owner.UNRELATED:
            return code if code.module or not in_the_stack else None
        if owner is Owner.NETWORK and in_the_stack and not code.symbol.startswith(_PACKET_WAYS):
            continue
        if owner not in (None, Owner.HELPER):
            return None
    return None


# Here the stack takes a packet from, or gives it to, whoever stands beside it in the trace.
_PACKET_WAYS = (
    "netif_receive_skb",
    "__netif_receive_skb",
    "netif_rx",
    "napi_gro_",
    "dev_queue_xmit",
    "__dev_queue_xmit",
    "dev_hard_start",
    "process_backlog",
    "nf_hook_slow",
    "ip_rcv",
    "ipv6_rcv",
    "ip_local_out",
    "ip_queue_xmit",
    "ip_output",
    "ip6_output",
    "ip6_xmit",
    "tcp_",
    "udp",
    "sock_",
    "sk_",
)
