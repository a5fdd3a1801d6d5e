# SPDX-License-Identifier: GPL-2.0-or-later
"""netifd's dump, and netifd asked over ubus."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard.platform.openwrt.netifd import Interfaces, interfaces, read_dump
from flowguard.ubus.connection import Connection
from flowguard.ubus.errors import UbusError
from flowguard.ubus.serving import Method
from flowguard.ubus.wire import Status
from tests.ubus.broker import Ubusd
from tests.ubus.conftest import ubusd

__all__ = ["ubusd"]

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


Dump = Callable[[dict[str, Any], object], Awaitable[dict[str, Any]]]


def ask(ubusd: Ubusd, dump: Dump | None = None) -> Interfaces | None:
    """What is found out with a netifd that answers so, or without one."""

    async def run() -> Interfaces | None:
        await ubusd.start()
        server = await Connection.connect(ubusd.path)
        try:
            if dump:
                await server.add_object("network.interface", {"dump": Method(dump, {})})
            return await interfaces(ubusd.path)
        finally:
            server.close()
            await ubusd.stop()

    return asyncio.run(run())


def test_netifd_is_asked(ubusd: Ubusd) -> None:
    async def dump(arguments: dict[str, Any], caller: object) -> dict[str, Any]:
        return DUMP

    assert ask(ubusd, dump) == EXPECTED


def test_a_ubus_without_netifd_is_an_answer(ubusd: Ubusd) -> None:
    assert ask(ubusd) is None


def test_a_netifd_without_an_answer_is_no_answer(ubusd: Ubusd) -> None:
    async def dump(arguments: dict[str, Any], caller: object) -> dict[str, Any]:
        raise UbusError(Status.UNKNOWN_ERROR)

    with pytest.raises(OSError, match="netifd: unknown error"):
        ask(ubusd, dump)


def test_a_ubusd_that_is_gone_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        asyncio.run(interfaces(str(tmp_path / "none")))


def test_what_does_not_greet_as_a_ubusd_is_no_answer(tmp_path: Path) -> None:
    async def run() -> Interfaces | None:
        path = str(tmp_path / "other")
        server = await asyncio.start_unix_server(lambda reader, writer: writer.close(), path)
        async with server:
            return await interfaces(path)

    with pytest.raises(OSError):
        asyncio.run(run())
