# SPDX-License-Identifier: GPL-2.0-or-later
"""Other programs of OpenWrt that want the same packets, or lose them to offloading."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence

from flowguard.checks import firewall_rules
from flowguard.checks.finding import Finding, Grade, exclude_section
from flowguard.checks.known_programs import NEIGHBOURS, Neighbour, Setting
from flowguard.platform.configuration.kinds import FIREWALL_TRUE_WORDS, TRUE_WORDS
from flowguard.platform.openwrt import effective, uci

FIREWALL = "firewall"


def look() -> list[Finding]:
    """The firewall, its rules and all neighbours; not for the loop, as it waits for `uci`."""
    return [*check_firewall(), *firewall_rules.look(), *check_neighbours()]


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
    package = None
    try:
        package, _ = effective.load(neighbour.program)
    except FileNotFoundError:
        if neighbour.switches:
            return
    except (OSError, uci.UciError) as error:
        if neighbour.switches:
            # Shell programs go on with the lines that are right (config_load): it may be active.
            yield _unreadable(neighbour.program, error)
            return
    if _is_switched_on(neighbour, package):
        sentence = f"{neighbour.program} is active: {neighbour.sentence}"
        section = exclude_section(_matches(neighbour, package))
        yield Finding(neighbour.grade, neighbour.program, sentence, neighbour.remedy, section)


def _is_switched_on(neighbour: Neighbour, package: uci.Package | None) -> bool:
    if not neighbour.switches:
        return True
    return package is not None and any(
        _is_on(package, switch.section, switch.option) for switch in neighbour.switches
    )


def _matches(neighbour: Neighbour, package: uci.Package | None) -> list[str]:
    """The lines of a `config exclude` section that are this program's flows."""
    lines = list(neighbour.matches)
    if neighbour.devices:
        lines += [f"list device '{name}'" for name in _values(package, neighbour.devices)]
    if neighbour.mark_mask and package:
        mask = _number(_values(package, neighbour.mark_mask)[0], neighbour.mark_mask.default)
        interfaces = sum(section.type == "interface" for section in package.sections)
        lines += [
            f"list mark '{_within(mask, number):#x}/{mask:#x}'"
            for number in range(1, interfaces + 1)
        ]
    return lines


def _values(package: uci.Package | None, wanted: Setting) -> list[str]:
    """What its configuration says there, each once, or else the default."""
    found = [
        option.values[-1].text
        for section in (package.sections if package else ())
        if section.type == wanted.section
        for option in section.options
        if option.name == wanted.option
    ]
    return list(dict.fromkeys(found)) or ([wanted.default] if wanted.default else [])


def _number(text: str, default: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        return int(default, 0)


def _within(mask: int, number: int) -> int:
    """The number in the mask's bits from the lowest on, as mwan3 does it (mwan3_id2mask)."""
    places = [place for place in range(32) if mask >> place & 1]
    return sum((number >> digit & 1) << place for digit, place in enumerate(places))


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
