# SPDX-License-Identifier: GPL-2.0-or-later
"""The event log: complete enough to replay, small enough for tmpfs."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from flowguard.core.events import (
    Converged,
    Decided,
    DevicesChanged,
    DrainProgress,
    Event,
    FaultSeen,
    FlowsSeen,
    SensorLost,
    Started,
    Tick,
)
from flowguard.core.model import Attribution, Device, Fault, FaultClass, Level, PolicySettings
from flowguard.core.policy import decide
from flowguard.core.replay import Line, decode_event, replay
from flowguard.core.state import State
from flowguard.kernel.files import LinuxFiles
from flowguard.service import recorder
from flowguard.service.recorder import EventRecorder
from tests.sensors.machine import Disk

FAULT = Fault("r", FaultClass.TX_TIMEOUT, Attribution.DRIVER, "wan", "d", "line")
WAN = Device("wan", 2, hardware_capable=True)
LAN = Device("lan", 3, hardware_capable=True)
START: list[Event] = [
    Started(100, Level.HARDWARE),
    DevicesChanged(100, (WAN,)),
]


def record(directory: Path, events: list[Event]) -> list[Decided]:
    log, before, decided = EventRecorder(LinuxFiles(), str(directory)), State(), []
    for event in events:
        state, commands = decide(before, event)
        log.record(event, before, led_to_something=bool(commands))
        before = state
        decided += [c for c in commands if isinstance(c, Decided)]
    return decided


def read(path: Path) -> list[Line]:
    return [decode_event(line) for line in path.read_text().splitlines()]


def test_the_log_gives_the_decisions_that_were_taken(tmp_path: Path) -> None:
    events: list[Event] = [*START, FaultSeen(200, FAULT), DrainProgress(201, 3, 3)]
    decided = record(tmp_path, events)
    assert list(replay(read(tmp_path / "events.jsonl"))) == [d.decision for d in decided]


def test_what_says_nothing_new_is_not_written(tmp_path: Path) -> None:
    same = [DrainProgress(201 + i, 3, 3) for i in range(50)]
    quiet = [FlowsSeen(251 + i / 10, 5, 5, 0) for i in range(50)]
    record(tmp_path, [*START, FaultSeen(200, FAULT), *same, *quiet])
    assert len(read(tmp_path / "events.jsonl")) == 4


def test_what_led_to_a_decision_is_written_however_quiet_it_was(tmp_path: Path) -> None:
    """Whatever comes first when a hold-off is over ends it."""
    over = FlowsSeen(200 + PolicySettings().hold_off, 5, 5, 0)
    events = [*START, FaultSeen(200, FAULT), Converged(210), FlowsSeen(220, 5, 5, 0), over]
    decided = record(tmp_path, events)
    assert decided[-1].decision.after is Level.HARDWARE
    assert list(replay(read(tmp_path / "events.jsonl"))) == [d.decision for d in decided]


def test_a_drain_with_other_levels_meanwhile_is_written() -> None:
    state = State()
    for event in (*START, FaultSeen(200, FAULT), DrainProgress(201, 3, 3)):
        state, _ = decide(state, event)
    disk = Disk()
    log = EventRecorder(disk, "/var/run/flowguard")
    log.record(DrainProgress(202, 3, 3), state)
    assert log.path not in disk.texts
    other = DrainProgress(203, 3, 3, (), (("wan", Level.SOFTWARE),))
    log.record(other, state)
    assert decode_event(disk.texts[log.path]) == other


def test_of_two_drains_that_look_alike_both_are_written(tmp_path: Path) -> None:
    again = 200 + PolicySettings().hold_off
    events: list[Event] = [
        Started(100, Level.HARDWARE),
        DevicesChanged(100, (WAN, LAN)),
        Converged(101),
        FaultSeen(200, FAULT),
        DrainProgress(201, 0, 0),
        Converged(205),
        Tick(again),
        Converged(again + 1),
        FaultSeen(again + 100, FAULT),
        DrainProgress(again + 101, 0, 0),
        # LAN takes no flow during the drain, so nothing brings it back up unguarded.
        SensorLost(again + 102, "kmsg", "gone"),
    ]
    decided = record(tmp_path, events)
    assert [d.decision.device for d in decided[-2:]] == ["wan", "lan"]
    assert list(replay(read(tmp_path / "events.jsonl"))) == [d.decision for d in decided]


def test_a_full_log_is_rotated_and_the_new_one_starts_with_what_is_known(
    tmp_path: Path,
) -> None:
    count = recorder.SIZE_LIMIT // 100
    faults: list[Event] = [FaultSeen(200 + i, FAULT) for i in range(count)]
    record(tmp_path, [*START, *faults])
    first, *_ = read(tmp_path / "events.jsonl")
    assert isinstance(first, State) and first.verdicts and first.devices
    total = sum(p.stat().st_size for p in tmp_path.iterdir())
    assert total < 2.1 * recorder.SIZE_LIMIT


def test_only_root_may_read_whose_connections_there_are(tmp_path: Path) -> None:
    before = tmp_path / "events.jsonl"
    before.touch(0o644)  # As a version before left it.
    former = os.umask(0)
    try:
        record(tmp_path, START)
    finally:
        os.umask(former)
    assert {stat.S_IMODE(p.stat().st_mode) for p in tmp_path.glob("*.jsonl")} == {0o600}


def test_a_full_disk_is_told_and_what_follows_can_be_replayed_on_its_own() -> None:
    disk = Disk()
    log, state = EventRecorder(disk, "/var/run/flowguard"), State()
    for number, event in enumerate((*START, FaultSeen(200, FAULT), FaultSeen(300, FAULT))):
        disk.full = number == 1
        if disk.full:
            with pytest.raises(OSError, match="No space left"):
                log.record(event, state)
        else:
            log.record(event, state)
        state, _ = decide(state, event)
    first, *rest = map(decode_event, disk.texts[log.path].splitlines())
    assert isinstance(first, State) and first.devices
    assert [type(line) for line in rest] == [FaultSeen, FaultSeen]


def test_the_log_of_the_life_before_is_kept(tmp_path: Path) -> None:
    record(tmp_path, START)
    record(tmp_path, START)
    assert read(tmp_path / "events.jsonl.1") == START
