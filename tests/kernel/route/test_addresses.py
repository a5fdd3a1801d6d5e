# SPDX-License-Identifier: GPL-2.0-or-later
"""Interfaces that packets are routed over, asked of the real kernel."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path

import pytest

from flowguard.kernel.netlink.codec import HEADER, NLM_F_DUMP_INTR
from flowguard.kernel.route.addresses import forwarding_interfaces
from flowguard.kernel.route.rtnetlink import ATTEMPTS


def addressed() -> set[str]:
    """The interfaces with an address of global scope, as `ip` sees them."""
    shown = subprocess.run(["ip", "-json", "address"], capture_output=True, check=True).stdout
    return {
        link["ifname"]
        for link in json.loads(shown)
        if any(a["scope"] in ("global", "site") for a in link.get("addr_info", ()))
    }


def forward(proc: Path, family: str, name: str, value: str) -> None:
    folder = proc / "sys/net" / family / "conf" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "forwarding").write_text(f"{value}\n")


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_interfaces_with_an_address_that_forward(tmp_path: Path, family: str) -> None:
    expected = addressed()
    for name in (*expected, "lo"):
        forward(tmp_path, family, name, "1")
    assert set(forwarding_interfaces(str(tmp_path))) == expected


def test_an_address_alone_is_a_host(tmp_path: Path) -> None:
    for name in addressed():
        forward(tmp_path, "ipv4", name, "0")
    assert forwarding_interfaces(str(tmp_path)) == ()


class Restless(socket.socket):
    """The next dumps are interrupted: addresses change while they are read."""

    interrupted = 0

    def recv(self, size: int, flags: int = 0) -> bytes:
        datagram = super().recv(size, flags)
        if not Restless.interrupted:
            return datagram
        Restless.interrupted -= 1
        length, kind, own_flags, sequence, port = HEADER.unpack_from(datagram)
        marked = HEADER.pack(length, kind, own_flags | NLM_F_DUMP_INTR, sequence, port)
        return marked + datagram[HEADER.size :]


@pytest.fixture
def restless(monkeypatch: pytest.MonkeyPatch) -> type[Restless]:
    monkeypatch.setattr(socket, "socket", Restless)
    return Restless


def test_an_interrupted_answer_is_asked_for_again(tmp_path: Path, restless: type[Restless]) -> None:
    for name in addressed():
        forward(tmp_path, "ipv4", name, "1")
    restless.interrupted = ATTEMPTS - 1
    assert set(forwarding_interfaces(str(tmp_path))) == addressed()
    restless.interrupted = ATTEMPTS
    with pytest.raises(OSError, match="change faster"):
        forwarding_interfaces(str(tmp_path))
