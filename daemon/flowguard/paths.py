# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the daemon keeps its files."""

from __future__ import annotations

import os

from flowguard.core.records import frozen


@frozen
class Paths:
    """`configuration` None is the one that counts; ubusd listens at one of `ubus`, if at all."""

    configuration: str | None
    state_directory: str
    socket: str
    ubus: tuple[str, ...] = ()

    @property
    def runtime_directory(self) -> str:
        return os.path.dirname(self.socket)
