# SPDX-License-Identifier: GPL-2.0-or-later
"""What people are told of each connection, and how they ask for some of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from flowguard.core.events import FaultSeen
from flowguard.core.model import Attribution, Fault, FaultClass, FlowTuple
from flowguard.core.records import replace
from flowguard.kernel.conntrack import HELPED, HW_OFFLOAD, OFFLOAD, Entry
from flowguard.kernel.conntrack.flow import PROTOCOL_NUMBERS, encode_tuple
from flowguard.kernel.engines import EngineEntry
from flowguard.kernel.netlink.codec import MalformedMessage
from flowguard.sensors.arms.census import ASSURED, SEEN_REPLY
from flowguard.service.api import FLOWS_MOST
from flowguard.service.control import ApiError, NotNow
from tests.actuators.router import LAN, WAN, Router
from tests.service.composed import CONFIGURED, Home, at_home
from tests.virtual_time import now

ANSWERED = SEEN_REPLY | ASSURED
SOFTWARE = ANSWERED | OFFLOAD
HARDWARE = SOFTWARE | HW_OFFLOAD
PC, ROUTER, SERVER = "192.168.1.2", "203.0.113.2", "203.0.113.1"
SETTINGS = replace(CONFIGURED, control_share=0)


def entry(
    number: int,
    status: int,
    *,
    source: str = PC,
    protocol: str = "tcp",
    server: str = SERVER,
    **changes: Any,
) -> Entry:
    port = 1000 + number
    one = FlowTuple(protocol, source, server, port, 443)
    other = FlowTuple(protocol, server, ROUTER, 443, port)
    key, reply_key = (encode_tuple(kind, t)[1][4:] for kind, t in ((1, one), (2, other)))
    kind = PROTOCOL_NUMBERS[protocol]
    made = Entry(number, status, 0, kind, 40, 4000, 30, 3000, True, None, None, key, reply_key)
    return made._replace(**changes)


def asked(
    use: Callable[[Home], Awaitable[None]], *entries: Entry, engine: list[EngineEntry] | None = None
) -> None:
    router = Router()
    router.engines.entries = engine
    router.network.routes = {PC: LAN, SERVER: WAN, ROUTER: "lo"}

    async def settled(home: Home) -> None:
        await home.settled()
        router.flows.entries = [*entries]
        await use(home)

    at_home(settled, router=router, configuration=SETTINGS)


async def flows(home: Home, **params: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await home.daemon.api.call("flows", params)
    return found


async def ports(home: Home, **params: Any) -> list[int]:
    """The source ports less 1000 of the connections that come."""
    found = await flows(home, **params)
    return sorted(int(f["flow"].split(" -> ")[0].rsplit(":", 1)[1]) - 1000 for f in found)


def test_each_connection_comes_with_its_paths_and_its_reason() -> None:
    async def use(home: Home) -> None:
        reasons = {f["flow"].split(":")[1].split()[0]: f for f in await flows(home)}
        whole, refused, helped = (reasons[str(1000 + number)] for number in (1, 2, 3))
        assert (whole["why"], whole["because"]) == (None, "")
        assert whole["paths"] == {"original": "hardware", "reply": "hardware"}
        assert (refused["level"], refused["why"]) == ("software", "refused")
        assert (helped["level"], helped["why"]) == ("none", "helper")
        assert "helper" in helped["because"]

    asked(use, entry(1, HARDWARE), entry(2, SOFTWARE), entry(3, ANSWERED | HELPED))


def test_a_device_that_is_held_off_is_named_with_the_time_that_is_left() -> None:
    async def use(home: Home) -> None:
        fault = Fault("r", FaultClass.TX_TIMEOUT, Attribution.DRIVER, WAN, None, "line")
        home.service.feed(FaultSeen(now(), fault))
        await asyncio.sleep(30)
        (found,) = await flows(home, why="held_off")
        assert found["device"] == WAN and found["until"] > now()
        left = found["until"] - now()
        assert f"for {left:.0f} s" in found["because"]

    asked(use, entry(1, SOFTWARE))


def test_they_are_found_by_level_host_device_and_reason() -> None:
    async def use(home: Home) -> None:
        assert await ports(home) == [1, 2, 3, 4]
        assert await ports(home, level="hardware") == [1]
        assert await ports(home, level="none") == [3, 4]
        assert await ports(home, host=PC) == [1, 2, 3]
        assert await ports(home, host=SERVER) == [1, 2, 3, 4]
        assert await ports(home, device=LAN) == [1, 2, 3]
        assert await ports(home, device="lo") == [4]
        assert await ports(home, why="not_forwarded") == [4]
        assert await ports(home, why="other_protocol") == [3]
        assert await ports(home, level="none", host=PC, device="", why="") == [3]

    asked(
        use,
        entry(1, HARDWARE),
        entry(2, SOFTWARE),
        entry(3, ANSWERED, protocol="gre"),
        entry(4, ANSWERED, source=ROUTER),
    )


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"level": "fast"}, "level: expected one of hardware, software, none"),
        ({"level": ["none"]}, "level: expected one of"),
        ({"host": "nas.lan"}, "host: expected an IPv4 or IPv6 address"),
        ({"host": 7}, "host: expected"),
        ({"host": "1.2.3.4\0"}, "host: expected"),
        ({"device": 1}, "device: expected a name"),
        ({"why": "bad_luck"}, "why: expected one of other_protocol, "),
    ],
)
def test_what_cannot_be_asked_is_refused(params: dict[str, Any], words: str) -> None:
    async def use(home: Home) -> None:
        with pytest.raises(ApiError) as caught:
            await flows(home, **params)
        assert words in str(caught.value)

    asked(use)


def test_the_answer_is_bounded_and_the_loop_has_its_turns_meanwhile() -> None:
    turns = 0

    async def use(home: Home) -> None:
        async def tick() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        found = await flows(home, limit=FLOWS_MOST, why="idle")
        ticking.cancel()
        assert len(found) == FLOWS_MOST

    asked(use, *(entry(number, ANSWERED) for number in range(3000)))
    assert turns > 3000 / 20


def test_a_table_that_cannot_be_read_is_told() -> None:
    async def use(home: Home) -> None:
        home.router.flows.always = MalformedMessage("odd")
        with pytest.raises(NotNow, match="cannot be read: odd"):
            await flows(home)

    asked(use)


def test_a_direction_that_the_engine_does_not_have_goes_by_software() -> None:
    whole, half = entry(1, HARDWARE), entry(2, HARDWARE)
    directions = [whole.flow().original, whole.flow().reply, half.flow().original]

    async def use(home: Home) -> None:
        await asyncio.sleep(60)
        assert await ports(home, level="hardware", host=PC) == [1, 2]
        paths = {f["flow"].split()[1]: f["paths"]["reply"] for f in await flows(home, host=PC)}
        assert paths == {f"{PC}:1001": "hardware", f"{PC}:1002": "software"}

    async def count(home: Home) -> None:
        await use(home)
        # Of the third one the engine has nothing, whatever its status says.
        counted = home.status()["flows"]
        assert (counted["hardware"], counted["software"]) == (2, 1)

    asked(
        count,
        whole,
        half,
        entry(3, HARDWARE, source="192.168.1.9"),
        engine=[EngineEntry(one, None, True, None) for one in directions],
    )
