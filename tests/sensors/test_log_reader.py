# SPDX-License-Identifier: GPL-2.0-or-later
"""The live kernel log: record format, gaps, forgeries, floods."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard.core.faults import QUIET_SECONDS
from flowguard.core.model import Attribution, Fault
from flowguard.kernel.kmsg import netdev_of, parse
from flowguard.rules import load
from flowguard.sensors import log_reader
from flowguard.sensors.log_reader import KmsgReader, KmsgSensor

RULES = load()
BUSY = "mtk_soc_eth 15100000.ethernet: PPE table busy"
ORDINARY = "br-lan: port 1(lan1) entered forwarding state"
STALL = "rcu: INFO: rcu_sched self-detected stall on CPU"


def record(sequence: int, text: str, priority: int = 3, rest: str = "", flag: str = "-") -> bytes:
    return f"{priority},{sequence},{sequence * 2_000_000},{flag};{text}\n{rest}".encode()


def test_parse_a_record_with_everything() -> None:
    data = b"6,339,5140900,c,caller=T12;a\\x0ab \\\\x \\xc3\\xa9\n SUBSYSTEM=net\n DEVICE=n3\n"
    found = parse(data)
    assert found
    assert (found.sequence, found.device_id, found.continues) == (339, "n3", True)
    assert found.text.startswith("a\nb ")
    assert (found.time, found.caller, found.kernel) == (5.1409, "T12", True)


@given(st.binary(max_size=200))
def test_no_record_is_too_strange(data: bytes) -> None:
    reader = KmsgReader(RULES)
    reader.take(data)
    reader.take(b"6,1,2,-;" + data)


def test_devices_of_the_dictionary() -> None:
    assert netdev_of(f"n{socket.if_nametoindex('lo')}") == "lo"
    for nobody in ("n999999", "+pci:0000:ff:1f.7", "+../..:x", "c1:3", "nonsense", ""):
        assert netdev_of(nobody) is None


def test_the_dictionary_names_the_device_of_a_fault() -> None:
    loopback = socket.if_nametoindex("lo")
    rest = f" SUBSYSTEM=net\n DEVICE=n{loopback}\n"
    ((sequence, fault),) = KmsgReader(RULES).take(record(7, BUSY, rest=rest))
    assert (sequence, fault.device) == (7, "lo")


def test_forged_records_are_counted_and_ignored() -> None:
    reader = KmsgReader(RULES)
    assert not reader.take(record(1, BUSY, priority=11))
    assert reader.take(record(2, BUSY, priority=3))
    assert (reader.counters.records, reader.counters.forged) == (2, 1)


def test_gaps_are_counted() -> None:
    reader = KmsgReader(RULES)
    for sequence in (10, 11, 15):
        reader.take(record(sequence, ORDINARY))
    assert (reader.counters.records, reader.counters.lost) == (3, 3)


def test_a_fragment_is_joined_to_its_beginning() -> None:
    reader = KmsgReader(RULES)
    assert not reader.take(record(1, "mtk_soc_eth 15100000.ethernet: PPE"))
    ((_, fault),) = reader.take(record(2, " table busy", flag="c"))
    assert fault.line == BUSY


def test_other_rules_end_neither_a_count_nor_a_report_under_way() -> None:
    reader = KmsgReader(RULES)
    ((_, first),) = reader.take(record(1, "mt7915e 0000:01:00.0: Message 00005aed (seq 3) timeout"))
    reader.use(load())
    ((_, second),) = reader.take(
        record(2, "mt7915e 0000:01:00.0: Message 00005aed (seq 4) timeout")
    )
    assert (first.attribution, second.attribution) == (Attribution.WEAK, Attribution.DRIVER)
    reader.take(record(3, STALL))
    assert reader.pending
    reader.use(load())
    assert reader.pending
    ((_, stall),) = reader.flush()
    assert stall.line == STALL


def test_a_restart_goes_on_after_the_last_handled_record() -> None:
    first = KmsgReader(RULES)
    assert first.take(record(5, BUSY))
    first.take(record(6, STALL))
    first.take(record(7, ORDINARY))
    assert first.handled == 5
    second = KmsgReader(RULES, after=first.handled)
    found = [f for n in (4, 5, 6, 7) for f in second.take(record(n, BUSY if n < 6 else STALL))]
    assert {fault.rule for _, fault in [*found, *second.flush()]} == {"rcu-stall"}
    assert second.handled == 7


class Log:
    """A socket with the manners of /dev/kmsg: one record a read."""

    def __init__(self) -> None:
        reader, self._writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        reader.setblocking(False)
        self.descriptor = reader.detach()
        self._sequence = 0

    def write(self, text: str) -> None:
        self._sequence += 1
        self._writer.send(record(self._sequence, text))

    def close(self) -> None:
        self._writer.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def play(story: Callable[[Log, KmsgSensor, list[Fault]], Awaitable[None]]) -> None:
    async def run() -> None:
        log, faults = Log(), list[Fault]()
        sensor = KmsgSensor(RULES, lambda _, fault: faults.append(fault), descriptor=log.descriptor)
        try:
            await story(log, sensor, faults)
        finally:
            sensor.close()
            log.close()

    asyncio.run(run())


def test_a_fault_arrives() -> None:
    async def story(log: Log, sensor: KmsgSensor, faults: list[Fault]) -> None:
        log.write(ORDINARY)
        log.write(BUSY)
        await until(lambda: bool(faults))
        assert faults[0].attribution is Attribution.OFFLOAD
        assert sensor.counters.records == 2

    play(story)


def test_an_open_report_is_told_when_the_log_goes_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_reader, "QUIET_SECONDS", QUIET_SECONDS / 20)

    async def story(log: Log, sensor: KmsgSensor, faults: list[Fault]) -> None:
        log.write(STALL)
        await until(lambda: bool(faults))
        assert faults[0].rule == "rcu-stall"

    play(story)


def test_the_end_of_the_log_is_survived() -> None:
    async def story(log: Log, sensor: KmsgSensor, faults: list[Fault]) -> None:
        log.write(STALL)
        log.close()
        await until(lambda: bool(faults))

    play(story)


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EINVAL])
def test_errors_of_a_full_ring_are_survived(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    read, failures = os.read, [number]

    def flaky(descriptor: int, size: int) -> bytes:
        if failures:
            raise OSError(failures.pop(), "as the kernel does")
        return read(descriptor, size)

    async def story(log: Log, sensor: KmsgSensor, faults: list[Fault]) -> None:
        monkeypatch.setattr(os, "read", flaky)
        log.write(BUSY)
        await until(lambda: bool(faults))
        assert not failures

    play(story)


def test_a_flood_does_not_starve_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    since_turn = longest = total = 0

    def endless(descriptor: int, size: int) -> bytes:
        nonlocal since_turn, longest, total
        since_turn, total = since_turn + 1, total + 1
        longest = max(longest, since_turn)
        if since_turn > 100 * log_reader.BATCH:
            raise BlockingIOError
        return record(total, ORDINARY)

    async def story(log: Log, sensor: KmsgSensor, faults: list[Fault]) -> None:
        nonlocal since_turn
        monkeypatch.setattr(os, "read", endless)
        log.write(ORDINARY)
        while total < 20 * log_reader.BATCH:
            await asyncio.sleep(0)
            since_turn = 0
        assert longest <= 2 * log_reader.BATCH
        assert sensor.counters.lost == 0

    play(story)


def test_a_log_that_cannot_be_opened_is_an_error_to_report() -> None:
    async def run() -> None:
        with pytest.raises(OSError, match="No such file"):
            KmsgSensor(RULES, lambda _, fault: None, path="/nonexistent/kmsg")

    asyncio.run(run())
