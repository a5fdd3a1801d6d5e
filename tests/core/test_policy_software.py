# SPDX-License-Identifier: GPL-2.0-or-later
"""A kernel that drops what is in software: hardware or nothing."""

from __future__ import annotations

import pytest

from flowguard.core.events import (
    Converged,
    DevicesChanged,
    FaultSeen,
    KernelKnown,
    Severity,
    Started,
    Tick,
)
from flowguard.core.model import Level
from flowguard.core.records import replace
from flowguard.core.state import allowed
from flowguard.core.tables.plan import OffloadSettings, plan
from tests.core.test_policy import ALL, LAN1, SETTINGS, WAN, Story, fault

HARDWARE, SOFTWARE, NONE = Level.HARDWARE, Level.SOFTWARE, Level.NONE
DROPS = "Linux 6.18.48: connections in software are dropped"


def starts(wanted: Level = HARDWARE, time: float = 100, drops: str = DROPS) -> Story:
    story = Story().on(Started(time, wanted, SETTINGS)).on(KernelKnown(time, drops))
    return story.on(DevicesChanged(time, ALL)).on(Converged(time))


def test_what_is_held_off_hardware_is_on_none_and_comes_back() -> None:
    story = starts().on(FaultSeen(200, fault(device="wan")))
    assert story.levels() == {"lan1": HARDWARE, "lan2": HARDWARE, "wan": NONE}
    level, why = allowed(story.state, WAN)
    assert level is NONE and "held off" in why and DROPS in why
    story.on(Converged(210)).on(Tick(900))
    assert story.levels()["wan"] is HARDWARE


@pytest.mark.parametrize(("drops", "level"), [(DROPS, NONE), ("", SOFTWARE)])
def test_software_is_used_by_nobody(drops: str, level: Level) -> None:
    assert set(starts(SOFTWARE, drops=drops).levels().values()) == {level}
    assert set(starts(time=10, drops=drops).levels().values()) == {level}
    veth = replace(LAN1, hardware_capable=False, reason="no engine")
    story = starts(drops=drops).on(DevicesChanged(200, (veth, WAN)))
    assert story.levels() == {"lan1": level, "wan": HARDWARE}


def test_that_it_is_so_is_told() -> None:
    story = Story().on(Started(5, HARDWARE, SETTINGS)).on(KernelKnown(5, DROPS))
    assert DROPS in story.notes(Severity.ERROR)[0]
    story.on(KernelKnown(6, ""))
    assert not story.last


def test_there_is_no_table_for_software_beside_hardware() -> None:
    levels = {device.name: HARDWARE for device in ALL}
    planned = plan(ALL, levels, OffloadSettings(software=False))
    assert planned.hardware and planned.software is None
    assert plan(ALL, levels, OffloadSettings()).software
