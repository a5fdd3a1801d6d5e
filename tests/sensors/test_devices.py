# SPDX-License-Identifier: GPL-2.0-or-later
"""Which devices take part, configured or found."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, NoReturn

import pytest

from flowguard.core.events import DevicesChanged, Event
from flowguard.sensors.devices import Devices, Found, Routed, find
from tests.kernel.route.sysfs import Machine

ROUTED = Routed(("br-lan", "eth1", "pppoe-wan"), {"pppoe-wan": "eth1"})


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.add("lan1", driver="igc")
    made.add("eth1", driver="igc")
    made.add("phy0-ap0", driver="mt798x-wmac", entries=("phy80211",))
    made.add("br-lan", kind="bridge", above=("lan1", "phy0-ap0"))
    made.add("pppoe-wan", type_=512)
    made.sessions("eth1")
    return made


def look(machine: Machine, *configured: str, known: Routed = ROUTED, kept: str = "") -> Found:
    return find(configured, known, kept.split(), str(machine.sys), str(machine.proc))


def names(found: Found) -> list[str]:
    return [device.name for device in found.devices]


def test_what_is_below_the_interfaces_takes_part(machine: Machine) -> None:
    found = look(machine)
    assert names(found) == ["eth1", "lan1"]
    assert [left.name for left in found.left_out] == ["phy0-ap0"]
    assert "pppoe-wan" in found.devices[0].forward_names


def test_names_are_taken_at_their_word(machine: Machine) -> None:
    found = look(machine, "phy0-ap0", "gone")
    assert names(found) == ["phy0-ap0"]
    assert (found.missing, found.left_out) == (("gone",), ())


def test_a_device_stays_while_its_interface_is_away(machine: Machine) -> None:
    machine.remove("pppoe-wan")
    assert names(look(machine, known=Routed(("br-lan",)))) == ["lan1"]
    assert names(look(machine, known=Routed(("br-lan",)), kept="eth1 lan1")) == ["eth1", "lan1"]


def test_a_device_that_is_gone_or_can_no_longer_take_part_does_not_stay(machine: Machine) -> None:
    machine.add("eth2", driver="igc", up=False)
    kept = "eth2 pppoe-wan phy0-ap0 lan9 lan1"
    assert names(look(machine, known=Routed(), kept=kept)) == ["lan1"]


class Tried(Exception):
    """A driver was bound for a trial."""


class NoTrial:
    """In the place of the kernel's tables: there are none yet, and a trial is not survived."""

    def get(self, request: object) -> None:
        return None

    async def dry_run(self, requests: object) -> NoReturn:
        raise Tried


def look_at_loopback(may_try: bool) -> list[Event]:
    told: list[Event] = []
    kernel: Any = NoTrial()
    asyncio.run(Devices(kernel, told.append, lambda device: may_try).rescan(["lo"]))
    return told


def test_what_may_not_be_tried_is_told_without_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowguard.kernel.nftables.probe.has_feature", lambda device, feature: True)
    (event,) = look_at_loopback(may_try=False)
    assert isinstance(event, DevicesChanged)
    assert [(d.name, d.hardware_capable) for d in event.devices] == [("lo", None)]
    with pytest.raises(Tried):
        look_at_loopback(may_try=True)


def test_what_has_no_hardware_offload_needs_no_trial() -> None:
    (event,) = look_at_loopback(may_try=True)
    assert isinstance(event, DevicesChanged)
    assert [d.hardware_capable for d in event.devices] == [False]
