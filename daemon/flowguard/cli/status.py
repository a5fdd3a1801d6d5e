# SPDX-License-Identifier: GPL-2.0-or-later
"""`flowguard status`: what a person wants to see first."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

from flowguard.cli.common import ExitCode, add_socket, ask, size
from flowguard.core.model import Level

DECISIONS_SHOWN = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="the whole status as one object")
    add_socket(parser)


def run(options: argparse.Namespace) -> ExitCode:
    def show(answer: dict[str, Any]) -> ExitCode:
        if options.json:
            print(json.dumps(answer, indent=1))
        else:
            print("\n".join([*describe(answer), _load()]))
        return ExitCode.FINE

    return ask(options, "status", {}, show)


def _load() -> str:
    # Measured here and not in the daemon, whose memory psutil would make larger for good.
    from flowguard.platform.load import measure

    load = measure()
    cores = "   ".join(
        f"{busy:.0f}% ({softirq:.0f}% packets)"
        for busy, softirq in zip(load.busy, load.softirq, strict=True)
    )
    return f"load      {cores}   {load.memory_available / 2**20:.0f} MB free"


def describe(status: dict[str, Any]) -> Iterator[str]:
    """The status as lines of text."""
    yield f"level     {status['level']} (wanted {status['wanted']}), {status['state']}"
    yield f"reason    {status['reason']}"
    flows = status["flows"]
    if flows["hardware"] is not None:
        refused = f", {flows['refused']} refused by the driver" if flows["refused"] else ""
        yield (
            f"flows     {flows['hardware']} hardware, {flows['software']} software,"
            f" {flows['none']} not offloaded{refused}"
        )
    yield from _bytes(status["bytes"])
    yield from _control(status["control"], status["time"])
    yield from _boot(status["boot"])
    yield from _drain(status["drain"])
    yield from _devices(status)
    for name, health in status["sensors"].items():
        if health != "ok":
            yield f"sensor    {name}: {health}"
    yield from (f"problem   {problem}" for problem in status["problems"])
    yield from _decisions(status["decisions"][-DECISIONS_SHOWN:])


def _bytes(counted: dict[str, dict[str, Any]] | None) -> Iterator[str]:
    """Which part of the last minute's bytes went by hardware."""
    rates = {path: found["rate"] for path, found in (counted or {}).items()}
    if not rates or None in rates.values():
        return
    if not (rate := sum(rates.values())):
        yield "bytes     none in the last minute"
        return
    hardware, software = (100 * rates[path] / rate for path in ("hardware", "software"))
    yield (
        f"bytes     {hardware:.0f} % of the bytes of the last minute went by hardware,"
        f" {software:.0f} % by software; {size(rate)} a second"
    )


def _control(control: dict[str, Any], now: float) -> Iterator[str]:
    """Both arms and how far the evidence is."""
    if not control["share"]:
        return
    treated, compared = control["treated"], control["control"]
    line = (
        f"arms      treated {treated['failed']} of {treated['n']} failed,"
        f" control {compared['failed']} of {compared['n']};"
        f" e-value {control['e_value']:.3g} (acts at {control['acts_at']:.0e})"
    )
    if canary := control["canary"]:
        line += f", canary: 1 in {canary['share']} flows tries hardware"
    elif control["suspicious"]:
        line += f", suspicious: 1 in {control['share']} in the control arm"
    yield line
    if control["share_broken"]:
        yield "arms      not kept apart: another program takes flows of the control arm"
    if control["muted_until"] is not None:
        wait = control["muted_until"] - now
        yield f"arms      exonerated {control['exonerations']} times: not judged for {wait:.0f} s"
    if trial := control["trial"]:
        yield (
            f"trial     {trial['revived']} of {trial['stalled'] or 0} stalled connections"
            f" are answered again, {trial['trying']} try in vain"
        )


def _boot(boot: dict[str, Any]) -> Iterator[str]:
    """How the boot before ended, when there is something to tell about it."""
    if boot["unplanned"]:
        yield f"boot      number {boot['count']}, after an unplanned reboot: {boot['evidence']}"
    elif boot["evidence"]:
        yield f"boot      number {boot['count']}: {boot['evidence']}"
    if boot["looping"]:
        yield f"boot      {boot['short_boots']} short boots in a row: nothing is offloaded"


def _drain(drain: dict[str, Any] | None) -> Iterator[str]:
    if drain:
        yield from (f"draining  {flow}" for flow in drain["tuples"])


def _devices(status: dict[str, Any]) -> Iterator[str]:
    for device in status["devices"]:
        line = f"device    {device['name']:<10} {device['driver'] or '-':<14} {_level(device)}"
        if device["needs_power_cycle"]:
            line += ", needs a power cycle"
        elif device["held_until_reboot"]:
            line += ", held until the next boot"
        if device["held_off_until"] is not None:
            line += f", held off for {max(0, device['held_off_until'] - status['time']):.0f} s"
        yield f"{line}  ({device['reason']})" if device["reason"] else line
    yield from (f"device    {name:<10} missing" for name in status["missing_devices"])
    yield from (f"left out  {left['name']:<10} {left['reason']}" for left in status["left_out"])


def _level(device: dict[str, Any]) -> str:
    """What the kernel was seen to hold, and what the policy allows when that is another."""
    level, allowed = Level(device["level"]), Level(device["allowed"])
    if level.rank < allowed.rank:
        return f"{level}, though {allowed} is allowed"
    return f"{level}, though only {allowed} is allowed" if level.rank > allowed.rank else level


def _decisions(decisions: list[dict[str, Any]]) -> Iterator[str]:
    for decision in decisions:
        yield (
            f"decision  {decision['at']} {decision['device']}:"
            f" {decision['from']} -> {decision['to']}: {decision['reason']}"
        )
        if decision["evidence"]:
            yield f"          {decision['evidence']}"
