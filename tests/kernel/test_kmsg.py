# SPDX-License-Identifier: GPL-2.0-or-later
"""How the kernel log is followed: a socket here has the manners of /dev/kmsg."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from flowguard.kernel import kmsg
from flowguard.kernel.kmsg import BATCH, RECORD_BYTES, LogWatch, newest, recent
from tests.ubus.test_connection import until


def record(sequence: int, text: str = "text") -> bytes:
    return f"6,{sequence},1000,-;{text}\n".encode()


class Log:
    """One record a read; `took` and `failures` are what the watch said."""

    def __init__(self) -> None:
        reader, self._writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        reader.setblocking(False)
        self.descriptor = reader.detach()
        self.batches: list[list[bytes]] = []
        self.failures: list[str] = []

    @property
    def records(self) -> list[bytes]:
        return [record for batch in self.batches for record in batch]

    def write(self, *sequences: int) -> None:
        for sequence in sequences:
            self._writer.send(record(sequence))

    def close(self) -> None:
        self._writer.close()


def following(after: int | None, story: Callable[[Log, LogWatch], Awaitable[None]]) -> Log:
    async def run() -> Log:
        with closing(Log()) as log:
            watch = LogWatch(after, log.batches.append, log.failures.append, log.descriptor)
            with closing(watch):
                await story(log, watch)
            return log

    return asyncio.run(run())


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_records_come_as_they_were_written() -> None:
    async def story(log: Log, watch: LogWatch) -> None:
        log.write(3, 4, 9)
        await until(lambda: len(log.records) == 3)

    log = following(None, story)
    assert log.records == [record(3), record(4), record(9)]
    assert not log.failures


def test_those_that_were_known_before_are_left_out() -> None:
    async def story(log: Log, watch: LogWatch) -> None:
        log.write(3, 4, 5, 6)
        await until(lambda: len(log.records) == 2)

    assert following(4, story).records == [record(5), record(6)]


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EINVAL])
def test_what_was_overwritten_or_too_long_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    read, failures = os.read, [number]

    def flaky(descriptor: int, size: int) -> bytes:
        if failures:
            raise OSError(failures.pop(), "as the kernel does")
        return read(descriptor, size)

    async def story(log: Log, watch: LogWatch) -> None:
        monkeypatch.setattr(os, "read", flaky)
        log.write(1)
        await until(lambda: bool(log.records))
        assert not failures and not log.failures

    following(None, story)


def test_any_other_error_is_told_once_after_what_came_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read, calls = os.read, 0

    def dying(descriptor: int, size: int) -> bytes:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(descriptor, size)

    async def story(log: Log, watch: LogWatch) -> None:
        monkeypatch.setattr(os, "read", dying)
        log.write(1, 2)
        await until(lambda: bool(log.failures))
        assert log.records == [record(1)]
        await turns()
        assert log.failures == [os.strerror(errno.EIO)]
        assert calls == 2

    following(None, story)


def test_the_end_of_the_log_is_told() -> None:
    async def story(log: Log, watch: LogWatch) -> None:
        log.write(1)
        log.close()
        await until(lambda: bool(log.failures))
        await turns()

    log = following(None, story)
    assert (log.records, log.failures) == ([record(1)], ["it ended"])


def test_a_flood_leaves_the_others_their_turn() -> None:
    async def story(log: Log, watch: LogWatch) -> None:
        # What fits into the socket; it is refilled whenever others have their turn.
        for first in range(0, 3 * BATCH, 100):
            log.write(*range(first, first + 100))
            await turns(1)
        await until(lambda: len(log.records) >= 3 * BATCH)

    log = following(None, story)
    assert max(map(len, log.batches)) <= BATCH


def test_one_that_hears_enough_may_close_it() -> None:
    async def run() -> None:
        with closing(Log()) as log:

            def took(records: list[bytes]) -> None:
                log.batches.append(records)
                watch.close()

            watch = LogWatch(None, took, log.failures.append, log.descriptor)
            log.write(1)
            await until(lambda: bool(log.records))
            watch.close()
            assert not log.failures

    asyncio.run(run())


def test_a_log_that_cannot_be_opened_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kmsg, "PATH", "/nonexistent/kmsg")

    async def run() -> None:
        with pytest.raises(FileNotFoundError):
            LogWatch(None, lambda records: None, lambda why: None)

    asyncio.run(run())


def test_the_number_of_the_newest_record(tmp_path: Path) -> None:
    log = tmp_path / "kmsg"
    log.write_bytes(record(0))
    assert newest(str(log)) == 0
    log.write_bytes(b"")
    assert newest(str(log)) is None


def test_the_newest_records_of_a_log_are_found(tmp_path: Path) -> None:
    path = tmp_path / "kmsg"
    path.write_bytes(b"")
    assert recent(3, str(path)) == []
    # A file hands over all that fits at once, as one record.
    path.write_bytes(b"x" * RECORD_BYTES * 3 + b"the newest")
    assert recent(2, str(path)) == [b"x" * RECORD_BYTES, b"the newest"]
