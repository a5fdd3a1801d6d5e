# SPDX-License-Identifier: GPL-2.0-or-later
"""The user's script, run for real."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from flowguard.actuators.hook import FAULTS_WAITING_LIMIT, LIMIT_SECONDS, Hook
from flowguard.core.model import Attribution, Decision, Fault, FaultClass, Level
from flowguard.kernel.files import LinuxFiles
from flowguard.kernel.programs import LinuxPrograms
from tests.ubus.test_connection import until

ROOT = Path(__file__).parents[2]
STEP = Decision(7.5, "wan", Level.HARDWARE, Level.SOFTWARE, "driver fault", "e-value 'x' 20\n")
FAULT = Fault(
    "netdev-watchdog",
    FaultClass.TX_TIMEOUT,
    Attribution.DRIVER,
    None,
    "mtk_soc_eth",
    "a\0b \udc80 $(touch /tmp/never) `x`",
)


@pytest.fixture(autouse=True)
def every_message(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def hook_of(path: str, limit: float = LIMIT_SECONDS) -> Hook:
    return Hook(LinuxFiles(), LinuxPrograms(), path, limit)


def running(hook: Hook, use: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        task = asyncio.create_task(hook.run(lambda: None))
        async with asyncio.timeout(20):
            await use()
        task.cancel()
        await asyncio.wait([task], timeout=20)
        assert task.cancelled()

    asyncio.run(run())


def script(folder: Path, text: str) -> str:
    path = folder / "flowguard.user"
    path.write_text(text)
    return str(path)


def told(folder: Path, tell: Callable[[Hook], None], calls: int = 1) -> list[dict[str, str]]:
    """The environments of the calls that follow from `tell`."""
    out = folder / "out"
    path = script(folder, f"env -0 >>{out}; echo >>{out}; echo done >>{folder}/done")
    hook = hook_of(path)
    done = folder / "done"

    async def use() -> None:
        tell(hook)
        await until(lambda: done.exists() and len(done.read_text().split()) == calls)

    running(hook, use)
    environments = out.read_text(errors="surrogateescape").split("\0\n")[:-1]
    return [dict(p.split("=", 1) for p in e.split("\0")) for e in environments]


def test_a_step_is_told_in_a_clean_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "x")
    (environment,) = told(tmp_path, lambda hook: hook.moved(STEP))
    for name in ("PWD", "SHLVL", "_", "OLDPWD"):  # The shell's own.
        environment.pop(name, None)
    assert environment == {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "ACTION": "level",
        "DEVICE": "wan",
        "FROM": "hardware",
        "TO": "software",
        "REASON": "driver fault",
        "EVIDENCE": "e-value 'x' 20\n",
    }


def test_a_fault_is_told_whatever_its_text_and_nothing_of_it_is_executed(tmp_path: Path) -> None:
    (environment,) = told(tmp_path, lambda hook: hook.fault_seen(FAULT))
    assert environment["ACTION"] == "fault"
    assert environment["DEVICE"] == ""
    assert environment["DRIVER"] == "mtk_soc_eth"
    assert environment["LINE"] == "a\\x00b \\udc80 $(touch /tmp/never) `x`"


def test_what_needs_a_power_cycle_is_told(tmp_path: Path) -> None:
    (environment,) = told(tmp_path, lambda hook: hook.power_cycle_needed("wan", "reset failed"))
    assert environment["ACTION"] == "power_cycle"
    assert (environment["DEVICE"], environment["EVIDENCE"]) == ("wan", "reset failed")


def test_the_order_is_kept(tmp_path: Path) -> None:
    def tell(hook: Hook) -> None:
        hook.fault_seen(FAULT)
        hook.moved(STEP)

    assert [e["ACTION"] for e in told(tmp_path, tell, calls=2)] == ["fault", "level"]


def test_faults_in_storms_leave_room_for_a_step_and_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def tell(hook: Hook) -> None:
        for _ in range(FAULTS_WAITING_LIMIT + 5):
            hook.fault_seen(FAULT)
        hook.moved(STEP)

    calls = told(tmp_path, tell, calls=FAULTS_WAITING_LIMIT + 1)
    assert [e["ACTION"] for e in calls] == ["fault"] * FAULTS_WAITING_LIMIT + ["level"]


def test_what_was_left_out_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hook = hook_of(script(tmp_path, "true"))

    async def use() -> None:
        for _ in range(FAULTS_WAITING_LIMIT + 5):
            hook.fault_seen(FAULT)
        await until(lambda: "5 calls were left out" in caplog.text)

    running(hook, use)


def test_output_and_failure_go_to_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hook = hook_of(script(tmp_path, "echo out; echo err >&2; yes | head -c 100000; exit 3"))

    async def use() -> None:
        hook.moved(STEP)
        await until(lambda: "ended with status 3" in caplog.text)

    running(hook, use)
    assert f"{tmp_path}/flowguard.user: out" in caplog.text
    assert f"{tmp_path}/flowguard.user: err" in caplog.text
    assert len(caplog.text) < 1_000_000
    assert sum(record.getMessage().endswith(": y") for record in caplog.records) < 2100


def test_one_that_hangs_is_killed_with_all_it_started_and_the_next_call_runs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = f"""
        trap '' TERM
        [ "$ACTION" = fault ] && {{ echo next >{tmp_path}/next; exit; }}
        sleep 1000 & echo $! >{tmp_path}/child.new; mv {tmp_path}/child.new {tmp_path}/child
        wait
        """
    hook = hook_of(script(tmp_path, text), limit=2)

    async def use() -> None:
        hook.moved(STEP)
        hook.fault_seen(FAULT)
        await until((tmp_path / "next").exists)
        child = int((tmp_path / "child").read_text())
        await until(lambda: not alive(child))

    running(hook, use)
    assert "ran for more than 2 s and is killed" in caplog.text


def test_what_a_script_leaves_in_the_background_holds_up_nothing(tmp_path: Path) -> None:
    text = f'sleep 1000 & echo $! >{tmp_path}/child; echo "$ACTION" >{tmp_path}/$ACTION'
    hook = hook_of(script(tmp_path, text), limit=15)

    async def use() -> None:
        hook.moved(STEP)
        hook.fault_seen(FAULT)
        await until((tmp_path / "fault").exists)

    running(hook, use)
    os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)


def test_the_end_of_the_daemon_ends_the_script(tmp_path: Path) -> None:
    hook = hook_of(
        script(tmp_path, f"echo $$ >{tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid\nsleep 1000")
    )

    async def use() -> None:
        hook.moved(STEP)
        await until((tmp_path / "pid").exists)

    running(hook, use)
    assert not alive(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("turns", [*range(0, 40, 2), *range(40, 4000, 200)])
def test_the_end_of_the_daemon_is_heard_at_any_moment(tmp_path: Path, turns: int) -> None:
    hook = hook_of(script(tmp_path, "true"))

    async def use() -> None:
        hook.moved(STEP)
        for _ in range(turns):
            await asyncio.sleep(0)

    running(hook, use)


def test_without_a_script_nothing_happens(tmp_path: Path) -> None:
    hook = hook_of(str(tmp_path / "none"))
    hook.moved(STEP)

    async def use() -> None:
        pass

    running(hook, use)
    assert not list(tmp_path.iterdir())


def test_the_script_that_is_installed_does_nothing_and_names_what_it_is_told(
    tmp_path: Path,
) -> None:
    shipped = ROOT / "config" / "flowguard.user"
    lines = shipped.read_text().splitlines()
    assert all(line.startswith("#") or not line for line in lines)
    for tell in (lambda hook: hook.moved(STEP), lambda hook: hook.fault_seen(FAULT)):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        (environment,) = told(folder, tell)
        for name in set(environment) - {"PATH", "HOME", "PWD", "SHLVL", "_", "OLDPWD"}:
            assert f"{name}" in shipped.read_text()


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
