# SPDX-License-Identifier: GPL-2.0-or-later
"""Interfaces that packets are routed over, asked of the real kernel."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from flowguard.kernel.route.addresses import forwarding_interfaces


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
