# SPDX-License-Identifier: GPL-2.0-or-later
"""Dumps and transactions, with a kernel that is slow, refuses, or is never left in peace."""

from __future__ import annotations

import asyncio
import errno
import os
import struct
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import closing

import pytest

from flowguard.core.model import Device, Level
from flowguard.core.tables.plan import OffloadSettings, plan
from flowguard.kernel.linux import LinuxTables
from flowguard.kernel.netlink.codec import (
    HEADER,
    NFGEN,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    messages_in,
)
from flowguard.kernel.nftables import messages, reading, ruleset, transactions
from flowguard.kernel.nftables.changes import (
    Change,
    DeleteTable,
    DropRules,
    NftablesError,
    TryFlowtable,
)
from flowguard.kernel.nftables.encoding import encode
from flowguard.kernel.nftables.ruleset import TablesState
from flowguard.kernel.nftables.transactions import DUMP_ATTEMPTS, Nftables

DEVICES = [Device("lan1", 2), Device("wan", 3)]
PLAN = plan(DEVICES, {d.name: Level.SOFTWARE for d in DEVICES}, OffloadSettings())
NEW_TO_GET = {0: 1, 3: 4, 6: 7, 9: 10, 12: 13, 22: 23}
"""NFT_MSG_NEW* answers NFT_MSG_GET*."""


class Kernel:
    """Its side of a netlink socket.

    `objects` are what it holds, as the requests that made them. The next `interrupted`
    dumps are; `generation` is that of every answer in turn. `refuses` says which errno each
    request of a batch is answered with. While `stuck` it works on a batch.
    """

    def __init__(self) -> None:
        self.objects: list[bytes] = []
        self.interrupted = 0
        self.dumps = 0
        self.generation: Callable[[], int] = lambda: 7
        self.refuses: dict[int, int] = {}
        self.acknowledges = True
        self.batches: list[list[int]] = []
        self.working = threading.Semaphore(0)
        self.stuck: threading.Event | None = None
        self.slow: threading.Event | None = None
        self._answers: deque[bytes] = deque()

    def getsockname(self) -> tuple[int, int]:
        return 4711, 0

    def getsockopt(self, level: int, option: int) -> int:
        return 1 << 20

    def close(self) -> None:
        pass

    def send(self, data: bytes) -> None:
        requests = list(messages_in(data))
        if len(requests) > 1:
            self._work(data)
        elif requests[0].flags & NLM_F_DUMP == NLM_F_DUMP:
            self._dump(requests[0].kind, requests[0].sequence)
        else:
            self._get(requests[0].kind, requests[0].sequence, requests[0].data)

    def recv(self, size: int, flags: int = 0) -> bytes:
        if self.slow:
            assert self.slow.wait(5), "the loop stands still"
        if not self._answers:
            raise BlockingIOError
        return self._answers.popleft()

    def _work(self, data: bytes) -> None:
        requests = [m for m in messages_in(data) if m.kind >> 8 == messages.SUBSYSTEM]
        self.batches.append([m.kind & 0xFF for m in requests])
        self.working.release()
        if self.stuck:
            assert self.stuck.wait(20)
        for index, request in enumerate(requests):
            refusal = self.refuses.get(index, 0)
            if refusal or (request.flags & NLM_F_ACK and self.acknowledges):
                self._error(request.sequence, refusal)

    def _dump(self, kind: int, sequence: int) -> None:
        self.dumps += 1
        flags = NLM_F_DUMP_INTR if self.interrupted else 0
        self.interrupted = max(0, self.interrupted - 1)
        for made in self._held(kind):
            self._answer(made, sequence, flags)
        done = HEADER.pack(HEADER.size + 4, NLMSG_DONE, flags, sequence, 0) + bytes(4)
        self._answers.append(done)

    def _get(self, kind: int, sequence: int, data: bytes) -> None:
        table = data[HEADER.size + NFGEN.size :][:20]
        held = [o for o in self._held(kind) if o[HEADER.size + NFGEN.size :][:20] == table]
        if held:
            self._answer(held[0], sequence, 0)
        else:
            self._error(sequence, errno.ENOENT)

    def _held(self, kind: int) -> list[bytes]:
        kinds = {new for new, get in NEW_TO_GET.items() if get == kind & 0xFF}
        return [made for made in self.objects if HEADER.unpack_from(made)[1] & 0xFF in kinds]

    def _answer(self, made: bytes, sequence: int, flags: int) -> None:
        _, kind, *_ = HEADER.unpack_from(made)
        body = NFGEN.pack(1, 0, self.generation()) + made[HEADER.size + NFGEN.size :]
        header = HEADER.pack(HEADER.size + len(body), kind, flags, sequence, 0)
        self._answers.append(header + body)

    def _error(self, sequence: int, number: int) -> None:
        body = struct.pack("=i", -number) + bytes(HEADER.size)
        header = HEADER.pack(HEADER.size + len(body), NLMSG_ERROR, 0, sequence, 0)
        self._answers.append(header + body)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()
    monkeypatch.setattr(transactions, "_open_socket", lambda: made)
    for module in (transactions, reading):
        monkeypatch.setattr(module, "PAUSE", 0)
    return made


