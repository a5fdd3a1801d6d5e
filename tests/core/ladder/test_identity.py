# SPDX-License-Identifier: GPL-2.0-or-later
"""Verdicts stay with the hardware they were passed on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flowguard.core.events import DevicesChanged, FaultSeen, Notify, Save, Started
from flowguard.core.model import Device, Level
from flowguard.core.records import replace
from tests.core.test_policy import SETTINGS, Story, fault

PORTS = tuple(
    Device(
        name,
        number,
        "mtk",
        "15100000.ethernet",
        port=f"p{number}",
        code="6.12 fw 1",
        hardware_capable=True,
    )
    for number, name in enumerate(("wan", "lan1", "lan2"), 1)
)
WAN, LAN1, LAN2 = PORTS


def convicted(name: str = "wan") -> Story:
    story = Story().on(Started(100, Level.HARDWARE, SETTINGS)).on(DevicesChanged(100, PORTS))
    return story.on(FaultSeen(200, fault(device=name)))


def named(device: Device, name: str) -> Device:
    return replace(device, name=name)


def test_a_renamed_port_takes_its_verdict_along() -> None:
    story = convicted().on(DevicesChanged(300, (named(WAN, "eth1"), LAN1, LAN2)))
    assert story.levels()["eth1"] is Level.SOFTWARE
    assert Save() in story.last


def test_names_that_are_exchanged_do_not_exchange_verdicts() -> None:
    story = convicted().on(DevicesChanged(300, (named(WAN, "lan1"), named(LAN1, "wan"), LAN2)))
    assert story.levels()["lan1"] is Level.SOFTWARE
    assert story.levels()["wan"] is Level.HARDWARE


def test_other_hardware_under_the_name_is_innocent_until_the_old_one_is_back() -> None:
    other = Device("wan", 9, "r8169", "0000:01:00.0", hardware_capable=True)
    story = convicted().on(DevicesChanged(300, (other, LAN1, LAN2)))
    assert story.levels()["wan"] is Level.HARDWARE
    story.on(DevicesChanged(400, (named(other, "eth9"), *PORTS)))
    assert story.levels()["wan"] is Level.SOFTWARE


def test_new_firmware_or_another_driver_version_deserves_a_new_chance_and_that_is_said() -> None:
    story = convicted().on(DevicesChanged(300, (replace(WAN, code="6.12 fw 2"), LAN1, LAN2)))
    assert not story.state.verdicts and story.levels()["wan"] is Level.HARDWARE
    assert any("fw 2" in c.message for c in story.last if isinstance(c, Notify))


def test_a_device_that_is_away_keeps_its_verdict() -> None:
    story = convicted().on(DevicesChanged(300, (LAN1, LAN2))).on(DevicesChanged(400, PORTS))
    assert story.levels()["wan"] is Level.SOFTWARE


@given(st.lists(st.permutations(["wan", "lan1", "lan2", "x", "y"]), min_size=1, max_size=5))
def test_the_verdict_is_always_on_the_same_port(renamings: list[list[str]]) -> None:
    story = convicted()
    for time, names in enumerate(renamings, 300):
        ports = tuple(map(named, PORTS, names))
        story.on(DevicesChanged(time, ports))
        (verdict,) = story.state.verdicts
        assert verdict.device == names[0] and verdict.identity == WAN.identity
