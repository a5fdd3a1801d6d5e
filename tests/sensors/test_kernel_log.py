# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel log followed: over restarts, failures and full disks; in virtual time."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard.core.events import SensorBack, SensorLost
from flowguard.core.faults import QUIET_SECONDS
from flowguard.core.model import Attribution, Fault
from flowguard.rules import load
from flowguard.sensors.kernel_log import COMPLAIN_SECONDS, KernelLogSensor
from flowguard.sensors.supervise import Supervision
from tests import virtual_time
from tests.sensors.machine import Parts
from tests.virtual_time import now

RULES = load()
BUSY = "mtk_soc_eth 15100000.ethernet: PPE table busy"
ORDINARY = "br-lan: port 1(lan1) entered forwarding state"
STALL = "rcu: INFO: rcu_sched self-detected stall on CPU"
POSITION = "/run/flowguard/kmsg"


class Daemon:
    """One life of the daemon as far as the sensor goes, from `start` to `stop`."""

    def __init__(self, parts: Parts, on_fault: Callable[[Fault], None] | None = None) -> None:
        self.faults: list[Fault] = []
        self.alive = 0
        self.sensor = KernelLogSensor(
            parts.machine, RULES, "/run/flowguard", on_fault or self.faults.append
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self.sensor.run(self._is_alive))
        await asyncio.sleep(0.001)

    async def stop(self) -> None:
        assert self._task and not self._task.done()
        self._task.cancel()
        await asyncio.wait([self._task])

    async def end(self) -> BaseException | None:
        """What it ends with by itself."""
        assert self._task
        await asyncio.wait([self._task])
        return self._task.exception()

    @property
    def rules(self) -> list[str]:
        return [fault.rule for fault in self.faults]

    def _is_alive(self) -> None:
        self.alive += 1


def play(story: Callable[[Parts], Awaitable[None]], parts: Parts | None = None) -> None:
    async def main() -> None:
        await story(parts or Parts())

    virtual_time.run(main())


async def life(parts: Parts, *lines: str) -> list[str]:
    """The rules of the faults that one life of the daemon tells while this is logged."""
    daemon = Daemon(parts)
    await daemon.start()
    if lines:
        parts.kernel_log.write(*lines)
    await asyncio.sleep(2 * QUIET_SECONDS)
    await daemon.stop()
    return daemon.rules


def test_a_fault_arrives() -> None:
    async def story(parts: Parts) -> None:
        daemon = Daemon(parts)
        await daemon.start()
        assert daemon.alive == 1
        parts.kernel_log.write(ORDINARY, BUSY)
        assert [fault.attribution for fault in daemon.faults] == [Attribution.OFFLOAD]
        assert daemon.sensor.counters.records == 2
        await daemon.stop()
        assert not parts.kernel_log.listening

    play(story)


def test_the_dictionary_names_the_device() -> None:
    async def story(parts: Parts) -> None:
        parts.kernel_log.netdevs["n3"] = "lan1"
        daemon = Daemon(parts)
        await daemon.start()
        parts.kernel_log.write(BUSY, rest=" SUBSYSTEM=net\n DEVICE=n3\n")
        assert daemon.faults[0].device == "lan1"

    play(story)


def test_without_a_kernel_log_it_fails_so_that_somebody_hears_of_it() -> None:
    async def story(parts: Parts) -> None:
        parts.kernel_log.refusal = FileNotFoundError(errno.ENOENT, "No such file", "/dev/kmsg")
        daemon = Daemon(parts)
        await daemon.start()
        assert isinstance(await daemon.end(), FileNotFoundError)
        assert daemon.alive == 0

    play(story)


def test_the_end_of_the_log_is_told_with_its_reason() -> None:
    async def story(parts: Parts) -> None:
        daemon = Daemon(parts)
        await daemon.start()
        parts.kernel_log.break_down("it ended")
        error = await daemon.end()
        assert isinstance(error, OSError) and str(error) == "it ended"
        assert not parts.kernel_log.listening

    play(story)


