# SPDX-License-Identifier: GPL-2.0-or-later
"""`config exclude` sections: flows that stay below a level.

An exclusion with anything wrong in it is ignored as a whole: without the faulty match
it would hold back more flows than meant, perhaps all of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, TypeVar

from flowguard.core.model import Family, Level, Protocol
from flowguard.core.tables.description import Network
from flowguard.core.tables.plan import Exclusion
from flowguard.platform.configuration import kinds as kinds
from flowguard.platform.configuration.kinds import Mark
from flowguard.platform.configuration.sections import Problems, Setting, read_section
from flowguard.platform.openwrt.uci import Section

T = TypeVar("T")

# Each becomes up to four rules that every packet of a new flow passes.
LIMIT = 256
IGNORED = "this exclusion is ignored"

SETTINGS = (
    Setting("enabled", kinds.boolean(), "whether this exclusion is in force"),
    Setting("name", kinds.any_text(), "a name for people"),
    Setting(
        "level",
        kinds.one_of(Level, Level.SOFTWARE, Level.NONE),
        "the highest level that these flows may have",
    ),
    Setting("device", kinds.device_name(), "in or out through this device", is_list=True),
    Setting("family", kinds.one_of(Family), "this address family"),
    Setting("proto", kinds.one_of(Protocol), "this protocol", is_list=True),
    Setting("src_ip", kinds.network(), "opened from this address or network", is_list=True),
    Setting("dest_ip", kinds.network(), "opened to this address or network", is_list=True),
    Setting("src_port", kinds.ports(), "opened from this port or range", is_list=True),
    Setting("dest_port", kinds.ports(), "opened to this port or range", is_list=True),
    Setting("mark", kinds.mark(), "this conntrack mark", is_list=True),
    Setting("dscp", kinds.dscp(), "this DSCP", is_list=True),
)
_MATCHES = frozenset(s.name for s in SETTINGS) - {"enabled", "name", "level"}


def read_exclusion(section: Section, own_bits: int, problems: Problems) -> list[Exclusion]:
    """One exclusion for each combination of the listed values; none when it cannot be used."""
    read = read_section(section, SETTINGS, problems, IGNORED)
    if not read.complete or not read.values.get("enabled", True):
        return []
    if not _MATCHES & read.values.keys():
        matches = ", ".join(s.name for s in SETTINGS if s.name in _MATCHES)
        problems.add(section.line, f"exclude without any match; {IGNORED}; use {matches}")
        return []
    if any(_has_own_bit(mark, own_bits) for mark in read.values.get("mark", ())):
        text = f"mark has a bit of control_mark or observe_mark; {IGNORED}; leave {own_bits:#x} out"
        problems.add(section.line, text)
        return []
    exclusions = list(itertools.islice(_combinations(read.values, own_bits), LIMIT + 1))
    if len(exclusions) > LIMIT:
        text = f"exclude with over {LIMIT} combinations of its lists; {IGNORED}; use networks"
        problems.add(section.line, text)
        return []
    if not exclusions:
        text = f"exclude with addresses of one family for flows of the other; {IGNORED}"
        problems.add(section.line, text)
    return exclusions


def _has_own_bit(mark: Mark, own_bits: int) -> bool:
    return bool((mark.value | (mark.mask or 0)) & own_bits)


def _combinations(values: dict[str, Any], own_bits: int) -> Iterator[Exclusion]:
    def listed(name: str) -> tuple[Any, ...]:
        return values.get(name) or (None,)

    level = values.get("level", Level.NONE)
    family = values.get("family")
    addresses = itertools.product(listed("src_ip"), listed("dest_ip"))
    fitting = [pair for pair in addresses if _families_agree(family, *pair)]
    for device, protocol, (
        source,
        destination,
    ), source_ports, destination_ports, mark, dscp in itertools.product(
        listed("device"),
        listed("proto"),
        fitting,
        listed("src_port"),
        listed("dest_port"),
        listed("mark"),
        listed("dscp"),
    ):
        yield Exclusion(
            level=level,
            device=device,
            family=family,
            protocol=protocol,
            source=source,
            destination=destination,
            source_ports=source_ports,
            destination_ports=destination_ports,
            mark=mark and _all_but_own(mark, own_bits),
            dscp=dscp,
        )


def _families_agree(family: Family | None, *networks: Network | None) -> bool:
    families = {Family.IPV4 if n.version == 4 else Family.IPV6 for n in networks if n}
    return len(families | ({family} if family else set())) <= 1


def _all_but_own(mark: Mark, own_bits: int) -> tuple[int, int]:
    """Value and mask. A mark without mask matches whatever was drawn for the flow."""
    mask = kinds.ALL_BITS & ~own_bits if mark.mask is None else mark.mask
    return mark.value, mask
