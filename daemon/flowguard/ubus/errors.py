# SPDX-License-Identifier: GPL-2.0-or-later
"""What a request ends with when it fails."""

from __future__ import annotations

from flowguard.ubus.wire import Status


class UbusError(Exception):
    """A status other than OK; raised by a handler, it is what the caller gets.

    `status` is a Status, or a number that a later ubus may have given a meaning.
    """

    def __init__(self, status: int, text: str = "") -> None:
        name = f"status {status}"
        if status in Status.__members__.values():
            status = Status(status)
            name = status.name.lower().replace("_", " ")
        super().__init__(text or name)
        self.status = status