def test_supervised_it_is_lost_and_comes_back_and_misses_nothing() -> None:
    async def story(parts: Parts) -> None:
        faults: list[Fault] = []
        events: list[object] = []
        sensor = KernelLogSensor(parts.machine, RULES, "/run/flowguard", faults.append)
        supervision = Supervision(now, events.append)
        supervision.start(sensor)
        await asyncio.sleep(10)
        parts.kernel_log.write(BUSY)
        parts.kernel_log.break_down("Input/output error")
        await asyncio.sleep(0.5)
        assert supervision.health == {"kmsg": "not available: Input/output error"}
        parts.kernel_log.write(ORDINARY, BUSY)
        assert len(faults) == 1
        await asyncio.sleep(10)
        await supervision.close()
        assert len(faults) == 2
        assert supervision.health == {"kmsg": "ok"}
        assert events == [
            SensorLost(10, "kmsg", "Input/output error"),
            SensorBack(11, "kmsg"),
        ]
        assert sensor.counters.lost == 0

    play(story)


def test_an_open_report_is_told_when_the_log_goes_quiet() -> None:
    async def story(parts: Parts) -> None:
        daemon = Daemon(parts)
        await daemon.start()
        parts.kernel_log.write(STALL)
        await asyncio.sleep(QUIET_SECONDS / 2)
        parts.kernel_log.write(ORDINARY)
        await asyncio.sleep(QUIET_SECONDS * 0.9)
        assert daemon.rules == []
        await asyncio.sleep(QUIET_SECONDS * 0.2)
        assert daemon.rules == ["rcu-stall"]

    play(story)


def test_an_open_report_is_told_when_the_log_ends() -> None:
    async def story(parts: Parts) -> None:
        daemon = Daemon(parts)
        await daemon.start()
        parts.kernel_log.write(STALL)
        parts.kernel_log.break_down("it ended")
        await daemon.end()
        assert daemon.rules == ["rcu-stall"]

    play(story)


def test_the_first_start_of_a_boot_goes_on_after_the_newest_record() -> None:
    async def story(parts: Parts) -> None:
        parts.kernel_log.write(BUSY, ORDINARY)
        assert await life(parts) == []
        # Remembered at once: a daemon killed before its first record has been here.
        assert parts.files.texts == {POSITION: "2"}
        parts.kernel_log.write(BUSY)
        assert await life(parts) == ["mtk-ppe-table-busy"]

    play(story)


def test_an_empty_log_has_no_newest_record() -> None:
    async def story(parts: Parts) -> None:
        assert await life(parts, BUSY) == ["mtk-ppe-table-busy"]
        assert parts.kernel_log.followed == [None]

    play(story)


def test_a_restart_goes_on_where_the_last_daemon_was() -> None:
    async def story(parts: Parts) -> None:
        assert await life(parts, BUSY) == ["mtk-ppe-table-busy"]
        parts.kernel_log.write(ORDINARY, STALL)  # Nobody is there.
        assert await life(parts) == ["rcu-stall"]
        assert await life(parts) == []

    play(story)


def test_ordinary_records_are_passed_over_for_good_when_the_position_is_saved() -> None:
    async def story(parts: Parts) -> None:
        daemon = Daemon(parts)
        await daemon.start()
        parts.kernel_log.write(*[ORDINARY] * 5)
        assert POSITION not in parts.files.texts
        daemon.sensor.save_position()
        assert parts.files.texts[POSITION] == "5"

    play(story)


def test_a_restart_in_the_midst_of_a_report_reads_it_again() -> None:
    async def story(parts: Parts) -> None:
        daemon = Daemon(parts)
        await daemon.start()
        parts.kernel_log.write(BUSY, STALL)
        daemon.sensor.save_position()
        await daemon.stop()
        assert daemon.rules == ["mtk-ppe-table-busy"]
        assert await life(parts) == ["rcu-stall"]

    play(story)


