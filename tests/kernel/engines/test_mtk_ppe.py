# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import tempfile
import termios
import threading
from ipaddress import IPv6Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard.core.model import FlowTuple
from flowguard.kernel.engines import EngineEntry, is_readable, mtk_ppe, sweep
from tests.ubus.test_connection import until

TAIL = "eth=02:00:00:00:00:01->02:00:00:00:00:02 etype=0800 vlan=0,0"
TCP4 = (
    "00a1f BND IPv4 5T orig=192.168.1.20:50000->203.0.113.9:443"
    f" new=198.51.100.7:50000->203.0.113.9:443 {TAIL} ib1=214d0001 ib2=007fff20"
)
UDP4 = TCP4.replace("214d0001", "614d0001")
TCP6 = (
    "01b22 BND IPv6 5T orig=2001:0db8:0000:0000:0000:0000:0000:0001:50000"
    f"->2001:0db8:00ff:0000:0000:0000:0000:0002:443 {TAIL} ib1=2b000000 ib2=00000040"
)
ROUTE4 = f"00001 BND IPv4 3T orig=192.0.2.1->192.0.2.2 new=192.0.2.1->192.0.2.2 {TAIL} ib1=0 ib2=0"
# As newer drivers print it, with counters and the engine's number.
NEWER = TCP4.replace(" orig=", " ppe=0 orig=") + " packets=12 bytes=3456"

FLOW4 = FlowTuple("tcp", "192.168.1.20", "203.0.113.9", 50000, 443)


def debugfs(root: Path, **engines: str) -> str:
    for name, text in engines.items():
        (root / name).mkdir()
        (root / name / "bind").write_bytes(text.encode("utf-8", "surrogateescape"))
        (root / name / "entries").write_bytes(text.encode("utf-8", "surrogateescape"))
    return str(root)


def test_forms_of_entries(tmp_path: Path) -> None:
    text = "\n".join([TCP4, UDP4, TCP6, ROUTE4, NEWER, "no entry at all", ""])
    assert [entry.flow for entry in read(debugfs(tmp_path, ppe0=text), only_bound=True)] == [
        FLOW4,
        FlowTuple("udp", "192.168.1.20", "203.0.113.9", 50000, 443),
        FlowTuple("tcp", "2001:db8::1", "2001:db8:ff::2", 50000, 443),
        FlowTuple("tcp", "192.0.2.1", "192.0.2.2", 0, 0),
        FLOW4,
    ]


def test_all_engines_count(tmp_path: Path) -> None:
    assert len(read(debugfs(tmp_path, ppe0=TCP4 + "\n", ppe1=TCP6 + "\n"))) == 2


def test_empty_engine_is_not_a_blind_one(tmp_path: Path) -> None:
    root = debugfs(tmp_path, ppe0="")
    assert is_readable(root) and read(root) == []


def test_no_engine_to_look_into(tmp_path: Path) -> None:
    assert not is_readable(str(tmp_path)) and not is_readable(str(tmp_path / "absent"))
    assert read(str(tmp_path)) == []


def read(root: str, only_bound: bool = False) -> list[EngineEntry]:
    async def all_chunks() -> list[EngineEntry]:
        return [entry async for chunk in sweep(root, only_bound=only_bound) for entry in chunk]

    return asyncio.run(all_chunks())


def test_an_entry_in_full(tmp_path: Path) -> None:
    unbound = TCP6.replace("BND", "UNB")
    text = "\n".join([NEWER, unbound, UDP4, ""])
    first, second, third = read(debugfs(tmp_path, ppe0=text))
    new = FlowTuple("tcp", "198.51.100.7", "203.0.113.9", 50000, 443)
    assert first == EngineEntry(FLOW4, new, bound=True, packets=12)
    assert (second.bound, second.rewritten, second.packets) == (False, None, None)
    assert third.bound and third.rewritten and third.rewritten.protocol == "udp"


def test_what_is_known_but_not_forwarded_is_not_bound(tmp_path: Path) -> None:
    text = TCP4.replace("BND", "UNB") + "\n" + TCP6.replace("BND", "FIN") + "\n"
    assert not any(entry.bound for entry in read(debugfs(tmp_path, ppe0=text)))


def test_a_full_engine_is_read_in_many_turns(tmp_path: Path) -> None:
    root = debugfs(tmp_path, ppe0=f"{NEWER}\n" * 16384)

    async def sizes() -> list[int]:
        return [len(chunk) async for chunk in sweep(root)]

    chunks = asyncio.run(sizes())
    assert sum(chunks) == 16384 and max(chunks) < 60


