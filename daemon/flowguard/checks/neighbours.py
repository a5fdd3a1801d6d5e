# SPDX-License-Identifier: GPL-2.0-or-later
"""Other programs of OpenWrt that want the same packets, or lose them to offloading."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence

from flowguard.checks.finding import Finding, Grade
from flowguard.core.records import frozen
from flowguard.platform.configuration.kinds import FIREWALL_TRUE_WORDS, TRUE_WORDS
from flowguard.platform.openwrt import effective, uci

FIREWALL = "firewall"


@frozen
class Neighbour:
    """Active when its init script is enabled and one of these UCI options is on.

    `switches` are pairs of section type and option; without any, the init script decides.
    """

    program: str
    grade: Grade
    sentence: str
    remedy: str
    switches: tuple[tuple[str, str], ...] = ()


_SHAPES = "offloaded flows pass its queues by, so they are neither shaped nor given their turn"
_EXCLUDE = "keep its devices' flows off with a config exclude section, or switch it off"
NEIGHBOURS = (
    Neighbour("sqm", Grade.WARNING, _SHAPES, _EXCLUDE, (("queue", "enabled"),)),
    Neighbour("qosify", Grade.WARNING, _SHAPES, _EXCLUDE),
    Neighbour(
        "nft-qos",
        Grade.WARNING,
        "its limits and priorities do not see offloaded flows",
        "keep the limited hosts' flows off with config exclude sections, or switch it off",
        (
            ("default", "limit_enable"),
            ("default", "limit_mac_enable"),
            ("default", "priority_enable"),
        ),
    ),
    Neighbour(
        "mwan3",
        Grade.WARNING,
        "an offloaded flow stays on the WAN it began with, and packets meet no policy",
        # The marks of mwan3 are the places of its interface sections, from 1, times 0x100.
        "keep its flows off with a config exclude section: list mark '0x100/0x3f00' for the first "
        "interface in /etc/config/mwan3, '0x200/0x3f00' for the second, and so on",
        (("interface", "enabled"),),
    ),
    Neighbour(
        "pbr",
        Grade.WARNING,
        "an offloaded flow stays on the route it began with, and packets meet no policy",
        # It marks packets only (pbr 1.2); an exclude section looks at the connection's mark.
        "keep its flows off with a config exclude section of the devices it routes to, or with "
        "sections that match what its policies match; its mark (0xff0000) is not conntrack's",
        (("pbr", "enabled"),),
    ),
    Neighbour(
        "bridger",
        Grade.ERROR,
        "it fills the same packet engine behind flowguard's back, and has hung one",
        "/etc/init.d/bridger disable; /etc/init.d/bridger stop",
    ),
    Neighbour(
        "turboacc",
        Grade.ERROR,
        "it sets the firewall's own flow offloading anew at every boot",
        "/etc/init.d/turboacc disable; /etc/init.d/turboacc stop",
    ),
)


def look() -> list[Finding]:
    """The firewall and all neighbours; not for the loop, as it waits for `uci`."""
    return [*check_firewall(), *check_neighbours()]


def check_firewall() -> Iterator[Finding]:
    """fw4's own flow offloading competes for the same flows."""
    try:
        package, _ = effective.load(FIREWALL)
    except FileNotFoundError:
        return
    except (OSError, uci.UciError) as error:
        yield _unreadable(FIREWALL, error)
        return
    # Without this one, fw4 looks at no other (fw4.uc, resolve_offload_devices).
    if _is_on(package, "defaults", "flow_offloading", FIREWALL_TRUE_WORDS):
        sentence = "the firewall's own flow_offloading is on: it takes the flows first"
        remedy = "flowguard adopt, or turn Routing/NAT Offloading off in the firewall's settings"
        yield Finding(Grade.ERROR, "fw4-offload", sentence, remedy)
    else:
        yield Finding(Grade.FINE, "fw4-offload", "the firewall leaves offloading to flowguard")


def check_neighbours(root: str = "/") -> Iterator[Finding]:
    """Every program that gets in the way, and none that only is installed.

    Init scripts are those below `root`.
    """
    for neighbour in NEIGHBOURS:
        if _is_enabled(neighbour, root):
            yield from _check_enabled(neighbour)


def _is_enabled(neighbour: Neighbour, root: str) -> bool:
    script = os.path.join(root, "etc", "rc.d", f"S[0-9][0-9]{neighbour.program}")
    return bool(glob.glob(script))


def _check_enabled(neighbour: Neighbour) -> Iterator[Finding]:
    try:
        active = _is_switched_on(neighbour)
    except FileNotFoundError:
        return
    except (OSError, uci.UciError) as error:
        # Shell programs go on with the lines that are right (config_load): it may be active.
        yield _unreadable(neighbour.program, error)
        return
    if active:
        sentence = f"{neighbour.program} is active: {neighbour.sentence}"
        yield Finding(neighbour.grade, neighbour.program, sentence, neighbour.remedy)


def _is_switched_on(neighbour: Neighbour) -> bool:
    if not neighbour.switches:
        return True
    package, _ = effective.load(neighbour.program)
    return any(_is_on(package, section, option) for section, option in neighbour.switches)


def _unreadable(program: str, error: OSError | uci.UciError) -> Finding:
    path = effective.file_of(program)
    if isinstance(error, uci.UciError):
        place, reason = f"{path}:{error.line}", f"not valid UCI: {error.reason}"
    else:
        place, reason = path, f"cannot be read: {error.strerror or error}"
    sentence = f"{place}: {reason}; what {program} does is not known"
    return Finding(Grade.WARNING, program, sentence, f"correct {path}")


def _is_on(
    package: uci.Package, section_type: str, name: str, words: Sequence[str] = TRUE_WORDS
) -> bool:
    return any(
        option.values[-1].text in words
        for section in package.sections
        if section.type == section_type
        for option in section.options
        if option.name == name
    )