@pytest.mark.parametrize("saved", [True, False])
def test_a_fault_told_in_the_midst_of_a_report_is_told_once_and_the_report_is_not_lost(
    saved: bool,
) -> None:
    async def story(parts: Parts) -> None:
        parts.kernel_log.write(ORDINARY)
        daemon = Daemon(parts)
        await daemon.start()
        parts.kernel_log.write(STALL, BUSY)
        assert daemon.rules == ["mtk-ppe-table-busy"]
        if saved:
            daemon.sensor.save_position()
        await daemon.stop()
        assert parts.files.texts[POSITION] == "1 3"
        assert await life(parts) == ["rcu-stall"]
        assert parts.files.texts[POSITION] == "3"
        assert await life(parts) == []

    play(story)


def test_of_two_open_reports_each_is_told_once_whatever_kills_the_daemon_in_between() -> None:
    async def story(parts: Parts) -> None:
        parts.kernel_log.write(ORDINARY)
        daemon = Daemon(parts)
        await daemon.start()
        parts.kernel_log.write(STALL, caller="T1")
        parts.kernel_log.write(STALL, caller="T2")
        parts.kernel_log.write(ORDINARY)  # By now nothing more has come of the first.
        assert daemon.rules == ["rcu-stall"]
        await daemon.stop()
        assert await life(parts) == ["rcu-stall"]
        assert await life(parts) == []

    play(story)


def test_two_faults_that_are_complete_at_once_are_both_told() -> None:
    async def story(parts: Parts) -> None:
        assert await life(parts, STALL, BUSY) == ["mtk-ppe-table-busy", "rcu-stall"]
        daemon = Daemon(parts)
        await daemon.start()
        parts.kernel_log.write(STALL)
        parts.kernel_log.write(BUSY, sequence=9)  # With it the report is over, and it is one.
        assert sorted(daemon.rules) == ["mtk-ppe-table-busy", "rcu-stall"]
        await daemon.stop()
        assert await life(parts) == []

    play(story)


@pytest.mark.parametrize("text", ["not a number", ""])
def test_a_damaged_position_counts_as_a_first_start(text: str) -> None:
    async def story(parts: Parts) -> None:
        parts.kernel_log.write(BUSY)
        parts.files.texts[POSITION] = text
        assert await life(parts) == []
        assert parts.files.texts[POSITION] == "1"

    play(story)


def test_a_position_that_cannot_be_read_does_not_make_it_blind() -> None:
    async def story(parts: Parts) -> None:
        parts.files.broken = True
        assert await life(parts, BUSY) == ["mtk-ppe-table-busy"]

    play(story)


def test_a_full_disk_keeps_no_fault_from_being_told_and_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story(parts: Parts) -> None:
        parts.kernel_log.write(ORDINARY)
        parts.files.full = True
        daemon = Daemon(parts)
        await daemon.start()
        parts.kernel_log.write(BUSY, BUSY)
        await asyncio.sleep(1)
        parts.kernel_log.write(STALL)
        await asyncio.sleep(2 * QUIET_SECONDS)
        daemon.sensor.save_position()
        assert daemon.rules == ["mtk-ppe-table-busy", "mtk-ppe-table-busy", "rcu-stall"]
        (record,) = caplog.records
        assert "No space left" in record.getMessage()
        parts.files.full = False
        daemon.sensor.save_position()
        assert parts.files.texts == {POSITION: "4"}
        await daemon.stop()

    play(story)


def test_a_full_disk_has_no_record_read_twice_when_the_log_fails() -> None:
    async def story(parts: Parts) -> None:
        parts.kernel_log.write(ORDINARY)
        daemon = Daemon(parts)
        await daemon.start()
        parts.files.full = True
        parts.kernel_log.write(BUSY)
        parts.kernel_log.break_down("it ended")
        await daemon.end()
        await daemon.start()
        await daemon.stop()
        assert daemon.rules == ["mtk-ppe-table-busy"]
        assert daemon.sensor.counters.records == 1

    play(story)


