# SPDX-License-Identifier: GPL-2.0-or-later
"""The Debian package under a systemd that is process 1: from its installation to its removal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flowguard.service.control import DEFAULT_SOCKET, request
from packages import deb
from packages.description import DEBIAN
from tests.lab.capture import Engine, ruleset
from tests.lab.daemon import all_on
from tests.lab.hosts import Router
from tests.lab.systemd import Systemd
from tests.lab.traffic import Downloads
from tests.lab.traffic.control import Traffic
from tests.lab.wait import wait_for

pytestmark = pytest.mark.slow
# The lab's systemd does not look there for units, but the package's scripts do.
ENABLED = Path("/etc/systemd/system/multi-user.target.wants/flowguard.service")


def status() -> dict[str, Any]:
    answer: dict[str, Any] = request(DEFAULT_SOCKET, "status")
    return answer


def is_on_hardware() -> bool:
    return {d["name"]: d["level"] for d in status()["devices"]} == all_on("hardware")


def package(folder: Path, version: str) -> str:
    path = folder / f"flowguard_{version}_all.deb"
    path.write_bytes(deb.build(DEBIAN[0], version, 1_700_000_000))
    return str(path)


def test_it_is_the_whole_installation_and_a_removal_leaves_nothing(
    router: Router, engine: Engine, traffic: Traffic, tmp_path: Path
) -> None:
    with Systemd(tmp_path, installed=False) as systemd:
        systemd.dpkg("--install", package(tmp_path, "1-1"))
        assert ENABLED.is_symlink()
        # It ends at once: the configuration that it comes with does not enable it.
        systemd.control("start", "flowguard")
        wait_for(lambda: systemd.property("ActiveState") == "inactive", "its end")
        assert systemd.property("Result") == "success"

        systemd.configure("hardware")
        systemd.control("restart", "flowguard")
        wait_for(is_on_hardware, "hardware", 60, interval=0.5, state=status)
        batch = traffic.start(Downloads(count=10))
        wait_for(lambda: bool(engine.bound()), "connections in the engine", 60)

        before, taken_out = systemd.property("MainPID"), engine.counter("destroy")
        systemd.dpkg("--install", package(tmp_path, "2-1"))
        assert systemd.property("MainPID") not in ("0", before)
        wait_for(is_on_hardware, "hardware", 60, interval=0.5, state=status)
        assert engine.counter("destroy") == taken_out
        report = batch.stop()
        assert not report.lost and not report.unreachable, report

        systemd.dpkg("--remove", "flowguard")
        assert "flowguard" not in ruleset()
        assert engine.bound() == []