def hold(kernel: Kernel, changes: list[Change]) -> None:
    kernel.objects += [request.data for change in changes for request in encode(change)]


def test_a_table_is_read_back_as_it_was_wanted(kernel: Kernel) -> None:
    assert reading.read(Nftables()) == TablesState(None, None)
    assert PLAN.software
    hold(kernel, ruleset.create(PLAN.software))
    assert reading.read(Nftables()) == ruleset.wanted_state(PLAN)


def test_an_interrupted_dump_is_asked_for_again(kernel: Kernel) -> None:
    assert PLAN.software
    hold(kernel, ruleset.create(PLAN.software))
    kernel.interrupted = DUMP_ATTEMPTS - 1
    (found,) = Nftables().dump(messages.get_all_flowtables())
    assert messages.flowtable_devices(found.data) == ("lan1", "wan")
    assert kernel.dumps == DUMP_ATTEMPTS


def test_what_was_never_one_view_is_not_given_out_as_one(kernel: Kernel) -> None:
    assert PLAN.software
    hold(kernel, ruleset.create(PLAN.software))
    kernel.interrupted = DUMP_ATTEMPTS
    with pytest.raises(OSError, match="changes faster") as raised:
        Nftables().dump(messages.get_all_flowtables())
    assert raised.value.errno == errno.EINTR


def test_tables_of_different_generations_are_no_view_either(kernel: Kernel) -> None:
    assert PLAN.software
    hold(kernel, ruleset.create(PLAN.software))
    generations = iter(range(1 << 16))
    kernel.generation = lambda: next(generations)
    with pytest.raises(OSError, match="changes faster") as raised:
        reading.read(Nftables())
    assert raised.value.errno == errno.EAGAIN


def test_one_change_in_between_is_survived(kernel: Kernel) -> None:
    assert PLAN.software
    hold(kernel, ruleset.create(PLAN.software))
    generations = iter([7, 7])
    kernel.generation = lambda: next(generations, 8)
    assert reading.read(Nftables()) == ruleset.wanted_state(PLAN)


def test_the_loop_does_not_wait_for_a_look(kernel: Kernel) -> None:
    kernel.slow = threading.Event()

    async def run() -> None:
        with closing(LinuxTables()) as tables:
            looks = [asyncio.create_task(tables.read()) for _ in range(2)]
            foreign = asyncio.create_task(tables.foreign_flowtables())
            await asyncio.sleep(0)
            assert kernel.slow
            kernel.slow.set()
            assert await asyncio.gather(*looks) == [TablesState(None, None)] * 2
            assert await foreign == ()

    asyncio.run(run())


def refused(changes: list[Change]) -> NftablesError:
    with pytest.raises(NftablesError) as raised:
        asyncio.run(Nftables().commit(changes))
    return raised.value


def test_a_refusal_names_the_change_and_its_part(kernel: Kernel) -> None:
    trial = TryFlowtable("wan", hardware=True)
    kernel.refuses = {2: errno.EOPNOTSUPP}
    error = refused([DropRules("flowguard"), trial])
    (refusal,) = error.refusals
    assert (refusal.change, error.errno) == (trial, errno.EOPNOTSUPP)
    assert str(error) == f"hardware flowtable on wan: {os.strerror(errno.EOPNOTSUPP)}"


def test_a_batch_that_was_not_read_to_its_end_is_an_error(kernel: Kernel) -> None:
    kernel.acknowledges = False
    error = refused([DropRules("flowguard")])
    assert (error.refusals[0].change, error.errno) == (None, errno.EPROTO)


def test_changes_of_nothing_are_not_sent(kernel: Kernel) -> None:
    asyncio.run(Nftables().commit([]))
    assert not kernel.batches


def using(kernel: Kernel, story: Callable[[Nftables], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(20):
            await story(Nftables())

    asyncio.run(run())


def test_the_next_commit_waits_for_one_that_nobody_waits_for(kernel: Kernel) -> None:
    kernel.stuck = threading.Event()

    async def story(nftables: Nftables) -> None:
        first = asyncio.create_task(nftables.commit([DeleteTable("flowguard")]))
        await asyncio.to_thread(kernel.working.acquire)
        first.cancel()
        await asyncio.wait([first])
        second = asyncio.create_task(nftables.commit([DropRules("flowguard_sw")]))
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(kernel.batches) == 1
        assert kernel.stuck
        kernel.stuck.set()
        await second

    using(kernel, story)
    assert kernel.batches == [[2], [8]]


def test_a_look_does_not_wait_for_a_stuck_driver(kernel: Kernel) -> None:
    kernel.stuck = threading.Event()

    async def run() -> None:
        async with asyncio.timeout(20):
            with closing(LinuxTables()) as tables:
                commit = asyncio.create_task(tables.commit([DeleteTable("flowguard")]))
                await asyncio.to_thread(kernel.working.acquire)
                assert await tables.read() == TablesState(None, None)
                assert not commit.done()
                assert kernel.stuck
                kernel.stuck.set()
                await commit

    asyncio.run(run())
