# SPDX-License-Identifier: GPL-2.0-or-later
"""Hosts that come, go and move, as the policy hears of them."""

from __future__ import annotations

from flowguard.core.events import Command, FollowHosts, HostsSeen, Tick
from flowguard.core.model import Device, Host, Level
from flowguard.core.policy import decide
from flowguard.core.records import replace
from flowguard.core.state import MOVES_MOST, SETTLED_SECONDS, State

LAN1 = Device(
    "lan1", 2, forward_names=("br-lan", "lan1"), bridges=("br-lan",), bridge_ports=("lan1",)
)
LAN2 = replace(LAN1, name="lan2", bridge_ports=("lan2",))
TOP = (("lan1", Level.HARDWARE), ("lan2", Level.HARDWARE))
PC, TV = "192.168.1.2", "2001:db8::3"


def hears(state: State, *seen: Host, gone: tuple[str, ...] = ()) -> tuple[State, list[Command]]:
    return decide(state, HostsSeen(state.time + 1, seen, gone))


def at(*levels: tuple[str, Level], devices: tuple[Device, ...] = (LAN1, LAN2)) -> State:
    """A router whose PC is behind lan1 and whose TV is behind an access point."""
    state = State(devices=devices, levels=levels, reached=levels, wanted=Level.HARDWARE)
    return hears(state, Host(PC, "lan1"), Host(TV, "phy0-ap0"))[0]


def moved(commands: list[Command]) -> FollowHosts:
    (found,) = [c for c in commands if isinstance(c, FollowHosts)]
    return found


def test_hosts_are_known_by_their_address_and_followed() -> None:
    state, commands = hears(State(), Host(TV, "lan2"), Host(PC, "lan1"))
    assert state.hosts == (Host(PC, "lan1"), Host(TV, "lan2"))
    assert moved(commands).moved == ()
    # Before the first look at the devices any port may bind flows.
    state, commands = hears(state, gone=(PC, "192.168.1.99"))
    assert state.hosts == (Host(TV, "lan2"),)
    assert moved(commands).moved == (PC,)


def test_what_is_known_already_leads_to_nothing() -> None:
    state = at(*TOP)
    assert hears(state, Host(PC, "lan1"), gone=("192.168.1.99",)) == (
        replace(state, time=state.time + 1),
        [],
    )


def test_the_flows_of_a_host_that_leaves_a_port_in_hardware_are_pulled_out_of_it() -> None:
    for port in ("lan2", "phy0-ap0"):
        _, commands = hears(at(*TOP), Host(PC, port))
        assert moved(commands) == FollowHosts((PC,), Level.HARDWARE)


def test_a_host_that_answers_no_more_may_be_on_its_way_and_leaves_nothing_behind() -> None:
    state, commands = hears(at(*TOP), gone=(PC, TV))
    assert moved(commands) == FollowHosts((PC,), Level.HARDWARE)
    _, commands = hears(state, Host(PC, "phy0-ap0"))
    assert moved(commands).moved == ()


def test_also_those_that_are_just_being_drained() -> None:
    below = (("lan1", Level.SOFTWARE), ("lan2", Level.SOFTWARE))
    _, commands = hears(at(*below), Host(PC, "lan2"))
    assert moved(commands) == FollowHosts((PC,), Level.HARDWARE)


def test_flows_that_pass_through_the_bridge_itself_go_on_by_themselves() -> None:
    _, commands = hears(at(*TOP), Host(TV, "lan2"))
    assert moved(commands).moved == ()


def test_where_ports_are_in_the_software_table_its_flows_are_pulled_out_as_well() -> None:
    ports = tuple(replace(d, by_port=True) for d in (LAN1, LAN2))
    state = at(("lan1", Level.SOFTWARE), ("lan2", Level.SOFTWARE), devices=ports)
    _, commands = hears(state, Host(PC, "lan2"))
    assert moved(commands) == FollowHosts((PC,), Level.SOFTWARE)


def flapping(state: State, moves: int, seconds: float) -> State:
    """After the PC has moved so often, every so many seconds."""
    for _ in range(moves):
        (port,) = (host.port for host in state.hosts if host.address == PC)
        elsewhere = Host(PC, "lan2" if port == "lan1" else "lan1")
        event = HostsSeen(state.time + seconds, (elsewhere,))
        state, commands = decide(state, event)
        assert moved(commands).moved == (PC,)
    return state


def test_a_host_that_moves_too_often_is_behind_no_port_until_it_has_stayed() -> None:
    state = flapping(replace(at(*TOP), time=1000.0), MOVES_MOST, 1.0)
    assert PC in {host.address for host in state.settled_hosts}
    state = flapping(state, 1, 1.0)
    assert [host.address for host in state.settled_hosts] == [TV]
    assert PC in {host.address for host in state.hosts}
    assert state.next_deadline() == state.time + SETTLED_SECONDS
    early, commands = decide(state, Tick(state.time + SETTLED_SECONDS - 1))
    assert FollowHosts() not in commands
    assert PC not in {host.address for host in early.settled_hosts}
    state, commands = decide(state, Tick(state.time + SETTLED_SECONDS))
    assert FollowHosts() in commands
    assert PC in {host.address for host in state.settled_hosts}
    assert FollowHosts() not in decide(state, Tick(state.time + 1))[1]


def test_a_host_that_moves_now_and_then_stays_in() -> None:
    state = flapping(at(*TOP), 3 * MOVES_MOST, SETTLED_SECONDS)
    assert state.settled_hosts == state.hosts
    assert len(state.movers) == 1


def test_who_comes_or_goes_has_not_moved() -> None:
    state = at(*TOP)
    for _ in range(3 * MOVES_MOST):
        state, _ = hears(state, gone=(PC,))
        state, _ = hears(state, Host(PC, "lan1"))
    assert state.settled_hosts == state.hosts and not state.movers
