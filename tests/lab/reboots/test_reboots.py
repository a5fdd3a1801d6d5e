# SPDX-License-Identifier: GPL-2.0-or-later
"""The router goes down, and flowguard knows what to think of it after the next boot.

Each scenario is the life of one router over several boots, because boots are dear.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.lab.kernel import SUITES
from tests.lab.reboots.hardware import Board, Boot

# Hardware at once; and a probation of ten times a delay that is over when flowguard starts.
AT_ONCE = "boot_delay '0'\nhold_off '3600'\ncontrol_share '0'"
SOON = "boot_delay '20'\nhold_off '3600'\ncontrol_share '0'"
# A boot that has lived so long is none of a boot loop, and past any wait of these options.
LONG = 1000
PANIC_ON_OOPS = "/proc/sys/kernel/panic_on_oops"


def on_hardware(status: dict[str, Any]) -> bool:
    return levels(status) == {"hardware"} and status["drain"] is None


def levels(status: dict[str, Any]) -> set[str]:
    return {device["level"] for device in status["devices"]}


def strikes(status: dict[str, Any]) -> int:
    return max(int(device["strikes"]) for device in status["devices"])


def start_on_hardware(boot: Boot, options: str = AT_ONCE, ahead: int = 0) -> None:
    """flowguard with connections that the engine forwards."""
    boot.ask("start", options=options, ahead=ahead)
    boot.wait_for_status(on_hardware, "hardware")
    boot.ask("connect", count=3)
    boot.wait_for_status(lambda s: s["hardware_flows"] > 0, "flows in hardware")


def crash_in_the_driver(boot: Boot, fault: str) -> None:
    """The driver is called again, by the next connection at the latest, and that is the end."""
    boot.tell("fault", name=fault, value=1)
    boot.tell("connect", count=3)
    boot.wait_for_end()


def assert_forwarding(boot: Boot) -> None:
    boot.ask("connect", count=3)
    boot.ask("wait_until_flowing")


def assert_held_off(status: dict[str, Any], reason: str, times: int = 1) -> None:
    assert status["boot"]["unplanned"], status["boot"]
    assert reason in status["boot"]["evidence"]
    assert strikes(status) == times
    assert "hardware" not in levels(status)
    assert status["sensors"]["store"] == "ok"


def test_a_panic_in_the_offload_path_and_a_new_kernel(board: Board, kernel: str) -> None:
    former = next(version for version in SUITES if version != kernel)
    with board.boot(former) as boot:
        start_on_hardware(boot)
        crash_in_the_driver(boot, "panic_on_replace")
    with board.boot(former) as boot:
        boot.ask("start", options=AT_ONCE)
        assert_forwarding(boot)
        status = boot.status()
        assert_held_off(status, "offload fault")
        assert status["boot"]["sources"]["pstore"].startswith("ok, 1 ")
        boot.shut_down()
    with board.boot(kernel) as boot:
        start_on_hardware(boot)
        status = boot.status()
        assert strikes(status) == 0
        assert "kernel" in status["boot"]["evidence"]
        assert not status["boot"]["unplanned"]


def test_an_unrelated_panic_a_planned_reboot_a_watchdog_and_silent_resets(
    board: Board, kernel: str
) -> None:
    with board.boot(kernel) as boot:
        start_on_hardware(boot)
        boot.tell("write", path="/proc/sysrq-trigger", text="c")
        boot.wait_for_end()
    with board.boot(kernel) as boot:
        start_on_hardware(boot)
        status = boot.status()
        assert status["boot"]["unplanned"]
        assert "sysrq" in status["boot"]["evidence"]
        assert (strikes(status), status["boot"]["unexplained"]) == (0, 0)
        boot.shut_down()
    with board.boot(kernel) as boot:
        start_on_hardware(boot, SOON)
        seen = boot.status()["boot"]
        assert (seen["count"], seen["unplanned"], seen["evidence"]) == (3, False, "")
        boot.hang()
        status = boot.ask("start", options=SOON)
        assert status["boot"]["unplanned"]
        assert status["boot"]["unexplained"] == 1
        assert "no trace" in status["boot"]["evidence"]
        assert "the watchdog ended the boot" in status["boot"]["evidence"]
        assert levels(status) == {"software"}
        assert "200 s of uptime" in status["reason"]
        assert_forwarding(boot)
        boot.reset()
    with board.boot(kernel) as boot:
        start_on_hardware(boot, SOON, LONG)
        seen = boot.status()["boot"]
        # Software was on: that reset is nobody's, and the one before is not forgotten.
        assert (seen["unplanned"], seen["unexplained"], seen["short_boots"]) == (False, 1, 0)
        boot.reset()
    with board.boot(kernel) as boot:
        status = boot.ask("start", options=SOON, ahead=LONG)
        assert_held_off(status, "no trace")
        assert "watchdog" not in status["boot"]["evidence"]
        assert status["boot"]["unexplained"] == 2
        assert {device["strikes"] for device in status["devices"]} == {1}
        assert "2 unexplained reboots" in status["reason"]
        assert_forwarding(boot)


def test_an_oops_a_power_cut_while_saving_and_a_panic_in_the_trial(
    board: Board, kernel: str
) -> None:
    with board.boot(kernel) as boot:
        boot.ask("write", path=PANIC_ON_OOPS, text="1")
        start_on_hardware(boot)
        crash_in_the_driver(boot, "oops_on_replace")
    with board.boot(kernel) as boot:
        assert_held_off(boot.ask("start", options=AT_ONCE), "offload fault")
        boot.ask("save_all_the_time", first=20)
        boot.cut_power()
    with board.boot(kernel) as boot:
        status = boot.ask("start", options=AT_ONCE, ahead=LONG)
        assert status["sensors"]["store"] == "ok"
        assert status["boot"]["count"] == 3
        # Software was on: nobody is blamed, and what was known is still known.
        assert not status["boot"]["unplanned"]
        assert strikes(status) == 1
        # It was held off from the start, so nothing has been bound in this boot.
        boot.ask("fault", name="panic_on_bind", value=1)
        boot.tell("retry")
        boot.wait_for_end()
    with board.boot(kernel) as boot:
        assert_held_off(boot.ask("start", options=AT_ONCE, ahead=LONG), "fault", times=2)
        assert_forwarding(boot)


def test_a_boot_loop_without_a_trace_ends_at_the_third_boot(
    make_board: Callable[..., Board], kernel: str
) -> None:
    board = make_board(ramoops=False)
    for _ in range(2):
        with board.boot(kernel) as boot:
            boot.ask("fault", name="panic_on_bind", value=1)
            boot.tell("start", options=AT_ONCE)
            boot.wait_for_end()
    with board.boot(kernel) as boot:
        boot.ask("fault", name="panic_on_bind", value=1)
        boot.ask("start", options=AT_ONCE)
        assert_forwarding(boot)
        status = boot.status()
        assert status["boot"]["looping"]
        assert levels(status) == {"none"}
        assert "keeps rebooting" in status["reason"]
