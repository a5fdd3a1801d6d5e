# SPDX-License-Identifier: GPL-2.0-or-later
"""The shipped unit under a systemd that is process 1, with all its hardening."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowguard.service.control import DEFAULT_SOCKET, request
from tests.lab.capture import Engine, ruleset
from tests.lab.daemon import all_on
from tests.lab.hosts import Router
from tests.lab.systemd import Systemd
from tests.lab.traffic import Downloads
from tests.lab.traffic.control import Traffic
from tests.lab.wait import wait_for

pytestmark = pytest.mark.slow
STATE = Path("/var/lib/flowguard/state.json")
HARDWARE = "table inet flowguard {"


def status() -> dict[str, Any]:
    answer: dict[str, Any] = request(DEFAULT_SOCKET, "status")
    return answer


def wait_for_level(level: str) -> None:
    def reached() -> bool:
        return {d["name"]: d["level"] for d in status()["devices"]} == all_on(level)

    wait_for(reached, f"level {level}", 60, interval=0.5, state=status)


def intent() -> Any:
    return json.loads(STATE.read_text())["intent"]


@pytest.fixture(scope="module")
def booted(router: Router, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Systemd]:
    with Systemd(tmp_path_factory.mktemp("systemd")) as started:
        yield started


@pytest.fixture
def systemd(engine: Engine, booted: Systemd) -> Iterator[Systemd]:
    """flowguard is started, on hardware, and remembers nothing."""
    STATE.unlink(missing_ok=True)
    booted.configure("hardware")
    booted.control("start", "flowguard")
    wait_for_level("hardware")
    yield booted
    if booted.runs:
        booted.control("stop", "flowguard")


def test_it_answers_when_it_is_started_and_every_sensor_works(systemd: Systemd) -> None:
    systemd.control("restart", "flowguard")
    sensors = status()["sensors"]
    for name in ("links", "tables", "kmsg", "observation", "store"):
        assert sensors[name] == "ok"
    wait_for(lambda: status()["sensors"].get("supervisor") == "ok", "signs of life")


def test_a_reload_takes_the_new_configuration_in_the_same_process(systemd: Systemd) -> None:
    process = systemd.property("MainPID")
    systemd.configure("software")
    systemd.control("reload", "flowguard")
    wait_for_level("software")
    assert systemd.property("MainPID") == process


def test_one_that_is_not_enabled_ends_without_a_failure_and_leaves_nothing(
    systemd: Systemd,
) -> None:
    before = systemd.property("NRestarts")
    systemd.configure("hardware", enabled=False)
    systemd.control("restart", "flowguard")

    def ended() -> bool:
        return systemd.property("ActiveState") == "inactive"

    wait_for(ended, "the service to end", 60, state=systemd.journal)
    assert systemd.property("Result") == "success"
    assert systemd.property("NRestarts") == before
    assert "flowguard" not in ruleset()


@pytest.mark.parametrize("signal", ["KILL", "STOP"])
def test_killed_or_hung_it_is_started_again_and_adopts_the_tables(
    systemd: Systemd, signal: str
) -> None:
    process, before = systemd.property("MainPID"), int(systemd.property("NRestarts"))
    systemd.control("kill", f"--signal={signal}", "--kill-who=main", "flowguard")

    def again() -> bool:
        assert HARDWARE in ruleset()
        # In this order: the old process may end between two questions, and then there is none.
        is_new = systemd.property("MainPID") not in ("0", process)
        return is_new and systemd.property("ActiveState") == "active"

    wait_for(again, "another process", 60)
    assert int(systemd.property("NRestarts")) == before + 1
    wait_for_level("hardware")


def test_a_fault_is_in_the_journal_as_a_warning(
    systemd: Systemd, engine: Engine, traffic: Traffic
) -> None:
    engine.set_fault("warn_on_replace", 1)
    traffic.start(Downloads(count=3))
    wait_for_level("software")
    step = "step down: wan hardware -> software: held off: offload fault"

    def priorities() -> list[str]:
        return [e["PRIORITY"] for e in systemd.journal() if step in str(e["MESSAGE"])]

    # The journal is written by another process, which may come later.
    wait_for(lambda: priorities() == ["4"], "the step in the journal", state=systemd.journal)


def test_a_restart_leaves_hardware_in_use_and_a_stop_leaves_none_unguarded(
    systemd: Systemd,
) -> None:
    assert intent()
    systemd.control("restart", "flowguard")
    assert HARDWARE in ruleset()
    wait_for_level("hardware")
    systemd.control("stop", "flowguard")
    assert HARDWARE not in ruleset()
    assert intent() is None
    systemd.control("start", "flowguard")
    wait_for_level("hardware")


def test_a_shutdown_is_planned(systemd: Systemd) -> None:
    assert intent()
    systemd.shut_down()
    assert intent() is None
