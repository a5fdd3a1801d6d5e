# SPDX-License-Identifier: GPL-2.0-or-later
"""How much of the traffic takes the classic path, and what scenarios demand of it."""

from __future__ import annotations

from collections.abc import Callable, Collection

from tests.lab.capture import (
    Engine,
    TrackedConnection,
    hardware_flows,
    software_flows,
    tracked_connections,
)
from tests.lab.daemon import PORTS, Daemon
from tests.lab.hosts import Segment
from tests.lab.paths import classic, tracked
from tests.lab.traffic import Datagrams, Downloads, Uploads
from tests.lab.traffic.control import Batch
from tests.lab.wait import wait_for

MOST_CLASSIC = 0.05
# A judgement needs packets.
PACKETS = 200


def all_kinds(
    host: str, families: tuple[int, ...] = (4, 6)
) -> list[Downloads | Uploads | Datagrams]:
    return [
        kind
        for family in families
        for kind in (
            Downloads(host=host, family=family),
            Uploads(host=host, family=family),
            Datagrams(host=host, family=family),
        )
    ]


def assert_short_path(batch: Batch, daemon: Daemon) -> None:
    """Hardly a packet takes the classic path, in either direction."""
    wait_until_offloaded(batch, state=lambda: (tracked_connections(), daemon.status()))
    shares = classic_shares()
    assert max(shares) <= MOST_CLASSIC, (shares, tracked_connections())


def classic_shares(packets: int = PACKETS) -> tuple[float, float]:
    """Of the packets from now on, original direction and reply; within `paths.counted`."""
    classic_before, before = classic(), tracked()

    def enough() -> bool:
        moved = tracked().since(before)
        return min(moved.original, moved.reply) >= packets

    wait_for(enough, f"{packets} packets each way", 120, state=tracked)
    slow, moved = classic().since(classic_before), tracked().since(before)
    return slow.original / moved.original, slow.reply / moved.reply


def wait_until_offloaded(batch: Batch, state: Callable[[], object] = tracked_connections) -> None:
    """As many flows as that are in a flowtable."""
    wait_for(
        lambda: hardware_flows() + software_flows() >= batch.wanted,
        "all flows to be offloaded",
        state=state,
    )


def payload(batch: Batch) -> int:
    now = batch.report()
    return now.sent + now.received


def wait_for_payload(batch: Batch) -> None:
    """All of it goes on: enough packets for a rule to have seen them."""
    before = payload(batch)
    wait_for(lambda: payload(batch) - before > batch.wanted * 16_000, "the transfers to go on", 60)


def entries_of_lan2(engine: Engine) -> list[str]:
    """What the engine would forward for the host behind lan2, wherever it is."""
    return [line for line in engine.bound() if "192.168.2." in line or "db8:0002:" in line]


def at_level(
    daemon: Daemon, level: str, sections: str = "", devices: Collection[str] = PORTS
) -> None:
    """Started, without a control group; these devices are on the level."""
    daemon.configure(f"boot_delay '0'\ncontrol_share '0'\nlevel '{level}'", sections)
    daemon.start().wait_for_levels(dict.fromkeys(devices, level))


def of_host(segment: Segment) -> list[TrackedConnection]:
    here = (segment.host4, segment.host6)
    return [c for c in tracked_connections() if c.original.source in here]
