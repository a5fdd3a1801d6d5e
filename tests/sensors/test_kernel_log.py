# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel log followed: told, lost and come back; in virtual time."""

from __future__ import annotations

import asyncio
import errno
import logging

import pytest

from flowguard.core.events import SensorBack, SensorLost
from flowguard.core.faults import QUIET_SECONDS
from flowguard.core.model import Attribution, Fault
from flowguard.rules import load
from flowguard.sensors.kernel_log import COMPLAIN_SECONDS, KernelLogSensor
from flowguard.sensors.supervise import Supervision
from tests.sensors.log_lives import BUSY, ORDINARY, RULES, STALL, Daemon, play
from tests.sensors.machine import Parts
from tests.virtual_time import now


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
