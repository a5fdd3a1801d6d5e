# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel log, followed over the lives of the daemon: no fault is missed or told twice.

How far it has been handled in this boot is kept on tmpfs. Without that, a fault between the
death of one daemon and the start of the next would be missed.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable

from flowguard.core.faults import QUIET_SECONDS, FaultRules
from flowguard.core.model import Fault
from flowguard.kernel.machine import Failed, Machine, Watch
from flowguard.sensors.log_reader import KmsgCounters, KmsgReader
from flowguard.sensors.watching import watch

log = logging.getLogger(__name__)

COMPLAIN_SECONDS = 60.0


class KernelLogSensor:
    """Calls `on_fault` for each; `kmsg` of the runtime directory has the last handled record."""

    name = "kmsg"
    patience: float | None = None

    def __init__(
        self,
        machine: Machine,
        rules: FaultRules,
        runtime_directory: str,
        on_fault: Callable[[Fault], None],
    ) -> None:
        self._log = machine.kernel_log
        self._now = machine.clock.now
        self._position = LogPosition(machine, runtime_directory)
        self._on_fault = on_fault
        self._reader = KmsgReader(rules, machine.kernel_log.netdev_of)
        self._timer: asyncio.TimerHandle | None = None
        self._failed: Failed = lambda why: None
        self._error: Exception | None = None
        self._heard = 0.0
        self._complain_again = 0.0
        self._lost_told = 0

    @property
    def counters(self) -> KmsgCounters:
        return self._reader.counters

    def use(self, rules: FaultRules) -> None:
        """From now on; what has been read already is not read again."""
        self._reader.use(rules)

    def save_position(self) -> None:
        self._position.save(self._reader.handled)

    async def run(self, alive: Callable[[], None]) -> None:
        """Go on where this one, or the daemon before, ended; OSError when that cannot be."""
        if self._reader.sequence is None:
            self._reader.start(self._position.load())
        self._error = None
        try:
            await watch(self._follow, alive)
        except OSError:
            # Nobody knows when it goes on. What is half told says something by now.
            self._remember(self._tell(self._reader.flush()))
            if self._error:
                raise self._error from None
            raise
        finally:
            if self._timer:
                self._timer.cancel()
                self._timer = None

    def _follow(self, failed: Failed) -> Watch:
        self._failed = failed
        return self._log.follow(self._reader.sequence, self._took, failed)

    def _took(self, records: list[bytes]) -> None:
        told = -1
        for record in records:
            try:
                # The daemon before told some, while another report was still open. None that
                # is told when the log is quiet: by then no report is open.
                found = self._reader.take(record)
                told = self._tell([f for f in found if f[0] > self._position.told_before], told)
            except Exception as error:
                self._end(error)
        self._remember(told)
        self._complain()
        self._heard = self._now()
        if self._reader.pending and not self._timer:
            self._wait(QUIET_SECONDS)

    def _wait(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._quiet)

    def _quiet(self) -> None:
        self._timer = None
        rest = self._heard + QUIET_SECONDS - self._now()
        if rest > 0:
            self._wait(rest)
        else:
            self._remember(self._tell(self._reader.flush()))

    def _tell(self, faults: list[tuple[int, Fault]], before: int = -1) -> int:
        """The record that the last of them is complete with, or else the one `before`."""
        for _, fault in faults:
            try:
                self._on_fault(fault)
            except Exception as error:
                self._end(error)
        return faults[-1][0] if faults else before

    def _remember(self, told: int) -> None:
        """Once for all that came together: a flood must not hold up everything else."""
        if told >= 0:
            self._position.save(self._reader.handled, told)

    def _end(self, error: Exception) -> None:
        """Have run() end with it, so that it is seen; what waits is told all the same."""
        self._error = error
        self._failed(str(error))

    def _complain(self) -> None:
        lost = self._reader.counters.lost
        if lost == self._lost_told or self._now() < self._complain_again:
            return
        log.warning("the kernel log was too fast: %d records lost", lost - self._lost_told)
        self._lost_told = lost
        self._complain_again = self._now() + COMPLAIN_SECONDS


class LogPosition:
    """How far the log was handled, kept as two sequence numbers: of the last record before any
    report that is still open, and of the one with which the latest fault was complete.
    `told_before` is the latter as the daemon before left it.

    No disk keeps a fault from being told.
    """

    def __init__(self, machine: Machine, directory: str) -> None:
        self._machine = machine
        self._path = os.path.join(directory, "kmsg")
        self.told_before = -1
        self._told = -1
        self._saved: tuple[int, int] | None = None
        self._complained = False

    def load(self) -> int | None:
        """Where to go on; at the first start of this boot, after the newest record.

        OSError when there is no kernel log.
        """
        try:
            handled, *told = map(int, self._machine.files.read(self._path).split())
            self.told_before = self._told = told[0] if told else -1
            self._saved = handled, self._told
            return handled
        except (FileNotFoundError, ValueError):
            pass
        except OSError as error:
            self._complain(error)
        # What was logged before we ever offloaded anything says nothing about it.
        newest = self._machine.kernel_log.newest()
        self.save(newest)
        return newest

    def save(self, handled: int | None, told: int = -1) -> None:
        """Remember both, if they are news."""
        self._told = max(self._told, told)
        if handled is None or (handled, self._told) == self._saved:
            return
        try:
            numbers = [handled, self._told] if self._told > handled else [handled]
            self._machine.files.replace(self._path, " ".join(map(str, numbers)))
        except OSError as error:
            self._complain(error)
        else:
            self._saved = handled, self._told
            self._complained = False

    def _complain(self, error: OSError) -> None:
        if not self._complained:
            self._complained = True
            log.warning("how far the kernel log was read cannot be kept: %s", error)
