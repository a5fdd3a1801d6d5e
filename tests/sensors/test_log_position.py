# SPDX-License-Identifier: GPL-2.0-or-later
"""How far the kernel log has been read: over restarts, failures and full disks."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard.core.faults import QUIET_SECONDS
from flowguard.core.model import Fault
from tests.sensors.log_lives import BUSY, ORDINARY, STALL, Daemon, life, play
from tests.sensors.machine import Parts

POSITION = "/run/flowguard/kmsg"


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


def test_a_flood_of_faults_keeps_its_position_once() -> None:
    async def story(parts: Parts) -> None:
        daemon = Daemon(parts)
        await daemon.start()
        before = parts.files.writes
        parts.kernel_log.write(*[BUSY] * 200)
        assert len(daemon.faults) == 200
        assert parts.files.writes == before + 1
        assert parts.files.texts == {POSITION: "200"}
        await daemon.stop()

    play(story)


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
