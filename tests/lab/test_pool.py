# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios shared by several routers, without a router: what is reported of them."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from tests.lab.kernel import LabError
from tests.lab.machine import (
    MachineDiedError,
    MachineStoppedError,
    MachineTimeoutError,
    ended,
    hand_on,
)
from tests.lab.uml.machine import UserModeLinux
from tests.lab.uml.pool import Pool

SCENARIOS = """
import pytest
@pytest.mark.parametrize("number", range(3))
def test_it(number):
    raise AssertionError("not here")
"""
IDS = [f"test_it.py::test_it[{number}]" for number in range(3)]


class Script:
    """A router that reports what the test wants, one list for each of its boots."""

    def __init__(self, console: Path, boots: list[list[object]]) -> None:
        self.console = console
        self._boots = iter(boots)

    def run(
        self, command: object, output: object, record: Callable[[bytes], None], _: object
    ) -> int:
        for told in next(self._boots):
            if isinstance(told, LabError):
                raise told
            line = json.dumps(told).encode() + b"\n"
            # As pipes do it: no respect for lines.
            record(line[:5])
            record(line[5:])
        return 0


def reports(nodeid: str, outcome: str = "passed") -> Iterator[dict[str, Any]]:
    yield {"started": nodeid}
    for when in ("setup", "call", "teardown"):
        result = outcome if when == "call" else "passed"
        place = (nodeid.partition("::")[0], 0, nodeid)
        words = "it is so" if result == "failed" else None
        made = pytest.TestReport(nodeid, place, {}, cast(Any, result), words, cast(Any, when))
        yield {"report": {**made._to_json(), "$report_type": "TestReport"}}


def outcomes(tmp_path: Path, *routers: list[list[object]]) -> tuple[int, list[tuple[str, str]]]:
    """pytest's exit status over three scenarios, and what became of each."""
    (tmp_path / "test_it.py").write_text(SCENARIOS)
    (tmp_path / "pytest.ini").write_text("")
    machines = [Script(tmp_path / "cache" / str(n), boots) for n, boots in enumerate(routers)]
    pool = Pool(cast(list[UserModeLinux], machines), [])
    seen: list[tuple[str, str]] = []

    class Listener:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.when == "call":
                seen.append((report.nodeid, f"{report.outcome} {report.longrepr or ''}".strip()))

    # Each test_it.py is a module of its own.
    options = ["-q", "--import-mode=importlib", "-pno:cacheprovider", "-pno:hypothesispytest"]
    arguments = [*options, "-c", str(tmp_path / "pytest.ini"), str(tmp_path)]
    return pytest.main(arguments, [pool, Listener()]), sorted(seen)


def test_what_the_routers_report_is_the_result(tmp_path: Path) -> None:
    first: list[object] = [*reports(IDS[0]), *reports(IDS[2], "failed")]
    status, seen = outcomes(tmp_path, [first], [list(reports(IDS[1]))])
    assert status == pytest.ExitCode.TESTS_FAILED
    assert seen == [(IDS[0], "passed"), (IDS[1], "passed"), (IDS[2], "failed it is so")]


def test_all_is_well_when_all_passed(tmp_path: Path) -> None:
    status, seen = outcomes(tmp_path, [[told for nodeid in IDS for told in reports(nodeid)]])
    assert status == pytest.ExitCode.OK
    assert len(seen) == 3


def test_who_kills_its_router_has_failed_and_the_others_go_on(tmp_path: Path) -> None:
    console = tmp_path / "console"
    console.touch()
    boots: list[list[object]] = [
        [*reports(IDS[0]), {"started": IDS[1]}, MachineDiedError("of it", console)],
        list(reports(IDS[2])),
    ]
    status, seen = outcomes(tmp_path, boots)
    assert status == pytest.ExitCode.TESTS_FAILED
    assert [nodeid for nodeid, what in seen if what == "passed"] == [IDS[0], IDS[2]]
    assert "died of it" in seen[1][1]


def test_who_hangs_is_not_tried_again(tmp_path: Path) -> None:
    boot: list[object] = [{"started": IDS[0]}, MachineTimeoutError("still running")]
    status, seen = outcomes(tmp_path, [boot])
    assert status == pytest.ExitCode.TESTS_FAILED
    assert [what.endswith("still running") for _, what in seen] == [True, True, True]


def test_what_no_router_ran_has_failed(tmp_path: Path) -> None:
    status, seen = outcomes(tmp_path, [[LabError("does not boot")]], [list(reports(IDS[0]))])
    assert status == pytest.ExitCode.TESTS_FAILED
    assert [nodeid for nodeid, what in seen if what.startswith("failed")] == IDS[1:]


def _machine(program: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, start_new_session=True
    )


def test_what_a_machine_writes_is_handed_on_to_its_end() -> None:
    process = _machine("print('x' * 100000)")
    assert process.stdout
    written: list[bytes] = []
    with process.stdout, ended(process):
        hand_on({process.stdout.fileno(): written.append}, process, 60, threading.Event())
    assert len(b"".join(written)) == 100001


@pytest.mark.parametrize(
    ("limit", "told", "error"), [(0, False, MachineTimeoutError), (60, True, MachineStoppedError)]
)
def test_a_machine_that_goes_on_is_ended(limit: float, told: bool, error: type[LabError]) -> None:
    process = _machine("import time; time.sleep(600)")
    assert process.stdout
    stop = threading.Event()
    if told:
        stop.set()
    begin = time.monotonic()
    with process.stdout, pytest.raises(error), ended(process):
        hand_on({process.stdout.fileno(): print}, process, limit, stop)
    assert process.returncode < 0
    assert time.monotonic() - begin < 60
