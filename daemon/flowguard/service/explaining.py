# SPDX-License-Identifier: GPL-2.0-or-later
"""Says of connections why they are not on the wanted level, and finds those that are asked for.

Imported when somebody asks: it costs memory that a daemon alone does not need.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flowguard.core.model import Level
from flowguard.core.records import frozen
from flowguard.core.tables.matching import Connection
from flowguard.core.tables.reasons import Reason, Seen, Stage, reason
from flowguard.core.tables.why import Why
from flowguard.kernel.conntrack import HELPED, TCP, Entry, Flow
from flowguard.kernel.netlink.ip_addresses import packed
from flowguard.sensors.arms.followed import ESTABLISHED
from flowguard.sensors.arms.looks import TURN, FlowSeen, path_of
from flowguard.sensors.turns import in_turns
from flowguard.service.control import ApiError
from flowguard.service.loop import Service

SYN_SENT2 = 9  # enum tcp_conntrack, include/uapi/linux/netfilter/nf_conntrack_tcp.h


@frozen
class Wanted:
    """Which connections are asked for; None: it does not matter.

    `host` is the address of either end, as either of them knows it.
    """

    level: Level | None = None
    host: str | None = None
    device: str | None = None
    why: Why | None = None


def wanted_by(params: Mapping[str, Any]) -> Wanted:
    """What somebody asks for; raises ApiError. An empty text is no condition."""
    level, host, why = (params.get(name) or None for name in ("level", "host", "why"))
    device = params.get("device") or None
    if level is not None and level not in tuple(Level):
        raise ApiError(f"level: expected one of {', '.join(Level)}")
    if why is not None and why not in tuple(Why):
        raise ApiError(f"why: expected one of {', '.join(Why)}")
    if device is not None and not isinstance(device, str):
        raise ApiError("device: expected a name")
    if host is not None and not _is_address(host):
        raise ApiError("host: expected an IPv4 or IPv6 address")
    return Wanted(level and Level(level), host, device, why and Why(why))


def _is_address(text: object) -> bool:
    try:
        return isinstance(text, str) and bool(packed(text))
    except (OSError, ValueError):
        return False


class Explaining:
    """By what the service knows at this moment."""

    def __init__(self, service: Service) -> None:
        self._state = service.state
        self._plan = service.newest_plan.reached
        self._arms = service.arms
        self._left_out = {left.name: left.reason for left in service.devices.found.left_out}

    async def reasons_of(self, flows: Sequence[FlowSeen]) -> list[Reason | None]:
        """Of each; raises MalformedMessage."""
        return [self._reason_of(seen.entry, seen.flow) async for seen in in_turns(flows, TURN)]

    def _reason_of(self, entry: Entry, flow: Flow) -> Reason | None:
        return reason(self._seen(entry, flow), self._plan, self._state, self._left_out)

    def is_wanted(self, entry: Entry, wanted: Wanted) -> bool:
        """The cheap questions first. Raises MalformedMessage; OSError for what is no address."""
        if wanted.level is not None and path_of(entry) is not wanted.level:
            return False
        if wanted.host is not None:
            host = packed(wanted.host)
            if host not in entry.key and host not in entry.reply_key:
                return False
        if wanted.device is None and wanted.why is None:
            return True
        flow = entry.flow()
        if wanted.device is not None and wanted.device not in self._devices_of(flow):
            return False
        if wanted.why is None:
            return True
        found = self._reason_of(entry, flow)
        return found is not None and found.why is wanted.why

    def _devices_of(self, flow: Flow) -> set[str | None]:
        """The devices towards both ends, and the ports of bridges that these are behind."""
        ends = {flow.original.source, flow.reply.source}
        ports = {host.port for host in self._state.hosts if host.address in ends}
        return {*self._arms.ways.ends_of(flow), *ports}

    def _seen(self, entry: Entry, flow: Flow) -> Seen:
        ends, drawing = self._arms.ways.ends_of(flow), self._arms.drawing
        drawn = drawing.hash_of(entry) if drawing.limit else None
        return Seen(
            Connection(flow.original, flow.reply, ends, entry.mark, drawn),
            path_of(entry),
            entry.original_packets + entry.reply_packets if entry.counted else None,
            _stage_of(entry),
            bool(entry.status & HELPED),
        )


def _stage_of(entry: Entry) -> Stage:
    state = entry.tcp_state
    if entry.protocol != TCP or state is None or state == ESTABLISHED:
        return Stage.GOING_ON
    return Stage.STARTING if state < ESTABLISHED or state == SYN_SENT2 else Stage.CLOSING


def described(
    flow: FlowSeen, found: Reason | None, bound: tuple[bool, bool] | None, now: float
) -> dict[str, Any]:
    """One connection as ubus and the control socket tell of it; `bound` as in EngineWatch."""
    stalled = flow.stalled_since
    original, reply = (_path(flow.level, one) for one in bound or (True, True))
    return {
        "flow": str(flow.flow.original),
        "reply": str(flow.flow.reply),
        "level": flow.level,
        "paths": {"original": original, "reply": reply},
        "why": found.why if found else None,
        "because": _sentence(found, now) if found else "",
        "device": found.device if found else None,
        "until": found.until if found else None,
        "arm": flow.arm,
        "age": None if flow.born is None else now - flow.born,
        "bytes": {"original": flow.bytes[0], "reply": flow.bytes[1]},
        "stalled_for": None if stalled is None else now - stalled,
    }


def _sentence(found: Reason, now: float) -> str:
    if found.until is None:
        return str(found)
    return f"{found}, for {max(0.0, found.until - now):.0f} s"


def _path(level: Level, is_bound: bool) -> Level:
    """The path of one direction: what the engine does not have, the flowtable forwards."""
    return level if is_bound or level is not Level.HARDWARE else Level.SOFTWARE
