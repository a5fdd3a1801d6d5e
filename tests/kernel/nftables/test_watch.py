# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import struct

import pytest

from flowguard.kernel.netlink.codec import attribute
from flowguard.kernel.nftables.watch import concerns_us

OURS, OTHERS = 4711, 815
DELTABLE, NEWRULE, DELRULE, NEWGEN, NEWFLOWTABLE, DELFLOWTABLE = 2, 6, 8, 15, 22, 24


def notification(kind: int, table: str, port: int = OTHERS) -> bytes:
    body = struct.pack("!BBH", 1, 0, 7) + attribute(1, table.encode() + b"\0")
    return struct.pack("=IHHII", 16 + len(body), 10 << 8 | kind, 0, 0, port) + body


@pytest.mark.parametrize("kind", [DELTABLE, DELRULE, DELFLOWTABLE])
@pytest.mark.parametrize("table", ["flowguard", "flowguard_sw"])
def test_deletions_of_ours_by_others(kind: int, table: str) -> None:
    assert concerns_us(notification(kind, table), OURS)


@pytest.mark.parametrize("kind", [NEWFLOWTABLE, DELFLOWTABLE])
def test_flowtables_of_others_come_and_go(kind: int) -> None:
    assert concerns_us(notification(kind, "fw4"), OURS)
    assert not concerns_us(notification(kind, "fw4", OURS), OURS)


def test_among_many() -> None:
    buffer = notification(NEWRULE, "fw4") + notification(DELTABLE, "flowguard")
    assert concerns_us(buffer + notification(NEWGEN, "x"), OURS)


@pytest.mark.parametrize(
    "buffer",
    [
        notification(DELTABLE, "flowguard", OURS),
        notification(DELTABLE, "fw4"),
        notification(DELTABLE, "flowguard_backup"),
        notification(NEWRULE, "flowguard"),
        notification(NEWFLOWTABLE, "flowguard_sw"),
        notification(DELTABLE, "flowguard")[:-4],
        b"flowguard",
        b"",
    ],
)
def test_everything_else(buffer: bytes) -> None:
    assert not concerns_us(buffer, OURS)
