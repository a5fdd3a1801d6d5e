# SPDX-License-Identifier: GPL-2.0-or-later
"""Why a connection is not on the level that is wanted; `reasons` finds which it is."""

from __future__ import annotations

from enum import StrEnum


class Why(StrEnum):
    OTHER_PROTOCOL = "other_protocol"
    NOT_FORWARDED = "not_forwarded"
    SWITCHED_OFF = "switched_off"
    EXCLUDED = "excluded"
    CONTROL_ARM = "control_arm"
    NOT_BEHIND_PORT = "not_behind_port"
    TUNNEL = "tunnel"
    OUTSIDE = "outside"
    NO_ENGINE = "no_engine"
    HELD_OFF = "held_off"
    NOT_NOW = "not_now"
    HELPER = "helper"
    NOT_COUNTED = "not_counted"
    TOO_FEW_PACKETS = "too_few_packets"
    CLOSING = "closing"
    REFUSED = "refused"
    IDLE = "idle"
