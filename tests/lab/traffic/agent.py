# SPDX-License-Identifier: GPL-2.0-or-later
"""The process on each host: the server, and the client side of what is asked for.

Reads commands on standard input and answers each on standard output, one JSON object a
line, in order; ends when its input does.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import count
from time import monotonic
from typing import Any

from tests.lab.traffic import report, streams
from tests.lab.traffic.connection import Connection, Order
from tests.lab.traffic.datagrams import DatagramFlow
from tests.lab.traffic.patterns import (
    Datagrams,
    Downloads,
    KeepAlives,
    Pattern,
    PortScan,
    Requests,
    Uploads,
    decode,
)
from tests.lab.traffic.report import Fate
from tests.lab.traffic.server import serve
from tests.lab.traffic.wire import ENDLESS, reset_all

_CHECK_INTERVAL = 0.25
# Seconds between the starts of connections that belong together, to spare the router
# a burst that no real household makes.
_START_SPACING = 0.01


def make(order: Order) -> Connection:
    """The connection that the order's pattern is made of."""
    match order.pattern:
        case Requests() as p:
            return streams.request(order, p.request, p.response, p.ending)
        case PortScan():
            return streams.exchange(order, 0, 1, rate=0)
        case Downloads() as p:
            return streams.exchange(order, 0, p.size or ENDLESS, p.rate)
        case Uploads() as p:
            return streams.upload(order, p.size or ENDLESS, p.rate)
        case KeepAlives() as p:
            return streams.keep_alive(order, p.interval, p.size)
        case Datagrams() as p:
            return DatagramFlow(order, 1 / p.per_second, p.size)
    raise TypeError(f"no connection for {order.pattern}")


async def starts(pattern: Pattern) -> AsyncIterator[None]:
    """Yields when the pattern's next connection is to be started."""
    spacing, total = _START_SPACING, getattr(pattern, "count", 1)
    if isinstance(pattern, Requests | PortScan):
        spacing = 1 / pattern.per_second
    if isinstance(pattern, Datagrams):
        spacing = pattern.spacing
    begin = monotonic()
    for number in count() if total is None else range(total):
        await asyncio.sleep(begin + number * spacing - monotonic())
        yield


class Run:
    """One pattern being played."""

    def __init__(self, pattern: Pattern, address: str, port: int, first: int) -> None:
        self.connections: list[Connection] = []
        self._unfinished: list[Connection] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._player = asyncio.create_task(self._play(pattern, address, port, first))

    async def _play(self, pattern: Pattern, address: str, port: int, first: int) -> None:
        numbers = count(first)
        async for _ in starts(pattern):
            connection = make(Order(next(numbers), pattern, address, port))
            if isinstance(pattern, PortScan):
                port += 1
            self.connections.append(connection)
            self._unfinished.append(connection)
            task = asyncio.create_task(connection.run())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    def check(self, now: float) -> None:
        """Judge the connections by the clock, and surface a fault of our own."""
        if self._player.done() and not self._player.cancelled():
            self._player.result()
        for connection in self._unfinished:
            connection.check(now)
        self._unfinished = [c for c in self._unfinished if c.unfinished]

    async def stop(self, prove: bool) -> None:
        """Start nothing more; `prove` waits until all have moved once more, or are lost."""
        self._player.cancel()
        since = monotonic()
        if prove:
            for connection in self._unfinished:
                connection.prompt()
            while any(c.unfinished and c.progress.last <= since for c in self._unfinished):
                await asyncio.sleep(_CHECK_INTERVAL)
        for connection in self._unfinished:
            connection.finish(Fate.ALIVE)
        for task in self._opening:
            task.cancel()


class Agent:
    """Obeys the commands."""

    def __init__(self) -> None:
        self._runs: dict[int, Run] = {}

    async def obey(self, command: dict[str, Any]) -> object:
        if command["do"] == "reset":
            reset_all()
            return True
        run: int = command["run"]
        match command["do"]:
            case "start":
                self._runs[run] = Run(
                    decode(command["pattern"]),
                    command["address"],
                    command["port"],
                    command["first"],
                )
                return True
            case "report":
                return self._results(run)
            case "stop":
                await self._runs[run].stop(command["prove"])
                return self._results(run)
        raise ValueError(f"no command {command['do']}")

    def _results(self, run: int) -> list[list[object]]:
        return report.encode(c.result() for c in self._runs[run].connections)

    async def check_forever(self) -> None:
        while True:
            await asyncio.sleep(_CHECK_INTERVAL)
            now = monotonic()
            for run in self._runs.values():
                run.check(now)


async def main(port: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    await serve(port)
    agent = Agent()
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), sys.stdin
    )
    checker = asyncio.create_task(agent.check_forever())
    obeyer = asyncio.create_task(_obey_all(agent, commands))
    # Whichever ends first ends the agent: the input, or the checker with a fault.
    done, _ = await asyncio.wait((checker, obeyer), return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


async def _obey_all(agent: Agent, commands: asyncio.StreamReader) -> None:
    print(json.dumps(True), flush=True)
    async for line in commands:
        print(json.dumps(await agent.obey(json.loads(line))), flush=True)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main(int(sys.argv[1])))
