# SPDX-License-Identifier: GPL-2.0-or-later
"""The flows of a host that has moved are taken out of the flowtables, and no others."""

from __future__ import annotations

import asyncio

import pytest

from flowguard.actuators import moves
from flowguard.actuators.moves import Moves
from flowguard.core.model import FlowTuple, Level
from flowguard.kernel.conntrack import HW_OFFLOAD, OFFLOAD, Entry
from flowguard.kernel.conntrack.flow import encode_tuple
from tests import virtual_time
from tests.actuators.router import OffloadedFlows, Timeouts

PC, TV, FAR, OWN = "192.168.1.2", "192.168.1.20", "203.0.113.1", "203.0.113.2"
IN_HARDWARE, IN_SOFTWARE = OFFLOAD | HW_OFFLOAD, OFFLOAD


def entry(number: int, original: tuple[str, str], reply: tuple[str, str], status: int) -> Entry:
    one = FlowTuple("tcp", *original, 1000 + number, 443)
    other = FlowTuple("tcp", *reply, 443, 1000 + number)
    key, reply_key = (encode_tuple(kind, t)[1][4:] for kind, t in ((1, one), (2, other)))
    return Entry(number, status, 0, 6, 4, 400, 3, 300, True, None, None, key, reply_key)


def masqueraded(number: int, host: str, status: int = IN_HARDWARE) -> Entry:
    return entry(number, (host, FAR), (FAR, OWN), status)


def forwarded(number: int, host: str) -> Entry:
    """From outside, by a port forward."""
    return entry(number, (FAR, OWN), (host, FAR), IN_HARDWARE)


@pytest.fixture
def flows() -> OffloadedFlows:
    return OffloadedFlows(Timeouts())


def follow(flows: OffloadedFlows, *moved: str, level: Level = Level.HARDWARE) -> list[int]:
    """The numbers of the connections that are still in a flowtable."""

    async def placed() -> None:
        # Until the tables know where it is, all stays.
        before = [*flows.entries]
        await asyncio.sleep(0)
        assert flows.entries == before

    virtual_time.run(Moves(flows, placed).follow(moved, level))
    return [e.id for e in flows.entries if e.status & OFFLOAD]


def test_flows_of_the_host_go_whoever_began_them(flows: OffloadedFlows) -> None:
    flows.entries = [masqueraded(1, PC), masqueraded(2, TV), forwarded(3, PC), forwarded(4, TV)]
    assert follow(flows, PC) == [2, 4]
    assert follow(flows, TV) == []


def test_who_moves_while_tables_are_changed_is_followed_with_the_others(
    flows: OffloadedFlows,
) -> None:
    flows.entries = [masqueraded(1, PC), masqueraded(2, TV)]

    async def main() -> None:
        changed = asyncio.Event()

        async def placed() -> None:
            await changed.wait()

        following = Moves(flows, placed)
        first = asyncio.create_task(following.follow([PC], Level.HARDWARE))
        await asyncio.sleep(0)
        for _ in range(1000):  # A host that flaps leaves no work behind.
            await following.follow([TV], Level.HARDWARE)
        assert not flows.sweeps
        changed.set()
        await first

    asyncio.run(main())
    assert len(flows.sweeps) == 1
    assert not any(entry.status & OFFLOAD for entry in flows.entries)


def test_each_is_pulled_out_of_the_flowtables_that_it_was_asked_for(
    flows: OffloadedFlows,
) -> None:
    flows.entries = [masqueraded(1, PC, IN_SOFTWARE), masqueraded(2, TV, IN_SOFTWARE)]
    flows.entries += [masqueraded(3, PC), masqueraded(4, TV)]

    async def placed() -> None:
        await asyncio.sleep(1)

    async def main() -> None:
        following = Moves(flows, placed)
        first = asyncio.create_task(following.follow([PC, TV], Level.HARDWARE))
        await asyncio.sleep(0)
        await following.follow([TV], Level.SOFTWARE)
        await following.follow([TV], Level.HARDWARE)
        await first

    virtual_time.run(main())
    assert [e.id for e in flows.entries if e.status & OFFLOAD] == [1]


def test_what_only_looks_like_it_stays(flows: OffloadedFlows) -> None:
    """The address of an end that is somebody else's by NAT, or of nobody."""
    flows.entries = [entry(1, (TV, FAR), (FAR, PC), IN_HARDWARE)]
    assert follow(flows, PC, "2001:db8::2") == [1]


def test_of_software_only_where_flows_are_bound_there(flows: OffloadedFlows) -> None:
    flows.entries = [masqueraded(1, PC, IN_SOFTWARE), masqueraded(2, PC)]
    assert follow(flows, PC) == [1]
    assert follow(flows, PC, level=Level.SOFTWARE) == []


def test_an_interrupted_look_is_taken_again_at_once_and_then_after_a_while(
    flows: OffloadedFlows, caplog: pytest.LogCaptureFixture
) -> None:
    flows.entries = [masqueraded(1, PC)]
    flows.interrupt(moves.ATTEMPTS - 1)
    assert follow(flows, PC) == []
    assert "stay where they were" not in caplog.text
    flows.entries = [masqueraded(1, PC)]
    flows.interrupt(3 * moves.ATTEMPTS)
    assert follow(flows, PC) == []
    # Told once, however long it lasts.
    assert caplog.text.count("the connection table changes faster than it can be read") == 1


def test_the_kernel_collects_what_was_pulled_and_nothing_else_makes_it(
    flows: OffloadedFlows,
) -> None:
    flows.entries = [masqueraded(1, PC), masqueraded(2, TV)]
    follow(flows, PC)
    assert flows.collections == [[2]]
    follow(flows, PC)
    assert len(flows.collections) == 1


@pytest.mark.parametrize("hangs", [True, False])
def test_a_kernel_that_does_not_collect_keeps_nobody_waiting(
    flows: OffloadedFlows, hangs: bool
) -> None:
    flows.entries = [masqueraded(1, PC), masqueraded(2, TV)]
    flows.collection_hangs = hangs
    flows.collection_error = None if hangs else OSError(1, "Operation not permitted")
    assert follow(flows, PC) == [2]
    assert follow(flows, TV) == []


def test_very_many_flows_go_in_rounds(
    flows: OffloadedFlows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moves, "FLOWS_MOST", 3)
    flows.entries = [masqueraded(number, PC) for number in range(1, 6)]
    assert follow(flows, PC) == []
    assert len(flows.sweeps) == 2
