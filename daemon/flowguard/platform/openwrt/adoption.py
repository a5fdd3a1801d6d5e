# SPDX-License-Identifier: GPL-2.0-or-later
"""Takes flow offloading over from OpenWrt's firewall (fw4), and gives it back."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable

from flowguard.kernel.files import replace_file
from flowguard.platform.configuration.kinds import FIREWALL_TRUE_WORDS

OPTIONS = ("flow_offloading", "flow_offloading_hw")
_CHANGED = json.dumps({"type": "config.change", "data": {"package": "firewall"}})


class AdoptionError(Exception):
    """It could not be done, or the firewall not be told. The text says why and what to do."""


class Adoption:
    """What was switched off is remembered in the state directory until it is given back.

    Works through the programs `uci` and `ubus`. Doing the same twice changes nothing more.
    """

    def __init__(self, state_directory: str, drain: Callable[[], None] = lambda: None) -> None:
        """`drain` empties the firewall's hardware before it is switched off; it raises nothing."""
        self._path = os.path.join(state_directory, "adopted.json")
        self._drain = drain

    def adopt(self) -> tuple[str, ...]:
        """Switch the firewall's options off; returns those that were on."""
        _refuse_unreadable()
        found = {option: _get(option) for option in OPTIONS}
        former = {option: value for option, value in found.items() if value in FIREWALL_TRUE_WORDS}
        if former:
            _refuse_staged_changes()
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            # First, or a power cut in between would forget what there is to give back.
            remembered = json.dumps(self._remembered() | former)
            replace_file(self._path, remembered, durable=True)
            self._drain()
            _set(dict.fromkeys(former, "0"))
        return tuple(former)

    def undo(self) -> tuple[str, ...]:
        """Switch on again what `adopt` switched off and nobody has set since."""
        remembered = self._remembered()
        if remembered:
            _refuse_unreadable()
        restored = {option: v for option, v in remembered.items() if _get(option) == "0"}
        if restored:
            _refuse_staged_changes()
            _set(restored)
        if os.path.exists(self._path):
            os.unlink(self._path)
        return tuple(restored)

    def _remembered(self) -> dict[str, str]:
        try:
            with open(self._path, encoding="utf-8") as file:
                found = json.load(file)
            return {option: str(found[option]) for option in OPTIONS if option in found}
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError):
            raise AdoptionError(f"{self._path} is damaged: remove it") from None


def _get(option: str) -> str:
    """The value of one of the firewall's defaults; "" when it is not set."""
    return _run("uci", "-q", "get", f"firewall.@defaults[0].{option}", may_fail=True)


def _set(values: dict[str, str]) -> None:
    for option, value in values.items():
        _run("uci", "set", f"firewall.@defaults[0].{option}={value}")
    _run("uci", "commit", "firewall")
    try:
        # As after a change in LuCI: procd has the firewall read it, and flowguard look again.
        _run("ubus", "call", "service", "event", _CHANGED)
    except AdoptionError as error:
        raise AdoptionError(
            f"{error}; it is switched in the configuration, but the firewall does not know: "
            "service firewall reload"
        ) from None


def _refuse_unreadable() -> None:
    """`uci get` does not tell an option that is not set from a file that is damaged."""
    _run("uci", "show", "firewall")


def _refuse_staged_changes() -> None:
    """Committing would make them effective as well."""
    if _run("uci", "-q", "changes", "firewall", may_fail=True):
        raise AdoptionError(
            "the firewall has changes that are not committed: "
            "uci commit firewall, or uci revert firewall"
        )


def _run(*command: str, may_fail: bool = False) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise AdoptionError(f"{command[0]}: {error.strerror}; is this OpenWrt?") from None
    if done.returncode and not may_fail:
        raise AdoptionError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
    return done.stdout.strip()
