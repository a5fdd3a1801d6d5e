# SPDX-License-Identifier: GPL-2.0-or-later
"""From a state to a plan: which changes, in which order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard.core.model import Device, Level
from flowguard.core.records import replace
from flowguard.core.tables.description import Plan, Table
from flowguard.core.tables.plan import OffloadSettings, plan
from flowguard.kernel.nftables import ruleset
from flowguard.kernel.nftables.changes import (
    AddDevices,
    AddHosts,
    AddNames,
    AddRules,
    Change,
    CreateHostSets,
    DropRules,
    RemoveDevices,
    RemoveHosts,
    RemoveNames,
    drivers_bound,
)
from flowguard.kernel.nftables.encoding import encode
from flowguard.kernel.nftables.ruleset import TableState

DEVICES = [Device("lan1", 2, forward_names=("br-lan",)), Device("wan", 3)]
SETTINGS = OffloadSettings()


def hardware(devices: list[Device] = DEVICES, settings: OffloadSettings = SETTINGS) -> Table:
    made = plan(devices, {d.name: Level.HARDWARE for d in devices}, settings).hardware
    assert made
    return made


def found_state() -> TableState:
    levels = {d.name: Level.HARDWARE for d in DEVICES}
    state = ruleset.wanted_state(plan(DEVICES, levels, SETTINGS)).hardware
    assert state
    return state


FOUND = found_state()


def words(table: Table, found: TableState) -> list[str]:
    """The requests, in words, of an update."""
    changes = ruleset.update(table, found)
    return [request.what for change in changes for request in encode(change)]


def test_nothing_to_do() -> None:
    assert ruleset.update(hardware(), FOUND) == []


def test_create_makes_the_flowtable_before_the_rules_that_name_it() -> None:
    made = [request.what for change in ruleset.create(hardware()) for request in encode(change)]
    assert made[0] == "table flowguard"
    assert made.index("hardware flowtable on lan1, wan") < made.index("rule in table flowguard")
    assert made.count("rule in table flowguard") == len(hardware().rules)


def test_device_is_added_in_place() -> None:
    assert words(hardware([*DEVICES, Device("lan2", 4)]), FOUND) == [
        "hardware flowtable on lan2",
        "devices lan2 in the set of table flowguard",
    ]


def test_device_is_removed_in_place() -> None:
    assert words(hardware(DEVICES[1:]), FOUND) == [
        "remove lan1 from the flowtable of table flowguard",
        "remove devices br-lan, lan1 from the set of table flowguard",
    ]


def test_rules_are_replaced_as_a_whole() -> None:
    made = words(hardware(settings=OffloadSettings(udp=False)), FOUND)
    assert made[0] == "delete the rules of table flowguard"
    assert set(made[1:]) == {"rule in table flowguard"}


@pytest.mark.parametrize(
    "strange",
    [
        replace(FOUND, rules=(*FOUND.rules, "")),
        replace(FOUND, rules=FOUND.rules[:-1]),
        replace(FOUND, rules=tuple(reversed(FOUND.rules))),
        replace(FOUND, rules=("flowguard 00000000", *FOUND.rules[1:])),
    ],
)
def test_rules_that_are_not_ours_are_noticed(strange: TableState) -> None:
    assert words(hardware(), strange)[0] == "delete the rules of table flowguard"


def test_rules_of_a_drained_table_are_only_added() -> None:
    made = words(hardware(), replace(FOUND, rules=()))
    assert set(made) == {"rule in table flowguard"}


@pytest.mark.parametrize(
    "broken",
    [replace(FOUND, hardware=None), replace(FOUND, hardware=False), replace(FOUND, priority=None)],
)
def test_broken_bones_cannot_be_updated(broken: TableState) -> None:
    assert ruleset.can_update(hardware(), FOUND)
    assert not ruleset.can_update(hardware(), broken)


def test_only_a_hardware_flowtable_binds_drivers() -> None:
    software = replace(hardware(), name="flowguard_sw", hardware=False)
    assert list(map(drivers_bound, ruleset.create(hardware()))) == [("lan1", "wan")]
    assert list(map(drivers_bound, ruleset.create(software))) == [()]


def test_same_rule_same_comment_other_rule_other_comment() -> None:
    comments = FOUND.rules
    assert len(set(comments)) == len(comments)
    assert found_state() == FOUND


def applied(state: TableState, changes: list[Change]) -> TableState:
    """What the kernel makes of the changes of one table."""
    has_set = bool(state.forward_names)
    for change in changes:
        match change:
            case AddDevices(_, _, _, devices):
                assert not set(devices) & set(state.devices)
                state = replace(state, devices=tuple(sorted({*state.devices, *devices})))
            case RemoveDevices(_, _, devices):
                assert set(devices) <= set(state.devices)
                state = replace(state, devices=tuple(sorted({*state.devices} - {*devices})))
            case AddNames(_, names, makes_set):
                assert names and has_set != makes_set
                state = replace(state, forward_names=tuple(sorted({*state.forward_names, *names})))
            case RemoveNames(_, names):
                left = {*state.forward_names} - {*names}
                state = replace(state, forward_names=tuple(sorted(left)))
            case CreateHostSets():
                assert state.hosts is None
                state = replace(state, hosts=())
            case AddHosts(_, hosts):
                assert state.hosts is not None and not set(hosts) & set(state.hosts)
                state = replace(state, hosts=tuple(sorted({*state.hosts, *hosts})))
            case RemoveHosts(_, hosts):
                assert state.hosts is not None and set(hosts) <= set(state.hosts)
                state = replace(state, hosts=tuple(sorted({*state.hosts} - {*hosts})))
            case DropRules():
                assert state.rules
                state = replace(state, rules=())
            case AddRules(_, rules):
                comments = tuple(map(ruleset.comment_of, rules))
                state = replace(state, rules=state.rules + comments)
            case _:
                raise AssertionError(change)
    return state


device_names = st.sampled_from(["lan1", "lan2", "wan", "br-lan", "\udcff"])
several = st.sets(device_names).map(sorted).map(tuple)
some = st.sets(device_names, min_size=1).map(sorted).map(tuple)
hosts = st.sets(st.sampled_from(["192.168.1.2", "192.168.1.3", "2001:db8::2"])).map(tuple)
rules = st.lists(st.sampled_from(hardware().rules), unique=True).map(tuple)
comments = rules.map(lambda held: tuple(map(ruleset.comment_of, held))) | st.just(("other",))


@given(
    st.builds(Table, st.just("flowguard"), st.just(10), st.just(True), some, some, rules, hosts),
    st.builds(
        TableState,
        st.just(10),
        st.just(True),
        several,
        several,
        comments,
        st.none() | hosts.map(lambda held: tuple(sorted(held))),
    ),
)
def test_an_update_leads_from_any_state_to_the_wanted_one(table: Table, found: TableState) -> None:
    wanted = ruleset.wanted_state(Plan(table, None)).hardware
    assert wanted
    reached = applied(found, ruleset.update(table, found))
    assert reached == wanted
    assert ruleset.update(table, reached) == []
