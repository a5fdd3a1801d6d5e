# SPDX-License-Identifier: GPL-2.0-or-later
"""What goes up and down for the kernel's sake is seen by nobody else.

That flows leave at once is a matter of the lab: tests/lab/scenarios/test_wifi.py.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from pathlib import Path

import pytest

from flowguard.kernel.linux import LinuxConnections
from flowguard.kernel.route.links import RTMGRP_LINK
from flowguard.kernel.route.rtnetlink import NETLINK_ROUTE

OUR_NETWORK = Path("/proc/self/ns/net")
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def test_our_own_network_sees_nothing_of_it() -> None:
    ours = OUR_NETWORK.readlink()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE) as news:
        news.bind((0, RTMGRP_LINK))
        asyncio.run(LinuxConnections().collect())
        with pytest.raises(BlockingIOError):
            news.recv(1, socket.MSG_DONTWAIT)
    assert OUR_NETWORK.readlink() == ours


def test_there_is_one_at_a_time() -> None:
    connections = LinuxConnections()

    async def twice() -> tuple[BaseException | None, BaseException | None]:
        return await asyncio.gather(
            connections.collect(), connections.collect(), return_exceptions=True
        )

    for _ in range(2):
        first, second = asyncio.run(twice())
        assert first is None
        assert isinstance(second, OSError) and second.errno == errno.EBUSY
