# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages on the wire, and what reading them back needs."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st

from flowguard.core.model import Protocol
from flowguard.core.tables.description import InterfaceIs, Leave, ProtocolIs, Rule, Side, Table
from flowguard.kernel.netlink.codec import messages_in
from flowguard.kernel.nftables import messages
from flowguard.kernel.nftables.changes import (
    AddDevices,
    AddNames,
    Change,
    CreateTable,
    RemoveDevices,
    RemoveNames,
    TryFlowtable,
)
from flowguard.kernel.nftables.encoding import encode
from flowguard.kernel.nftables.expressions import rule_expressions
from flowguard.kernel.nftables.names import rule_comment

# The kernel takes any bytes but white space, slash and colon (dev_valid_name, net/core/dev.c).
octets = st.integers(33, 255).filter(lambda octet: octet not in b"/:\xa0")
names = st.lists(octets, min_size=1, max_size=15).map(bytes).map(os.fsdecode)


@given(st.lists(names, min_size=1, unique=True))
def test_set_elements_are_read_back(devices: list[str]) -> None:
    request = messages.add_elements("flowguard", devices)
    assert messages.set_names(request.data) == devices


def _as_the_kernel_writes(address: IPv4Address | IPv6Address) -> str:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    return socket.inet_ntop(family, address.packed)


@given(st.lists(st.ip_addresses().map(_as_the_kernel_writes), unique=True, max_size=2000))
def test_hosts_are_read_back(hosts: list[str]) -> None:
    requests = messages.add_hosts("flowguard", hosts)
    found = [host for request in requests for host in messages.set_hosts(request.data)]
    assert sorted(found) == sorted(hosts)


@given(st.lists(names, min_size=1, unique=True), st.booleans())
def test_flowtable_is_read_back(devices: list[str], hardware: bool) -> None:
    request = messages.new_flowtable("flowguard", 10, hardware, devices)
    assert messages.flowtable_devices(request.data) == tuple(sorted(devices))
    assert messages.is_hardware(request.data) is hardware


@given(st.integers(-400, 400))
def test_chain_priority_is_read_back(priority: int) -> None:
    assert messages.chain_priority(messages.new_chain("flowguard", priority).data) == priority


@given(names)
def test_rules_and_changes_take_any_name(name: str) -> None:
    rule = Rule((InterfaceIs(Side.SOURCE, name),), Leave())
    table = Table("flowguard_sw", 11, False, (name,), (name,), (rule,))
    changes: list[Change] = [
        CreateTable(table),
        AddDevices("flowguard_sw", 11, False, (name,)),
        RemoveDevices("flowguard_sw", 11, (name,)),
        AddNames("flowguard_sw", (name,)),
        RemoveNames("flowguard_sw", (name,)),
        TryFlowtable(name, hardware=True),
    ]
    for change in changes:
        sent = b"".join(request.data for request in encode(change))
        assert os.fsencode(name) + b"\0" in sent
        assert name in str(change)


def test_rule_comment_is_read_back() -> None:
    expressions = rule_expressions(Rule((ProtocolIs(Protocol.TCP),), Leave()))
    request = messages.new_rule("flowguard", expressions)
    assert messages.rule_comment(request.data) == rule_comment(expressions)
    assert messages.rule_comment(messages.get_rules("flowguard").data) == ""


def test_header_says_the_true_length() -> None:
    expressions = rule_expressions(Rule((), Leave()))
    request = messages.new_rule("flowguard", expressions)
    (length,) = struct.unpack_from("=I", request.data)
    assert length == len(request.data)
    assert [m.data for m in messages_in(request.data * 2)] == [request.data] * 2


def test_messages_begin_at_multiples_of_four() -> None:
    odd = struct.pack("=IHHII", 18, 3, 0, 1, 0) + b"ab"
    assert [m.data for m in messages_in(odd + b"\0\0" + odd)] == [odd, odd]


def test_most_of_pyroute2_stays_out() -> None:
    """The package's own __init__ costs more memory than the whole daemon may."""
    script = (
        "import sys; import flowguard.kernel.nftables.messages;"
        "print('pyroute2' in sys.modules, 'pyroute2.iproute' in sys.modules);"
        "import pyroute2; print(hasattr(pyroute2, 'IPRoute'))"
    )
    command = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={"PYTHONPATH": ":".join(sys.path)}
    )
    assert done.stdout.split() == ["False", "False", "True"]
