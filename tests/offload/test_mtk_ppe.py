# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from pathlib import Path

from flowguard.core.model import FlowTuple
from flowguard.offload.engines import bound_entries, bound_flows

TAIL = "eth=02:00:00:00:00:01->02:00:00:00:00:02 etype=0800 vlan=0,0"
TCP4 = (
    "00a1f BND IPv4 5T orig=192.168.1.20:50000->203.0.113.9:443"
    f" new=198.51.100.7:50000->203.0.113.9:443 {TAIL} ib1=214d0001 ib2=007fff20"
)
UDP4 = TCP4.replace("214d0001", "614d0001")
TCP6 = (
    "01b22 BND IPv6 5T orig=2001:0db8:0000:0000:0000:0000:0000:0001:50000"
    f"->2001:0db8:00ff:0000:0000:0000:0000:0002:443 {TAIL} ib1=2b000000 ib2=00000040"
)
ROUTE4 = f"00001 BND IPv4 3T orig=192.0.2.1->192.0.2.2 new=192.0.2.1->192.0.2.2 {TAIL} ib1=0 ib2=0"
# As newer drivers print it, with counters and the engine's number.
NEWER = TCP4.replace(" orig=", " ppe=0 orig=") + " packets=12 bytes=3456"

FLOW4 = FlowTuple("tcp", "192.168.1.20", "203.0.113.9", 50000, 443)


def debugfs(root: Path, **engines: str) -> str:
    for name, text in engines.items():
        (root / name).mkdir()
        (root / name / "bind").write_text(text)
    return str(root)


def test_forms_of_entries(tmp_path: Path) -> None:
    text = "\n".join([TCP4, UDP4, TCP6, ROUTE4, NEWER, "no entry at all", ""])
    assert bound_flows(debugfs(tmp_path, ppe0=text)) == (
        FLOW4,
        FlowTuple("udp", "192.168.1.20", "203.0.113.9", 50000, 443),
        FlowTuple("tcp", "2001:db8::1", "2001:db8:ff::2", 50000, 443),
        FlowTuple("tcp", "192.0.2.1", "192.0.2.2", 0, 0),
        FLOW4,
    )


def test_all_engines_count(tmp_path: Path) -> None:
    assert bound_entries(debugfs(tmp_path, ppe0=TCP4 + "\n", ppe1=TCP6 + "\n")) == 2


def test_empty_engine_is_not_a_blind_one(tmp_path: Path) -> None:
    assert bound_entries(debugfs(tmp_path, ppe0="")) == 0


def test_no_engine_to_look_into(tmp_path: Path) -> None:
    assert bound_flows(str(tmp_path)) is None
    assert bound_entries(str(tmp_path / "absent")) is None
