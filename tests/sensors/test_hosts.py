# SPDX-License-Identifier: GPL-2.0-or-later
"""Hosts behind the ports of bridges, as bridges and neighbours tell of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard.core.events import Event, HostsSeen, SensorBack, SensorLost
from flowguard.core.model import Host, KnownHosts
from flowguard.kernel.route.sightings import Learned, Neighbour, Sighting
from flowguard.sensors import hosts
from flowguard.sensors.hosts import HostsSensor, HostTable
from flowguard.sensors.supervise import Supervision
from tests import virtual_time
from tests.sensors.machine import Neighbourhood, Parts
from tests.virtual_time import now

PC, TV = bytes(6), bytes((2, 0, 0, 0, 0, 1))
V4, V6, TV4 = "192.168.1.2", "2001:db8:1::2", "192.168.1.3"


def joined(*sightings: Sighting) -> dict[str, str]:
    table = HostTable()
    table.take(sightings)
    return table.hosts()


def test_an_address_is_behind_the_port_of_its_mac() -> None:
    assert joined(
        Neighbour("br-lan", V4, PC), Learned("br-lan", PC, "lan1"), Neighbour("br-lan", V6, PC)
    ) == {V4: "lan1", V6: "lan1"}


def test_who_is_behind_no_bridge_is_not_told() -> None:
    assert joined(Neighbour("wan", "203.0.113.1", TV), Learned("br-lan", PC, "lan1")) == {}


def test_the_last_sighting_counts_and_what_a_bridge_forgets_stays_where_it_was() -> None:
    begun = (Neighbour("br-lan", V4, PC), Learned("br-lan", PC, "lan1"))
    assert joined(*begun, Learned("br-lan", PC, "phy0-ap0")) == {V4: "phy0-ap0"}
    assert joined(*begun, Learned("br-lan", PC, None)) == {V4: "lan1"}
    assert joined(*begun, Neighbour("br-lan", V4, None)) == {}
    assert joined(*begun, Neighbour("br-lan", V4, TV), Learned("br-lan", TV, "lan2")) == {
        V4: "lan2"
    }


def test_a_mac_in_two_bridges_is_found_in_that_of_its_address() -> None:
    both = (Learned("br-lan", PC, "eth0.1"), Learned("br-guest", PC, "eth0.2"))
    assert joined(*both, Neighbour("br-guest", V4, PC)) == {V4: "eth0.2"}
    # Behind a VLAN of one of them it could be either.
    assert joined(*both, Neighbour("br-lan.10", V4, PC)) == {}
    assert joined(both[0], Neighbour("br-lan.10", V4, PC)) == {V4: "eth0.1"}


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=3000))
def test_the_table_does_not_grow_for_ever(numbers: list[int]) -> None:
    table = HostTable()
    for number in numbers:
        mac, address = number.to_bytes(6, "big"), f"10.0.{number >> 8}.{number & 255}"
        table.take([Learned("br-lan", mac, "lan1"), Neighbour("br-lan", address, mac)])
    assert len(table.hosts()) <= hosts.HOSTS_MOST
    # The newest is never the one that is forgotten.
    assert f"10.0.{numbers[-1] >> 8}.{numbers[-1] & 255}" in table.hosts()


# --- the sensor --------------------------------------------------------------------------------


Story = Callable[[Neighbourhood], Awaitable[None]]


def told(
    story: Story, *present: Sighting, slow: float = 0.0, kept: KnownHosts | None = None
) -> list[Event]:
    parts, events = Parts(), list[Event]()
    around = parts.network.neighbourhood
    around.present, around.slow = [*present], slow

    async def main() -> None:
        supervision = Supervision(now, events.append)
        sensor = HostsSensor(parts.machine, events.append)
        if kept:
            sensor.go_on_from(kept)
        supervision.start(sensor)
        await asyncio.sleep(0.1)
        await story(around)
        await supervision.close()

    virtual_time.run(main())
    assert around.listening == []
    return events


def at(event: Event) -> tuple[float, tuple[Host, ...], tuple[str, ...]]:
    assert isinstance(event, HostsSeen)
    return event.time, event.seen, event.gone


HERE = (Neighbour("br-lan", V4, PC), Learned("br-lan", PC, "lan1"))


def test_who_is_there_is_told_at_once_and_a_move_a_moment_later() -> None:
    async def story(around: Neighbourhood) -> None:
        await asyncio.sleep(9.9)
        around.happens(Learned("br-lan", PC, "phy0-ap0"))
        await asyncio.sleep(5)
        around.happens(Neighbour("br-lan", V4, None))
        await asyncio.sleep(5)

    assert list(map(at, told(story, *HERE))) == [
        (0, (Host(V4, "lan1"),), ()),
        (10.02, (Host(V4, "phy0-ap0"),), ()),
        (15.02, (), (V4,)),
    ]


def test_a_port_that_forgets_a_host_does_not_delay_the_news_of_where_it_is() -> None:
    async def story(around: Neighbourhood) -> None:
        await asyncio.sleep(9.9)
        around.happens(Learned("br-lan", PC, None))
        await asyncio.sleep(0.04)
        around.happens(Learned("br-lan", PC, "phy0-ap0"))
        await asyncio.sleep(5)

    _, (time, seen, _) = map(at, told(story, *HERE))
    assert seen == (Host(V4, "phy0-ap0"),)
    assert time == pytest.approx(10.14)


def test_a_host_that_flaps_is_told_twice_a_second_at_most() -> None:
    async def story(around: Neighbourhood) -> None:
        for number in range(1000):
            around.happens(Learned("br-lan", PC, ("lan1", "lan2")[number % 2]))
            await asyncio.sleep(0.025)

    events = told(story, *HERE)
    assert 25 < len(events) <= 25 * 2 + 2


def test_what_is_no_news_is_not_told() -> None:
    async def story(around: Neighbourhood) -> None:
        for _ in range(3):
            around.happens(*HERE)
            await asyncio.sleep(1)

    assert len(told(story, *HERE)) == 1


def test_after_a_loss_it_looks_again() -> None:
    async def story(around: Neighbourhood) -> None:
        around.present.append(Learned("br-lan", PC, "lan2"))
        around.happens()
        await asyncio.sleep(5)
        assert around.looks == 2

    _, second = map(at, told(story, *HERE))
    assert second[1] == (Host(V4, "lan2"),)


def test_what_was_heard_before_a_loss_is_older_than_the_answer() -> None:
    async def story(around: Neighbourhood) -> None:
        around.present = [HERE[0], Learned("br-lan", PC, "lan3")]
        around.happens(Learned("br-lan", PC, "lan2"))
        around.happens()
        await asyncio.sleep(5)

    _, second = map(at, told(story, *HERE))
    assert second[1] == (Host(V4, "lan3"),)


def test_what_is_heard_while_it_looks_is_newer_than_the_answer() -> None:
    async def story(around: Neighbourhood) -> None:
        around.happens(Learned("br-lan", PC, "lan2"))
        await asyncio.sleep(5)

    (event,) = told(story, *HERE, slow=0.5)
    assert at(event)[1] == (Host(V4, "lan2"),)


def test_a_watch_that_breaks_is_taken_up_again_and_what_was_missed_is_made_up_for() -> None:
    async def story(around: Neighbourhood) -> None:
        around.break_down("No buffer space available")
        around.present.append(Learned("br-lan", PC, "lan2"))
        await asyncio.sleep(30)

    events = told(story, *HERE)
    assert [type(event) for event in events] == [HostsSeen, SensorLost, HostsSeen, SensorBack]


def test_a_daemon_goes_on_from_what_the_one_before_knew() -> None:
    async def story(around: Neighbourhood) -> None:
        await asyncio.sleep(9.9)
        around.happens(Neighbour("br-lan", TV4, None))
        await asyncio.sleep(5)

    kept = KnownHosts((Host(V4, "lan1"), Host(TV4, "lan1")))
    # One has moved meanwhile; of the other nobody has heard, and that says nothing.
    moved = (Neighbour("br-lan", V4, PC), Learned("br-lan", PC, "lan2"))
    assert list(map(at, told(story, *moved, kept=kept))) == [
        (0, kept.hosts, ()),
        (0, (Host(V4, "lan2"),), ()),
        (10.02, (), (TV4,)),
    ]
