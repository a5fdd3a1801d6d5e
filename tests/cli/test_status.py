# SPDX-License-Identifier: GPL-2.0-or-later
"""The status as a person reads it."""

from __future__ import annotations

from typing import Any

from flowguard.cli.status import describe


def status(**changes: Any) -> dict[str, Any]:
    device = {
        "name": "wan",
        "driver": "mtk_soc_eth",
        "level": "software",
        "allowed": "software",
        "hardware_capable": True,
        "held_off_until": 1600.0,
        "held_until_reboot": False,
        "needs_power_cycle": False,
        "strikes": 1,
        "reason": "held off: driver fault tx-timeout",
    }
    decision = {
        "time": 1000.0,
        "at": "2026-01-01 00:00:00",
        "device": "wan",
        "from": "hardware",
        "to": "software",
        "reason": "held off: driver fault tx-timeout",
        "evidence": "wan: NETDEV WATCHDOG: transmit queue 0 timed out",
    }
    return {
        "level": "software",
        "wanted": "hardware",
        "state": "held_off",
        "reason": "wan: held off",
        "devices": [device],
        "missing_devices": [],
        "left_out": [],
        "flows": {"hardware": 0, "software": 7, "none": 2, "refused": 0},
        "bytes": None,
        "control": control(),
        "drain": None,
        "boot": {
            "count": 7,
            "unplanned": False,
            "evidence": "",
            "looping": False,
            "short_boots": 0,
        },
        "decisions": [decision],
        "sensors": {"kmsg": "ok"},
        "problems": [],
        "time": 1017.0,
        **changes,
    }


def control(**changes: Any) -> dict[str, Any]:
    return {
        "share": 16,
        "e_value": 0.5,
        "acts_at": 1e6,
        "treated": {"n": 45, "failed": 3},
        "control": {"n": 4, "failed": 0},
        "suspicious": False,
        "share_broken": False,
        "muted_until": None,
        "exonerations": 0,
        "trial": None,
        "canary": None,
        **changes,
    }


def text(**changes: Any) -> str:
    return "\n".join(describe(status(**changes)))


def test_level_reason_and_the_remaining_hold_off_are_there() -> None:
    shown = text()
    assert "software (wanted hardware), held_off" in shown
    assert "held off for 583 s" in shown


def test_what_the_kernel_holds_and_what_is_allowed_are_two_things() -> None:
    (device,) = status()["devices"]
    assert "though" not in text()
    raised = text(devices=[{**device, "allowed": "hardware"}])
    assert "software, though hardware is allowed, held off for 583 s" in raised
    lowered = text(devices=[{**device, "level": "hardware"}])
    assert "hardware, though only software is allowed" in lowered


def test_what_needs_a_power_cycle_says_so_and_nothing_of_waiting() -> None:
    (device,) = status()["devices"]
    held = {**device, "held_off_until": None, "held_until_reboot": True}
    assert "held until the next boot" in text(devices=[held])
    shown = text(devices=[{**held, "needs_power_cycle": True}])
    assert "needs a power cycle" in shown
    assert "next boot" not in shown


def test_a_decision_comes_with_its_evidence() -> None:
    assert "wan: hardware -> software" in text()
    assert "NETDEV WATCHDOG" in text()


def test_only_what_is_wrong_with_sensors_is_shown() -> None:
    assert "kmsg" not in text()
    assert "kmsg: not available" in text(sensors={"kmsg": "not available: no such file"})


def test_a_drain_names_the_flows_that_are_left() -> None:
    drain = {"flows": 1, "engine_entries": 2, "tuples": ["tcp a:1 -> b:2"], "overdue": True}
    assert "tcp a:1 -> b:2" in text(drain=drain)


def test_refusals_missing_devices_and_problems_are_shown() -> None:
    flows = {"hardware": 1, "software": 7, "none": 0, "refused": 3}
    shown = text(flows=flows, missing_devices=["lan9"], problems=["file:3: no such option"])
    assert "3 refused by the driver" in shown
    assert "lan9" in shown and "missing" in shown
    assert "file:3: no such option" in shown


def test_both_arms_and_the_evidence_are_there() -> None:
    assert "treated 3 of 45 failed, control 0 of 4; e-value 0.5 (acts at 1e+06)" in text()
    assert "arms" not in text(control=control(share=0))
    assert "1 in 2 in the control arm" in text(control=control(suspicious=True, share=2))
    assert "not judged for 83 s" in text(control=control(muted_until=1100.0, exonerations=1))
    trial = {"stalled": 7, "revived": 5, "trying": 1}
    assert "5 of 7 stalled connections are answered again" in text(control=control(trial=trial))


def test_how_the_boot_before_ended_is_told() -> None:
    boot = {**status()["boot"], "unplanned": True, "evidence": "Oops in mtk_ppe"}
    assert "number 7, after an unplanned reboot: Oops in mtk_ppe" in text(boot=boot)
    assert "boot" not in text()
    loop = {**status()["boot"], "looping": True, "short_boots": 3}
    assert "3 short boots in a row: nothing is offloaded" in text(boot=loop)


def test_a_canary_is_told() -> None:
    assert "canary: 1 in 16 flows" in text(control=control(canary={"share": 16}))


def rates(hardware: float, software: float, none: float) -> dict[str, Any]:
    paths = {"hardware": hardware, "software": software, "none": none}
    return {path: {"total": 10**9, "rate": rate} for path, rate in paths.items()}


def test_the_part_of_the_bytes_that_hardware_carries() -> None:
    (line,) = [t for t in describe(status(bytes=rates(9300, 500, 200))) if t.startswith("bytes")]
    assert "93 % of the bytes of the last minute went by hardware, 5 % by software" in line
    assert line.endswith("10 kB a second")
    (line,) = [t for t in describe(status(bytes=rates(0, 0, 0))) if t.startswith("bytes")]
    assert line.endswith("none in the last minute")


def test_bytes_that_nobody_has_counted_have_no_line() -> None:
    unknown = {path: {"total": 0, "rate": None} for path in ("hardware", "software", "none")}
    assert not any(t.startswith("bytes") for t in describe(status(bytes=unknown)))
    assert not any(t.startswith("bytes") for t in describe(status(bytes=None)))
