# SPDX-License-Identifier: GPL-2.0-or-later
"""The connection-table reader at the kernel's own table and events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing

import pytest

from flowguard.kernel.conntrack import DestroyEvents, Entry, Filter, sweep
from tests.lab.edge import Kernel
from tests.lab.namespace import run

OBSERVED = 0x8000
MARKED = Filter(mark=OBSERVED, mark_mask=OBSERVED)
CLOSE = 8
TIMEOUT = 10.0


HOSTS = {4: "-s 192.0.2.1 -d 198.51.100.2", 6: "-s 2001:db8::1 -d 2001:db8:1::2"}


def insert(
    port: int,
    mark: int,
    state: str = "ESTABLISHED",
    timeout: int = 600,
    family: int = 4,
    zone: str = "",
) -> None:
    tcp = f"-p tcp {HOSTS[family]} --sport {port} --dport 443 --state {state}"
    flags = f"-u SEEN_REPLY,ASSURED -t {timeout} -m {mark} {zone}"
    run("conntrack", "-I", *tcp.split(), *flags.split())


def delete(port: int) -> None:
    run("conntrack", "-D", "-p", "tcp", "-s", "192.0.2.1", "--sport", str(port))


async def entries(wanted: Filter) -> list[Entry]:
    return [entry async for batch in sweep(wanted) for entry in batch]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT):
        while not condition():
            await asyncio.sleep(0.01)


def ports_of(found: list[Entry]) -> list[int]:
    return sorted(entry.flow().original.source_port for entry in found)


def test_sweep_finds_the_marked(kernel: Kernel) -> None:
    insert(1001, OBSERVED | 1)
    insert(1002, 1)
    found = kernel.run(entries(MARKED))
    assert ports_of(found) == [1001]
    assert (found[0].mark, found[0].protocol, found[0].tcp_state) == (OBSERVED | 1, 6, 3)
    assert found[0].timeout is not None and 500 < found[0].timeout <= 600


def test_only_marked_connections_are_announced(kernel: Kernel) -> None:
    async def ends() -> list[Entry]:
        seen: list[Entry] = []
        with closing(DestroyEvents(MARKED, seen.extend, lambda: None, pytest.fail)):
            insert(1001, 0)
            insert(1002, 1)
            insert(1003, OBSERVED | 2, "CLOSE")
            before = await entries(MARKED)
            for port in (1001, 1002, 1003):
                delete(port)
            await until(lambda: bool(seen))
            assert [entry.key for entry in before] == [entry.key for entry in seen]
            assert [entry.id for entry in before] == [entry.id for entry in seen]
        return seen

    seen = kernel.run(ends())
    assert ports_of(seen) == [1003]
    assert (seen[0].mark, seen[0].tcp_state) == (OBSERVED | 2, CLOSE)
    assert seen[0].timeout is not None, "it was killed"


def test_expiry_is_told_from_removal(kernel: Kernel) -> None:
    async def end() -> Entry:
        seen: list[Entry] = []
        with closing(DestroyEvents(MARKED, seen.extend, lambda: None, pytest.fail)):
            insert(1001, OBSERVED, timeout=1)
            async with asyncio.timeout(TIMEOUT):
                # A walk over the table ends what has expired.
                while not seen:
                    await entries(Filter())
                    await asyncio.sleep(0.05)
        return seen[0]

    assert kernel.run(end()).timeout is None


def test_lost_events_are_reported(kernel: Kernel) -> None:
    async def losses() -> int:
        lost: list[None] = []
        seen: list[Entry] = []
        events = DestroyEvents(
            MARKED, seen.extend, lambda: lost.append(None), pytest.fail, receive_buffer=2048
        )
        with closing(events):
            for port in range(2000, 2040):
                insert(port, OBSERVED)
            # The loop does not turn meanwhile, so nobody reads.
            run("conntrack", "-F")
            await until(lambda: bool(lost))
        assert len(seen) < 40
        return len(lost)

    assert kernel.run(losses()) > 0


@pytest.mark.parametrize(
    ("own", "other"),
    [
        ("", "--zone 7"),
        ("--zone 7", ""),
        ("--zone 7", "--orig-zone 8"),
        ("--orig-zone 8", "--zone 7"),
    ],
)
def test_of_equal_connections_only_that_of_the_right_zone_is_touched(
    kernel: Kernel, own: str, other: str
) -> None:
    connections = kernel.machine.connections
    insert(1001, OBSERVED | 1, zone=own)
    (wanted,) = kernel.run(entries(MARKED))
    insert(1001, OBSERVED | 2, zone=other)
    (kept,) = (entry for entry in kernel.run(entries(MARKED)) if entry.id != wanted.id)
    assert kept.flow().original == wanted.flow().original

    found = kernel.run(connections.find([wanted.flow(), kept.flow()]))
    assert [entry and entry.id for entry in found] == [wanted.id, kept.id]
    kernel.run(connections.delete([wanted.flow()]))
    assert kernel.run(connections.find([wanted.flow()])) == [None]
    assert [entry.id for entry in kernel.run(entries(MARKED))] == [kept.id]


def test_an_entry_is_made_anew_with_its_mark_and_one_that_ended_is_not(kernel: Kernel) -> None:
    connections = kernel.machine.connections
    insert(1001, OBSERVED | 1, timeout=100)
    insert(1002, OBSERVED | 2)
    found = {e.flow().original.source_port: e for e in kernel.run(entries(MARKED))}
    delete(1002)
    kernel.run(connections.renew(list(found.values())))
    (again,) = kernel.run(entries(MARKED))
    assert (again.key, again.reply_key, again.mark) == (
        found[1001].key,
        found[1001].reply_key,
        OBSERVED | 1,
    )
    # The kernel may well give it the same number again.
    assert again.timeout is not None and again.timeout > 500
