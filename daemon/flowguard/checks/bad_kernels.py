# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels that are known to break offloading.

What a user feels is a warning or an error; what may crash a router once in a long while is a
note, or next to no kernel would be without a warning. Bounds are those of the stable releases
that brought bug and repair; OpenWrt repairs its own kernels by the day.
"""

from __future__ import annotations

import re

from flowguard.checks.finding import Grade
from flowguard.core.model import Level
from flowguard.core.records import frozen

Version = tuple[int, ...]
UPDATE = "update when there is an update"
ENGINES = frozenset({"mtk_soc_eth", "airoha_eth", "mlx5_core"})
"""Drivers that take flows into hardware (those that answer to TC_SETUP_FT)."""
MEDIATEK = frozenset({"mtk_soc_eth"})


@frozen
class BadKernel:
    """Kernels that are known to break offloading.

    An entry counts when the kernel's version is in one of `ranges` (the first that is bad, the
    first that is good) and, where they are given, one of `drivers` moves a port's packets and one
    of `modules` is loaded. OpenWrt repairs without a new version: its kernels that were built on
    the day `repaired` or later are good. `openwrt`: only its kernels are bad, by patches of its
    own. At the level `loses_at` connections are lost, whatever the drivers. `source` is where
    that is from.
    """

    code: str
    ranges: tuple[tuple[Version, Version], ...]
    sentence: str
    remedy: str
    source: str
    grade: Grade = Grade.WARNING
    drivers: frozenset[str] = frozenset()
    modules: frozenset[str] = frozenset()
    repaired: str = ""
    openwrt: bool = False
    loses_at: Level | None = None


@frozen
class ThisKernel:
    """What an entry is compared with; `built` is a day like 2026-06-03, empty if not known."""

    release: str
    built: str
    drivers: frozenset[str]
    modules: frozenset[str]
    openwrt: bool = False


def concerns(bad: BadKernel, kernel: ThisKernel) -> bool:
    """Whether the entry is about this kernel; where it cannot be known, it is."""
    release = version(kernel.release)
    is_repaired = kernel.openwrt and bad.repaired and kernel.built >= bad.repaired
    return (
        any(first <= release < good for first, good in bad.ranges)
        and (not bad.drivers or bool(bad.drivers & kernel.drivers))
        and (not bad.modules or bool(bad.modules & kernel.modules))
        and (kernel.openwrt or not bad.openwrt)
        and not is_repaired
    )


def version(text: str) -> Version:
    """The numbers that a kernel release begins with: (6, 12, 94) of 6.12.94+deb13-amd64."""
    match = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(number) for number in match[0].split(".")) if match else ()


def _commit(number: str) -> str:
    return f"https://git.kernel.org/torvalds/c/{number}"


BAD_KERNELS = (
    BadKernel(
        "kernel-xmit-neigh",
        (((6, 18, 45), (6, 18, 53)),),
        "connections in software are dropped",
        "update OpenWrt (repaired in September 2026)",
        "https://github.com/openwrt/openwrt/pull/24800",
        grade=Grade.ERROR,
        repaired="2026-09-08",
        openwrt=True,
        loses_at=Level.SOFTWARE,
    ),
    BadKernel(
        "kernel-timeouts",
        (((2, 6), (5, 15)),),
        "offloaded connections that are idle for two minutes die, in software too",
        "update to a kernel of 5.15 or later",
        "https://github.com/openwrt/openwrt/issues/10422",
    ),
    # The code came with 6.14 (03428ca5cee9); 6.12.113 has it together with its repair.
    BadKernel(
        "kernel-extend-timeout",
        (((6, 14), (6, 18, 39)), ((6, 19), (7, 1, 4))),
        "connection tracking forgets hardware flows after 300 s, and they break",
        "update the kernel, or set option level 'software'",
        _commit("53b3e60edb67"),
        drivers=ENGINES,
        repaired="2026-06-03",
    ),
    # The check that meets no device came with 6.11 (73cfd947dbdb).
    BadKernel(
        "kernel-mtk-gmac0",
        (((6, 11), (6, 12, 81)), ((6, 13), (6, 18, 22)), ((6, 19), (6, 19, 12))),
        "hardware offloading crashes the kernel where the SoC's first port is not in use",
        "update the kernel, or set option level 'software'",
        _commit("976ff48c2ac6"),
        drivers=MEDIATEK,
    ),
    # OpenWrt has that check in its 6.6, too; there it was met by L2TP.
    BadKernel(
        "kernel-mtk-gmac0",
        (((6, 6), (6, 7)),),
        "traffic through L2TP makes hardware offloading crash the kernel",
        "update to OpenWrt 25.12, or set option level 'software'",
        "https://github.com/openwrt/openwrt/issues/20869",
        drivers=MEDIATEK,
        modules=frozenset({"l2tp_ppp", "pppol2tp"}),
        openwrt=True,
    ),
    BadKernel(
        "kernel-hw-actions",
        (
            ((5, 5), (5, 15, 203)),
            ((5, 16), (6, 1, 168)),
            ((6, 2), (6, 6, 134)),
            ((6, 7), (6, 12, 81)),
            ((6, 13), (6, 18, 22)),
            ((6, 19), (6, 19, 12)),
        ),
        "translated IPv6 with VLAN tags in hardware may damage the kernel's memory",
        f"{UPDATE}; option ipv6 '0' avoids it",
        "https://nvd.nist.gov/vuln/detail/CVE-2026-43329",
        grade=Grade.FINE,
        drivers=ENGINES,
    ),
    # Which 6.6 is repaired is not known here.
    BadKernel(
        "kernel-hw-dead",
        (
            ((5, 6), (6, 1, 189)),
            ((6, 2), (6, 12, 112)),
            ((6, 13), (6, 18, 55)),
            ((6, 19), (7, 2, 9)),
        ),
        "a connection that leaves hardware may, very seldom, crash the kernel",
        UPDATE,
        _commit("d644b23afe1e"),
        grade=Grade.FINE,
        drivers=ENGINES,
    ),
    BadKernel(
        "kernel-flowtable-gc",
        (
            ((4, 16), (5, 10, 266)),
            ((5, 11), (5, 15, 217)),
            ((5, 16), (6, 1, 184)),
            ((6, 2), (6, 6, 153)),
            ((6, 7), (6, 12, 105)),
            ((6, 13), (6, 18, 46)),
            ((6, 19), (7, 1, 10)),
        ),
        "offloading a connection may, very seldom, crash the kernel, in software too",
        UPDATE,
        "https://nvd.nist.gov/vuln/detail/CVE-2026-74746",
        grade=Grade.FINE,
    ),
    BadKernel(
        "kernel-failed-probe",
        (
            ((4, 16), (6, 1, 167)),
            ((6, 2), (6, 6, 130)),
            ((6, 7), (6, 12, 78)),
            ((6, 13), (6, 18, 20)),
            ((6, 19), (6, 19, 10)),
        ),
        "a device that refuses a flowtable may, very seldom, crash the kernel",
        f"{UPDATE}; name only devices that can offload (list device)",
        "https://nvd.nist.gov/vuln/detail/CVE-2026-23392",
        grade=Grade.FINE,
    ),
    BadKernel(
        "kernel-wifi-path",
        (((7, 2), (7, 3)),),
        "connections of Wi-Fi clients are not offloaded",
        "update to a kernel of 7.3 or later",
        _commit("3ae37eafd366"),
        grade=Grade.FINE,
    ),
)
