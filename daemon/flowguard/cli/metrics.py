# SPDX-License-Identifier: GPL-2.0-or-later
"""`flowguard metrics`: the status in Prometheus's text format, for node_exporter's textfiles.

On OpenWrt the two exporters have collectors of their own, which say the same (tests compare
them): openwrt-package/flowguard/files/metrics.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flowguard.cli.common import ExitCode, add_socket, ask
from flowguard.core.model import Level
from flowguard.core.state import Phase

Status = dict[str, Any]
Labels = Mapping[str, str]
Sample = tuple[Labels, float]
Metric = tuple[str, str, Sequence[Sample]]

PATHS = ("hardware", "software", "none", "refused")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_socket(parser)


def run(options: argparse.Namespace) -> ExitCode:
    def show(answer: Status) -> ExitCode:
        print("\n".join(describe(answer)))
        return ExitCode.FINE

    return ask(options, "status", {}, show)


def describe(status: Status) -> Iterator[str]:
    """The lines; all metrics are gauges."""
    for name, meaning, samples in (*_overall(status), *_devices(status), *_evidence(status)):
        yield f"# HELP flowguard_{name} {meaning}"
        yield f"# TYPE flowguard_{name} gauge"
        for labels, value in samples:
            yield f"flowguard_{name}{_labelled(labels)} {value:.14g}"


def _overall(status: Status) -> Iterator[Metric]:
    about = {"version": status["version"], "kernel": status["boot"]["kernel"] or ""}
    yield "info", "version of flowguard, and the kernel", [(about, 1)]
    level, wanted = Level(status["level"]).rank, Level(status["wanted"]).rank
    yield "level", "highest level reached: 0 none, 1 software, 2 hardware", [({}, level)]
    yield "wanted_level", "highest level wanted", [({}, wanted)]
    states = [({"state": state}, float(status["state"] == state)) for state in Phase]
    yield "state", "1 for what it is doing", states
    yield "suspended", "1 while somebody has suspended it", [({}, float(status["suspended"]))]
    yield "problems", "things that are wrong just now", [({}, len(status["problems"]))]
    counted = {path: status["flows"][path] for path in PATHS}
    flows = [({"path": path}, n) for path, n in counted.items() if n is not None]
    yield "flows", "connections by path; refused: wanted in hardware, but not taken", flows
    sensors = [({"sensor": name}, float(said == "ok")) for name, said in status["sensors"].items()]
    yield "sensor_up", "1 while the sensor sees", sensors


def _devices(status: Status) -> Iterator[Metric]:
    devices = [({"device": d["name"], "driver": d["driver"] or ""}, d) for d in status["devices"]]
    reached = [(labels, Level(device["level"]).rank) for labels, device in devices]
    yield "device_level", "level reached: 0 none, 1 software, 2 hardware", reached
    allowed = [(labels, Level(device["allowed"]).rank) for labels, device in devices]
    yield "device_allowed_level", "highest level that it may have now", allowed
    strikes = [(labels, device["strikes"]) for labels, device in devices]
    yield "device_strikes", "faults that are remembered against it", strikes
    waits = [(labels, _wait(status, device)) for labels, device in devices]
    yield "device_held_off_seconds", "until it is tried again", waits


def _evidence(status: Status) -> Iterator[Metric]:
    control = status["control"]
    yield "evidence", "e-value of a fault of the offloading", [({}, control["e_value"])]
    yield "evidence_needed", "e-value that is acted on", [({}, control["acts_at"])]
    outcomes = [
        ({"arm": arm, "outcome": outcome}, number)
        for arm in ("treated", "control")
        for outcome, number in (
            ("ok", control[arm]["n"] - control[arm]["failed"]),
            ("failed", control[arm]["failed"]),
        )
    ]
    yield "arm_connections", "connections judged by the present comparison", outcomes
    unplanned = float(status["boot"]["unplanned"])
    yield "boot_unplanned", "1 after a reboot that nobody planned", [({}, unplanned)]


def _wait(status: Status, device: Status) -> float:
    until = device["held_off_until"]
    return 0 if until is None else max(0, until - status["time"])


def _labelled(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items()) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
