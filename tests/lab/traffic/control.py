# SPDX-License-Identifier: GPL-2.0-or-later
"""Traffic as a test asks for it.

with Traffic(router) as traffic:
    batch = traffic.start(Downloads(count=200), KeepAlives(count=20, family=6))
    batch.wait_until_flowing()
    ...
    report = batch.stop()
assert not report.lost, report
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from time import monotonic
from types import TracebackType

from tests.lab.hosts import FORWARDED_PORT, LAN1, SERVER_PORT, WAN, Router
from tests.lab.kernel import LabError
from tests.lab.namespace import Namespace
from tests.lab.traffic import patterns, report
from tests.lab.traffic.patterns import Pattern, PortScan
from tests.lab.traffic.report import Report
from tests.lab.wait import wait_for

_REPOSITORY = Path(__file__).parents[3]
# Seconds for an agent to start or to answer; emulation is slow, and a hang must end.
_ANSWER_LIMIT = 60.0
# Connections that one pattern may make before its numbers meet the next pattern's.
_NUMBERS_A_RUN = 100_000
# The kernel sends the last bytes of a closed connection again, in the end every two minutes.
_LAST_BYTES_LIMIT = 240.0
# include/net/tcp_states.h: LISTEN; TIME_WAIT, which sends nothing by itself.
_SILENT_STATES = {"0A", "06"}


class Agent:
    """The process on one host, seen from the test."""

    def __init__(self, name: str, namespace: Namespace) -> None:
        self._name = name
        self._received = b""
        # -S: it needs nothing but the standard library, and looking for more takes long.
        python = (sys.executable, "-S", "-m", "tests.lab.traffic.agent")
        self._process = subprocess.Popen(
            namespace.command(*python, str(SERVER_PORT)),
            cwd=_REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def send(self, **command: object) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise self._failure("has ended") from error

    def receive(self, limit: float = _ANSWER_LIMIT) -> object:
        """The next answer. Raises LabError when there is none within `limit` seconds."""
        assert self._process.stdout is not None
        output = self._process.stdout.fileno()
        while b"\n" not in self._received:
            if not select.select([output], [], [], limit)[0]:
                raise self._failure(f"has not answered for {limit:.0f} s")
            data = os.read(output, 1 << 20)
            if not data:
                raise self._failure("has ended; its own words are on standard error")
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        answer: object = json.loads(line)
        return answer

    def end(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.close()
            self._process.wait(timeout=5)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def open_connections(self) -> list[str]:
        """The host's TCP connections that may still send something, as proc(5) has them."""
        tables = (Path(f"/proc/{self._process.pid}/net/{name}") for name in ("tcp", "tcp6"))
        lines = [line for table in tables for line in table.read_text().splitlines()[1:]]
        return [line for line in lines if line.split()[3] not in _SILENT_STATES]

    def _failure(self, what: str) -> LabError:
        return LabError(f"the traffic agent on {self._name} {what}")


class Batch:
    """Patterns that were started together and are judged together."""

    def __init__(self, parts: list[tuple[Agent, int, Pattern]]) -> None:
        self._parts = parts
        self._final: Report | None = None

    @property
    def wanted(self) -> int:
        """The connections asked for, without those of patterns that have no end."""
        return sum(getattr(pattern, "count", 0) or 0 for _, _, pattern in self._parts)

    def report(self) -> Report:
        """How all connections are doing now; after `stop`, how they ended."""
        return self._final or self._ask(_ANSWER_LIMIT, do="report")

    def stop(self, prove: bool = True) -> Report:
        """End the batch and say what became of it.

        With `prove`, each unfinished connection has to make progress once more: it is
        reported alive when it did, and lost when it did not within its stall limit.
        """
        if self._final is None:
            patience = max(pattern.stall_limit for _, _, pattern in self._parts)
            self._final = self._ask(_ANSWER_LIMIT + patience, do="stop", prove=prove)
        return self._final

    def wait_until_flowing(self, limit: float = 60.0) -> None:
        """Wait until each connection asked for has moved payload.

        Raises LabError with the report when that takes more than `limit` seconds.
        """
        wanted = self.wanted

        def flowing() -> bool:
            now = self.report()
            return len(now.flowing) + len(now.completed) >= wanted

        wait_for(flowing, f"{wanted} connections that flow", limit, state=self.report)

    def _ask(self, limit: float, **command: object) -> Report:
        deadline = monotonic() + limit
        for agent, run, _ in self._parts:
            agent.send(run=run, **command)
        answers = [agent.receive(max(1.0, deadline - monotonic())) for agent, _, _ in self._parts]
        return report.merge(report.decode(rows) for rows in answers if isinstance(rows, list))


class Traffic:
    """The agents on all hosts of a router; a context manager."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._runs = count(1)
        self._agents: dict[str, Agent] = {}
        self._batches: list[Batch] = []
        self._cleanup = ExitStack()

    def __enter__(self) -> Traffic:
        with ExitStack() as cleanup:
            for name, namespace in self._router.hosts.items():
                self._agents[name] = Agent(name, namespace)
                cleanup.callback(self._agents[name].end)
            for agent in self._agents.values():
                agent.receive()
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._cleanup.close()

    def start(self, *wanted: Pattern) -> Batch:
        """Start patterns; returns at once."""
        parts = []
        for pattern in wanted:
            agent, run = self._agents[pattern.host], next(self._runs)
            address, port = _target(pattern)
            agent.send(
                do="start",
                run=run,
                pattern=patterns.encode(pattern),
                address=address,
                port=port,
                first=run * _NUMBERS_A_RUN,
            )
            agent.receive()
            parts.append((agent, run, pattern))
        self._batches.append(Batch(parts))
        return self._batches[-1]

    def clear(self) -> None:
        """End every batch that still runs, without a proof, and every connection there is.

        Of a connection that stalled even the kernel has to let go: what it sends again would
        be a connection of the next scenario.
        """
        while self._batches:
            self._batches.pop().stop(prove=False)
        agents = self._agents.values()
        for agent in agents:
            agent.send(do="reset")
        for agent in agents:
            agent.receive()

        def open_connections() -> list[str]:
            return [line for agent in agents for line in agent.open_connections()]

        what = "the end of every connection"
        wait_for(lambda: not open_connections(), what, _LAST_BYTES_LIMIT, state=open_connections)


def _target(pattern: Pattern) -> tuple[str, int]:
    if isinstance(pattern, PortScan):
        return WAN.host_address(pattern.family), pattern.first_port
    if pattern.host != WAN.port:
        return WAN.host_address(pattern.family), SERVER_PORT
    if pattern.family == 6:
        return LAN1.host6, SERVER_PORT
    return WAN.router4, FORWARDED_PORT
