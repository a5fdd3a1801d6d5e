# SPDX-License-Identifier: GPL-2.0-or-later
"""Records of the kernel log: their format, gaps, forgeries."""

from __future__ import annotations

import socket

from hypothesis import given
from hypothesis import strategies as st

from flowguard.core.model import Attribution
from flowguard.kernel.kmsg import netdev_of, parse
from flowguard.rules import load
from flowguard.sensors.log_reader import KmsgReader

RULES = load()
BUSY = "mtk_soc_eth 15100000.ethernet: PPE table busy"
ORDINARY = "br-lan: port 1(lan1) entered forwarding state"
STALL = "rcu: INFO: rcu_sched self-detected stall on CPU"


def record(sequence: int, text: str, priority: int = 3, rest: str = "", flag: str = "-") -> bytes:
    return f"{priority},{sequence},{sequence * 2_000_000},{flag};{text}\n{rest}".encode()


def reader_after(sequence: int | None = None) -> KmsgReader:
    reader = KmsgReader(RULES, {"n3": "lan1"}.get)
    reader.start(sequence)
    return reader


def test_parse_a_record_with_everything() -> None:
    data = b"6,339,5140900,c,caller=T12;a\\x0ab \\\\x \\xc3\\xa9\n SUBSYSTEM=net\n DEVICE=n3\n"
    found = parse(data)
    assert found
    assert (found.sequence, found.device_id, found.continues) == (339, "n3", True)
    assert found.text.startswith("a\nb ")
    assert (found.time, found.caller, found.kernel) == (5.1409, "T12", True)


@given(st.binary(max_size=200))
def test_no_record_is_too_strange(data: bytes) -> None:
    reader = reader_after()
    reader.take(data)
    reader.take(b"6,1,2,-;" + data)


def test_devices_of_the_dictionary() -> None:
    assert netdev_of(f"n{socket.if_nametoindex('lo')}") == "lo"
    for nobody in ("n999999", "+pci:0000:ff:1f.7", "+../..:x", "c1:3", "nonsense", ""):
        assert netdev_of(nobody) is None


def test_the_dictionary_names_the_device_of_a_fault() -> None:
    rest = " SUBSYSTEM=net\n DEVICE=n3\n"
    ((sequence, fault),) = reader_after().take(record(7, BUSY, rest=rest))
    assert (sequence, fault.device) == (7, "lan1")


def test_forged_records_are_counted_and_ignored() -> None:
    reader = reader_after()
    assert not reader.take(record(1, BUSY, priority=11))
    assert reader.take(record(2, BUSY, priority=3))
    assert (reader.counters.records, reader.counters.forged) == (2, 1)


def test_gaps_are_counted() -> None:
    reader = reader_after()
    for sequence in (10, 11, 15):
        reader.take(record(sequence, ORDINARY))
    assert (reader.counters.records, reader.counters.lost) == (3, 3)


def test_a_fragment_is_joined_to_its_beginning() -> None:
    reader = reader_after()
    assert not reader.take(record(1, "mtk_soc_eth 15100000.ethernet: PPE"))
    ((_, fault),) = reader.take(record(2, " table busy", flag="c"))
    assert fault.line == BUSY


def test_other_rules_end_neither_a_count_nor_a_report_under_way() -> None:
    reader = reader_after()
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
    first = reader_after()
    assert first.take(record(5, BUSY))
    first.take(record(6, STALL))
    first.take(record(7, ORDINARY))
    assert first.handled == 5
    second = reader_after(first.handled)
    found = [f for n in (4, 5, 6, 7) for f in second.take(record(n, BUSY if n < 6 else STALL))]
    assert {fault.rule for _, fault in [*found, *second.flush()]} == {"rcu-stall"}
    assert second.handled == 7
