# SPDX-License-Identifier: GPL-2.0-or-later
"""What each kernel of the lab is built with: kernel.config, but for what a kernel has not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

CONFIG = Path(__file__).with_name("kernel.config")


@dataclass(frozen=True, slots=True)
class Difference:
    """Symbols of kernel.config that a kernel `lacks`, and the lines that stand for them there."""

    lacks: frozenset[str]
    instead: tuple[str, ...] = ()


DIFFERENCES: Mapping[str, Difference] = {
    "7.3": Difference(lacks=frozenset({"CONFIG_PROC_SYSCTL"}), instead=("CONFIG_SYSCTL=y",)),
}
"""By kernel, where it is not the lab's default one."""


def configuration(version: str) -> str:
    """The configuration of that kernel, for KCONFIG_ALLCONFIG."""
    text = CONFIG.read_text()
    difference = DIFFERENCES.get(version)
    if difference is None:
        return text
    lines = text.splitlines()
    kept = [line for line in lines if line.partition("=")[0] not in difference.lacks]
    return "\n".join((*kept, *difference.instead, ""))