def test_the_fault_is_told_before_its_position_is_kept() -> None:
    async def story(parts: Parts) -> None:
        kept: list[str | None] = []
        daemon = Daemon(parts, lambda fault: kept.append(parts.files.texts.get(POSITION)))
        await daemon.start()
        parts.kernel_log.write(BUSY)
        assert kept == [None]
        assert parts.files.texts[POSITION] == "1"

    play(story)


def test_a_listener_that_fails_ends_it_and_the_others_are_told_all_the_same() -> None:
    async def story(parts: Parts) -> None:
        told: list[Fault] = []

        def fails_once(fault: Fault) -> None:
            told.append(fault)
            if len(told) == 1:
                raise ZeroDivisionError("the policy failed")

        daemon = Daemon(parts, fails_once)
        await daemon.start()
        parts.kernel_log.write(BUSY, BUSY, ORDINARY)
        assert len(told) == 2
        assert isinstance(await daemon.end(), ZeroDivisionError)
        await daemon.start()
        parts.kernel_log.write(BUSY)
        assert len(told) == 3
        await daemon.stop()

    play(story)


def test_a_report_whose_listener_fails_when_the_log_goes_quiet_ends_it_as_well() -> None:
    async def story(parts: Parts) -> None:
        def fails(fault: Fault) -> None:
            raise ZeroDivisionError("the policy failed")

        daemon = Daemon(parts, fails)
        await daemon.start()
        parts.kernel_log.write(STALL)
        assert isinstance(await daemon.end(), ZeroDivisionError)

    play(story)


def test_other_rules_hold_from_now_on() -> None:
    async def story(parts: Parts) -> None:
        daemon = Daemon(parts)
        await daemon.start()
        parts.kernel_log.write("mt7915e 0000:01:00.0: Message 00005aed (seq 3) timeout")
        daemon.sensor.use(load())
        parts.kernel_log.write("mt7915e 0000:01:00.0: Message 00005aed (seq 4) timeout")
        found = [fault.attribution for fault in daemon.faults]
        assert found == [Attribution.WEAK, Attribution.DRIVER]

    play(story)


def test_a_log_that_is_too_fast_is_reported_now_and_then(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story(parts: Parts) -> None:
        daemon = Daemon(parts)
        await daemon.start()
        parts.kernel_log.write(ORDINARY)
        for sequence in (5, 10, 15):
            parts.kernel_log.write(ORDINARY, sequence=sequence)
        await asyncio.sleep(COMPLAIN_SECONDS)
        parts.kernel_log.write(ORDINARY)
        assert daemon.sensor.counters.lost == 11
        await daemon.stop()

    with caplog.at_level(logging.WARNING):
        play(story)
    told = [record.getMessage() for record in caplog.records]
    assert [text.split(": ")[1] for text in told] == ["3 records lost", "8 records lost"]


@given(st.lists(st.sampled_from(["busy", "ordinary", "restart", "kill", "break"]), max_size=12))
def test_over_any_restarts_every_fault_is_told_once(steps: list[str]) -> None:
    async def story(parts: Parts) -> None:
        told: list[Fault] = []
        parts.kernel_log.write(ORDINARY)
        daemon = Daemon(parts, told.append)
        await daemon.start()
        for step in steps:
            if step in ("busy", "ordinary"):
                parts.kernel_log.write(BUSY if step == "busy" else ORDINARY)
                continue
            if step == "break":
                parts.kernel_log.break_down("it ended")
                await daemon.end()
                parts.kernel_log.write(BUSY)
            else:
                if step == "restart":
                    daemon.sensor.save_position()
                await daemon.stop()
                parts.kernel_log.write(BUSY)
                daemon = Daemon(parts, told.append)
            await daemon.start()
        await daemon.stop()
        written = [data for _, data in parts.kernel_log.records if BUSY.encode() in data]
        assert len(told) == len(written)

    play(story)
