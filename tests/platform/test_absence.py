# SPDX-License-Identifier: GPL-2.0-or-later
"""Who asks a daemon that is not there is told why, and the command that mends it."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowguard.platform.absence import reason
from flowguard.platform.openwrt import effective

OPENWRT, SYSTEMD = "etc/rc.common", "run/systemd/system"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of a machine that has no `uci`."""
    (tmp_path / "etc/rc.d").mkdir(parents=True)
    places = (str(tmp_path / "var/run/uci"), str(tmp_path / "etc"))
    monkeypatch.setattr(effective, "DIRECTORIES", places)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def told(root: Path, system: str, options: str = "") -> str:
    (root / system).parent.mkdir(parents=True, exist_ok=True)
    (root / system).touch()
    (root / "etc/flowguard").write_text(f"config flowguard 'globals'\n{options}")
    return reason(str(root))


def test_openwrt_is_told_how_to_enable_it(root: Path) -> None:
    (root / "etc/rc.d/S95flowguard").touch()
    assert told(root, OPENWRT) == (
        "not enabled; enable it with: uci set flowguard.globals.enabled=1; uci commit flowguard; "
        "service flowguard start"
    )
    assert told(root, OPENWRT, "\toption enabled 1\n") == (
        "not running; start it with: service flowguard start"
    )


def test_a_service_that_is_not_started_at_boot_is_enabled_too(root: Path) -> None:
    assert told(root, OPENWRT, "\toption enabled 1\n") == (
        "not running; start it with: service flowguard enable; service flowguard start"
    )


def test_systemd_is_told_the_file_and_its_own_command(root: Path) -> None:
    assert told(root, SYSTEMD) == (
        f"not enabled; set option enabled '1' in {root}/etc/flowguard, then: "
        "systemctl enable --now flowguard"
    )
    assert told(root, SYSTEMD, "\toption enabled 1\n") == (
        "not running; start it with: systemctl enable --now flowguard"
    )


def test_a_damaged_file_is_why_it_does_not_run(root: Path) -> None:
    assert told(root, OPENWRT, "\toption enabled 'open end\n").startswith(
        f"not running: {root}/etc/flowguard:2: not valid UCI: "
    )
