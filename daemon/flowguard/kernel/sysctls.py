# SPDX-License-Identifier: GPL-2.0-or-later
"""Numbers below /proc/sys."""

from __future__ import annotations

import os

PROC = "/proc/sys/net/netfilter"


def min_packets_problem(min_packets: int, proc: str = PROC) -> str | None:
    """Why a minimum of packets would keep every flow from being offloaded, in one line.

    The kernel switches counting on when such a rule is made (nft_ct_get_init in
    net/netfilter/nft_ct.c); it is off only when something switched it off afterwards.
    """
    path = os.path.join(proc, "nf_conntrack_acct")
    if not min_packets:
        return None
    try:
        with open(path) as file:
            counting = file.read().strip() != "0"
    except OSError as error:
        return f"min_packets needs {path}: {error.strerror}"
    if counting:
        return None
    return (
        "min_packets needs net.netfilter.nf_conntrack_acct=1: "
        "without it no new flow is ever offloaded"
    )


class LinuxSysctls:
    """See `kernel.machine.Sysctls`."""

    def __init__(self, proc: str = "/proc/sys") -> None:
        self._proc = proc

    def get(self, name: str) -> int | None:
        try:
            with open(os.path.join(self._proc, name), encoding="ascii") as file:
                return int(file.read())
        except FileNotFoundError:
            return None

    def set(self, name: str, value: int) -> None:
        with open(os.path.join(self._proc, name), "w", encoding="ascii") as file:
            file.write(f"{value}\n")
