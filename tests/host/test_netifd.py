# SPDX-License-Identifier: GPL-2.0-or-later
"""netifd's dump, and netifd asked over ubus."""

from __future__ import annotations

import asyncio
import tempfile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard.devices import Routed, routed
from flowguard.host.netifd import Interfaces, interfaces, read_dump
from flowguard.ubus.connection import Connection
from flowguard.ubus.serving import Method
from flowguard.ubus.status import UbusError
from flowguard.ubus.wire import Status
from tests.ubus.broker import Broker

DUMP: dict[str, Any] = {
    "interface": [
        {"interface": "loopback", "up": True, "l3_device": "lo", "device": "lo"},
        {"interface": "lan", "up": True, "l3_device": "br-lan", "device": "br-lan"},
        {"interface": "wan", "up": True, "l3_device": "pppoe-wan", "device": "eth1.7"},
        {"interface": "wan6", "up": True, "l3_device": "pppoe-wan", "device": "pppoe-wan"},
        {"interface": "backup", "up": False, "device": "eth2"},
        {"interface": "vpn", "up": True, "l3_device": "wg0"},
    ]
}
EXPECTED = Interfaces(
    ("br-lan", "eth1.7", "eth2", "pppoe-wan", "wg0"),
    {"pppoe-wan": "eth1.7"},
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(["interface", "device", "l3_device"]), inner)
    ),
)


def test_a_dump_of_a_router() -> None:
    assert read_dump(DUMP) == EXPECTED


@given(st.dictionaries(st.sampled_from(["interface", "other"]), JSON))
def test_whatever_is_answered_only_names_come_out(answer: dict[str, Any]) -> None:
    found = read_dump(answer)
    assert all(isinstance(name, str) and name not in ("", "lo") for name in found.names)


async def ask(methods: dict[str, Method] | None, path: str) -> tuple[Routed | None, Any]:
    """What devices and netifd itself say, with an object `network.interface` or without."""
    broker = Broker(path)
    await broker.start()
    server = await Connection.connect(path)
    try:
        if methods is not None:
            await server.add_object("network.interface", methods)
        try:
            direct: Any = await interfaces(path)
        except UbusError as error:
            direct = error.status
        return await routed(path), direct
    finally:
        server.close()
        await broker.stop()


@pytest.fixture
def path() -> Any:
    with tempfile.TemporaryDirectory() as folder:
        yield f"{folder}/ubus.sock"


def test_netifd_is_asked(path: str) -> None:
    async def dump(arguments: dict[str, Any], caller: object) -> dict[str, Any]:
        return DUMP

    known, direct = asyncio.run(ask({"dump": Method(dump, {})}, path))
    assert direct == EXPECTED
    assert known == Routed(EXPECTED.names, EXPECTED.carriers)


def test_without_netifd_the_kernel_is_asked(path: str) -> None:
    known, direct = asyncio.run(ask(None, path))
    assert direct is Status.NOT_FOUND
    assert known is not None and known.carriers == {}


def test_a_netifd_without_an_answer_is_no_answer(path: str) -> None:
    async def dump(arguments: dict[str, Any], caller: object) -> dict[str, Any]:
        raise UbusError(Status.UNKNOWN_ERROR)

    known, _ = asyncio.run(ask({"dump": Method(dump, {})}, path))
    assert known is None
    assert asyncio.run(routed(path)) is None
