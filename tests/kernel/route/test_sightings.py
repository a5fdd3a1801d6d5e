# SPDX-License-Identifier: GPL-2.0-or-later
"""Bridges' forwarding tables and neighbours, in messages as the kernel sends them."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard.kernel.netlink.codec import HEADER, MalformedMessage, Message, attribute, messages_in
from flowguard.kernel.netlink.ip_addresses import packed
from flowguard.kernel.route.sightings import (
    NDA_DST,
    NDA_LLADDR,
    NDA_MASTER,
    NEIGHBOUR,
    NUD_FAILED,
    NUD_INCOMPLETE,
    NUD_NOARP,
    NUD_PERMANENT,
    NUMBER,
    RTM_DELNEIGH,
    RTM_NEWNEIGH,
    Learned,
    Neighbour,
    Sighting,
    sightings,
    sightings_in,
)

MAC = b"\x02\0\0\0\0\x07"
REACHABLE, STALE = 0x02, 0x04
NAMES = {1: "lo", 2: "lan1", 3: "br-lan", 4: "br-lan.10"}


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    def name_of(index: int) -> str:
        if index not in NAMES:
            raise OSError(6, "No such device or address")
        return NAMES[index]

    monkeypatch.setattr(socket, "if_indextoname", name_of)


def message(
    family: int, index: int, state: int, fields: dict[int, bytes], kind: int = RTM_NEWNEIGH
) -> Message:
    body = NEIGHBOUR.pack(family, index, state, 0, 0)
    body += b"".join(attribute(key, value) for key, value in fields.items())
    (parsed,) = messages_in(HEADER.pack(HEADER.size + len(body), kind, 0, 0, 0) + body)
    return parsed


def learned(index: int = 2, state: int = REACHABLE, master: int = 3, **more: int) -> list[Sighting]:
    fields = {NDA_LLADDR: MAC, NDA_MASTER: NUMBER.pack(master)}
    return list(sightings_in(message(socket.AF_BRIDGE, index, state, fields, **more)))


def neighbour(address: str, state: int = STALE, mac: bytes = MAC, **more: int) -> list[Sighting]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    fields = {NDA_DST: packed(address), NDA_LLADDR: mac}
    return list(sightings_in(message(family, 4, state, fields, **more)))


def test_what_a_bridge_has_learned() -> None:
    assert learned() == [Learned("br-lan", MAC, "lan1")]
    assert learned(kind=RTM_DELNEIGH) == [Learned("br-lan", MAC, None)]


def test_its_own_addresses_and_those_of_ports_alone_are_nobodys() -> None:
    assert learned(state=NUD_PERMANENT) == []
    alone = message(socket.AF_BRIDGE, 2, REACHABLE, {NDA_LLADDR: MAC})
    assert list(sightings_in(alone)) == []


@pytest.mark.parametrize("address", ["192.168.1.2", "2001:db8::2"])
def test_a_neighbour_is_there_until_it_fails(address: str) -> None:
    assert neighbour(address) == [Neighbour("br-lan.10", address, MAC)]
    assert neighbour(address, NUD_PERMANENT) == [Neighbour("br-lan.10", address, MAC)]
    assert neighbour(address, NUD_FAILED) == [Neighbour("br-lan.10", address, None)]
    # The kernel tidies up: a host in hardware is the first that it has not heard of for long.
    assert neighbour(address, kind=RTM_DELNEIGH) == []


def test_who_is_just_asked_for_is_as_before_and_groups_are_nobody() -> None:
    assert neighbour("192.168.1.2", NUD_INCOMPLETE) == []
    assert neighbour("ff02::1", NUD_NOARP) == []
    assert neighbour("fe80::2") == []
    # Through a tunnel neighbours have no MAC.
    assert neighbour("192.168.1.2", mac=b"") == [Neighbour("br-lan.10", "192.168.1.2", None)]


def test_a_device_that_is_gone_since_is_passed_over() -> None:
    assert learned(index=9) == learned(master=9) == []


@given(st.binary(max_size=80), st.sampled_from([socket.AF_BRIDGE, socket.AF_INET]))
def test_any_bytes_are_understood_or_refused(tail: bytes, family: int) -> None:
    body = NEIGHBOUR.pack(family, 2, REACHABLE, 0, 0) + tail
    (odd,) = messages_in(HEADER.pack(HEADER.size + len(body), RTM_NEWNEIGH, 0, 0, 0) + body)
    try:
        found = list(sightings_in(odd))
    except MalformedMessage:
        return
    assert len(found) <= 1


def test_the_kernel_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert all(isinstance(seen, Learned | Neighbour) for seen in sightings())
