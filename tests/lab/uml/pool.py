# SPDX-License-Identifier: GPL-2.0-or-later
"""pytest plugin on the host: the scenarios, run by several lab routers side by side.

Each router has a processor of its own and takes scenario after scenario (worker.py). The
host collects the same ones, runs none of them, and reports what it is told: one list, one
summary, one exit status. Durations are the host's; by a router's clock, which jumps over
waiting, they are many times as long.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import pytest

from tests.lab.machine import MachineDiedError
from tests.lab.uml.machine import UserModeLinux

Record = dict[str, Any]


class Lane:
    """One router's part: its machine, what it says, and what it is at."""

    def __init__(self, machine: UserModeLinux, command: Sequence[str]) -> None:
        self.console = machine.console
        self.running = ""
        self.since = time.monotonic()
        self._machine = machine
        self._command = command
        self._rest = b""

    def serve(self, records: SimpleQueue[tuple[Lane, Record]], stop: threading.Event) -> None:
        """Run scenarios until none is left, or the machine dies of one."""
        self._rest = b""
        log = self.console.with_suffix(".log")

        def record(data: bytes) -> None:
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                records.put((self, json.loads(line)))

        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("wb", buffering=0) as file:
                status = self._machine.run(self._command, file.write, record, stop)
            records.put((self, {"ended": f"pytest ended with status {status}, see {log}"}))
        except Exception as error:  # Whatever it is: somebody waits for the end of this.
            again = isinstance(error, MachineDiedError)
            records.put((self, {"died": f"{type(error).__name__}: {error}", "again": again}))


class Pool:
    """The machines, each with the command that runs pytest in it."""

    def __init__(self, machines: Sequence[UserModeLinux], command: Sequence[str]) -> None:
        self._lanes = [Lane(machine, command) for machine in machines]
        self._records: SimpleQueue[tuple[Lane, Record]] = SimpleQueue()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._working = 0
        self._last_words = "no router was there to run it"

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            raise session.Interrupted("errors during collection")
        if session.config.option.collectonly or not session.items:
            return True
        missing = {item.nodeid: item for item in session.items}
        with self._running():
            while self._working:
                lane, record = self._records.get()
                finished = self._take(session, lane, record)
                missing.pop(finished, None)
                if session.shouldfail:
                    raise session.Failed(session.shouldfail)
                if session.shouldstop:
                    raise session.Interrupted(session.shouldstop)
        for nodeid in missing:
            self._fail(session, nodeid, self._last_words)
        return True

    @contextmanager
    def _running(self) -> Iterator[None]:
        for lane in self._lanes:
            self._start(lane)
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()

    def _start(self, lane: Lane) -> None:
        self._working += 1
        thread = threading.Thread(target=lane.serve, args=(self._records, self._stop))
        thread.start()
        self._threads.append(thread)

    def _take(self, session: pytest.Session, lane: Lane, record: Record) -> str:
        """What a router says; returns the scenario that is over by that."""
        now = time.monotonic()
        passed, lane.since = now - lane.since, now
        match record:
            case {"started": str(nodeid)}:
                lane.running = nodeid
            case {"report": data}:
                report = _report(session, data)
                report.duration = passed
                self._log(session, report, lane)
                if report.when == "teardown":
                    lane.running = ""
                    hook = session.config.hook.pytest_runtest_logfinish
                    hook(nodeid=report.nodeid, location=report.location)
                    return report.nodeid
            case {"ended": str(words)}:
                self._working -= 1
                self._last_words = words
            case {"died": str(words), "again": bool(again)}:
                return self._bury(session, lane, words, again)
        return ""

    def _bury(self, session: pytest.Session, lane: Lane, words: str, again: bool) -> str:
        """A router is gone; another one goes on if it is a scenario that killed it."""
        self._working -= 1
        self._last_words = words
        killer, lane.running = lane.running, ""
        if killer:
            self._fail(session, killer, words, lane)
            if again:
                self._start(lane)
        return killer

    def _fail(
        self, session: pytest.Session, nodeid: str, words: str, lane: Lane | None = None
    ) -> None:
        (item,) = (item for item in session.items if item.nodeid == nodeid)
        report = pytest.TestReport(
            nodeid, item.location, dict.fromkeys(item.keywords, 1), "failed", words, "call"
        )
        self._log(session, report, lane)

    def _log(self, session: pytest.Session, report: pytest.TestReport, lane: Lane | None) -> None:
        if lane and report.failed:
            report.sections.append(("lab router", f"what its kernel printed: {lane.console}"))
        session.config.hook.pytest_runtest_logreport(report=report)
        # A log that is followed has it at once, too.
        session.config.get_terminal_writer().flush()


def _report(session: pytest.Session, data: Record) -> pytest.TestReport:
    hook = session.config.hook.pytest_report_from_serializable
    report = hook(config=session.config, data=data)
    assert isinstance(report, pytest.TestReport)
    return report