class Driver:
    """An engine whose table never comes to its end until it is `let_go`."""

    def __init__(self, directory: Path) -> None:
        (directory / "ppe0").mkdir()
        self.table = directory / "ppe0" / "entries"
        os.mkfifo(self.table)
        self.root = str(directory)
        # As long as this end is open, whoever reads waits for more.
        self._end = os.open(self.table, os.O_RDWR)

    async def hangs(self) -> None:
        """Somebody looks at the table, and gives up when it does not come back."""
        looking = asyncio.ensure_future(anext(sweep(self.root)))
        os.write(self._end, b"the first line\n")
        await until(lambda: fcntl.ioctl(self._end, termios.FIONREAD, bytes(4)) == bytes(4))
        looking.cancel()
        await asyncio.wait([looking])

    def let_go(self) -> None:
        os.close(self._end)
        self.table.unlink()
        self.table.write_text(TCP4 + "\n")

    async def is_read_again(self) -> list[EngineEntry]:
        async with asyncio.timeout(5):
            while True:
                try:
                    return await anext(sweep(self.root))
                except OSError:
                    await asyncio.sleep(0.001)


def threads() -> int:
    return [thread.name for thread in threading.enumerate()].count("engine")


def test_whoever_stops_a_sweep_does_not_wait_for_the_driver(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    stopped = threading.Event()

    def end() -> bool:
        in_time = stopped.wait(5)
        driver.let_go()
        return in_time

    async def run() -> bool:
        ending = asyncio.create_task(asyncio.to_thread(end))
        await driver.hangs()
        stopped.set()
        in_time = await ending
        await until(lambda: not threads())
        return in_time

    assert asyncio.run(run())


def test_while_a_look_hangs_no_other_thread_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(mtk_ppe, "monotonic", lambda: clock[0])
    driver = Driver(tmp_path)

    async def run() -> None:
        await driver.hangs()
        clock[0] += mtk_ppe.HANGS_AFTER + 1
        try:
            for _ in range(3):
                with pytest.raises(OSError, match="has not come back") as caught:
                    async with asyncio.timeout(5):
                        await anext(sweep(driver.root))
                assert caught.value.errno == errno.EBUSY
            assert threads() == 1
        finally:
            driver.let_go()
        assert [entry.flow for entry in await driver.is_read_again()] == [FLOW4]

    asyncio.run(run())


ports = st.integers(0, 65535)
v4 = st.ip_addresses(v=4).map(str)
pieces = st.sampled_from(
    [*NEWER.split(" "), "orig=", "new=", "->", ":", "orig=a:b->c:d", "orig=::::::::->1:x", "\udcff"]
)
nearly = st.lists(pieces | st.text(max_size=5), max_size=20).map(" ".join)


@given(v4, v4, ports, ports, st.sampled_from(["BND", "UNB", "FIN"]), st.integers(0, 2**64 - 1))
def test_every_ipv4_entry_survives(
    source: str, destination: str, sport: int, dport: int, state: str, packets: int
) -> None:
    ends = f"{source}:{sport}->{destination}:{dport}"
    line = f"00001 {state} IPv4 5T orig={ends} new={ends} {TAIL} ib1=0 ib2=0 packets={packets}"
    flow = FlowTuple("tcp", source, destination, sport, dport)
    assert parsed(line) == [EngineEntry(flow, flow, state == "BND", packets)]


@given(st.ip_addresses(v=6), st.ip_addresses(v=6), ports, ports)
def test_every_ipv6_entry_survives(
    source: IPv6Address, destination: IPv6Address, sport: int, dport: int
) -> None:
    ends = f"{kernel(source)}:{sport}->{kernel(destination)}:{dport}"
    (entry,) = parsed(f"00001 BND IPv6 5T orig={ends} {TAIL} ib1=0 ib2=0")
    assert IPv6Address(entry.flow.source) == source
    assert IPv6Address(entry.flow.destination) == destination
    assert (entry.flow.source_port, entry.flow.destination_port) == (sport, dport)


@given(st.lists(nearly | st.text(max_size=80), max_size=10))
def test_garbage_is_skipped_and_does_not_hide_its_neighbours(garbage: list[str]) -> None:
    lines = [text.replace("\n", "").replace("\r", "") for text in garbage]
    assert FLOW4 in [entry.flow for entry in parsed("\n".join([*lines, TCP4, *lines]))]


def kernel(address: IPv6Address) -> str:
    """As `%pI6` prints it; Python 3.13 would write the end of some as IPv4."""
    return address.packed.hex(":", 2)


def parsed(text: str) -> list[EngineEntry]:
    with tempfile.TemporaryDirectory() as root:
        return read(debugfs(Path(root), ppe0=text + "\n"))
