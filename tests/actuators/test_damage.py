# SPDX-License-Identifier: GPL-2.0-or-later
"""What is still allowed after an oops."""

from __future__ import annotations

import pytest

from flowguard.actuators.damage import has_oopsed, without_unbinding
from flowguard.core.model import Device, Level
from flowguard.core.tables.description import Plan
from flowguard.core.tables.plan import OffloadSettings, plan
from flowguard.kernel.nftables.ruleset import TableState, wanted_state
from tests.sensors.machine import Switches

DEVICES = (Device("lan1", 2), Device("wan", 3))


def planned(**levels: Level) -> Plan:
    return plan(DEVICES, levels, OffloadSettings())


def in_kernel(target: Plan) -> TableState:
    state = wanted_state(target).hardware
    assert state
    return state


BOTH = planned(lan1=Level.HARDWARE, wan=Level.HARDWARE)


@pytest.mark.parametrize(("tainted", "oopsed"), [(0, False), (12289, False), (4736, True)])
def test_only_the_die_flag_counts(tainted: int, oopsed: bool) -> None:
    assert has_oopsed(Switches({"kernel/tainted": tainted})) is oopsed


def test_a_kernel_that_does_not_tell_counts_as_whole() -> None:
    assert not has_oopsed(Switches())


def test_stepping_down_parks_the_table_instead_of_unbinding_it() -> None:
    software = planned(lan1=Level.SOFTWARE, wan=Level.SOFTWARE)
    result = without_unbinding(software, in_kernel(BOTH))
    assert result.hardware and result.hardware.rules == ()
    assert result.hardware.devices == ("lan1", "wan")
    assert result.software == software.software


def test_a_device_that_steps_down_stays_bound_but_gets_no_flows() -> None:
    one = planned(lan1=Level.SOFTWARE, wan=Level.HARDWARE)
    result = without_unbinding(one, in_kernel(BOTH)).hardware
    assert result and one.hardware
    assert result.devices == ("lan1", "wan")
    assert result.forward_names == one.hardware.forward_names == ("wan",)
    assert result.rules == one.hardware.rules


def test_without_a_bound_table_nothing_changes() -> None:
    assert without_unbinding(BOTH, None) == BOTH
