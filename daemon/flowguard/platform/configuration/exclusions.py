# SPDX-License-Identifier: GPL-2.0-or-later
"""`config exclude` sections: flows that stay below a level.

An exclusion with anything wrong in it is ignored as a whole: without the faulty match
it would hold back more flows than meant, perhaps all of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TypeVar

from flowguard.core.model import Family, Level, Protocol
from flowguard.core.tables.description import Network
from flowguard.core.tables.plan import Exclusion
from flowguard.platform.configuration import kinds
from flowguard.platform.configuration.sections import (
    Problems,
    configurable,
    option,
    option_list,
    read_section,
    settings,
)
from flowguard.platform.openwrt.uci import Section

T = TypeVar("T")

# Each becomes up to four rules that every packet of a new flow passes.
LIMIT = 256
IGNORED = "this exclusion is ignored"

GENERAL = "general"
MATCHES = "matches"


@configurable
class Exclude:
    """What a section says; a match without value holds for every flow."""

    enabled: bool = option(kinds.boolean(), True, "whether this exclusion is in force", GENERAL)
    name: str = option(kinds.any_text(), "", "a name for people", GENERAL)
    level: Level = option(
        kinds.one_of(Level, Level.SOFTWARE, Level.NONE),
        Level.NONE,
        "the highest level that these flows may have",
        GENERAL,
    )
    device: tuple[str, ...] = option_list(
        kinds.device_name(), "in or out through this device", MATCHES
    )
    family: Family | None = option(kinds.one_of(Family), None, "this address family", MATCHES)
    proto: tuple[Protocol, ...] = option_list(kinds.one_of(Protocol), "this protocol", MATCHES)
    src_ip: tuple[Network, ...] = option_list(
        kinds.network(), "opened from this address or network", MATCHES
    )
    dest_ip: tuple[Network, ...] = option_list(
        kinds.network(), "opened to this address or network", MATCHES
    )
    src_port: tuple[tuple[int, int], ...] = option_list(
        kinds.ports(), "opened from this port or range", MATCHES
    )
    dest_port: tuple[tuple[int, int], ...] = option_list(
        kinds.ports(), "opened to this port or range", MATCHES
    )
    mark: tuple[tuple[int, int], ...] = option_list(kinds.mark(), "this conntrack mark", MATCHES)
    dscp: tuple[int, ...] = option_list(kinds.dscp(), "this DSCP", MATCHES)

    @property
    def matches_all(self) -> bool:
        return not any(getattr(self, name) for name in _MATCHES)


_MATCHES = tuple(s.name for s in settings(Exclude) if s.group == MATCHES)


def read_exclusion(section: Section, problems: Problems) -> list[Exclusion]:
    """One exclusion for each combination of the listed values; none when it cannot be used."""
    read = read_section(section, Exclude, problems, IGNORED)
    if not read.complete or not read.values.enabled:
        return []
    if read.values.matches_all:
        matches = ", ".join(_MATCHES)
        problems.add(section.line, f"exclude without any match; {IGNORED}; use {matches}")
        return []
    called = read.values.name or (f"line {section.line}" if section.anonymous else section.name)
    exclusions = list(itertools.islice(_combinations(read.values, called), LIMIT + 1))
    if len(exclusions) > LIMIT:
        text = f"exclude with over {LIMIT} combinations of its lists; {IGNORED}; use networks"
        problems.add(section.line, text)
        return []
    if not exclusions:
        text = f"exclude with addresses of one family for flows of the other; {IGNORED}"
        problems.add(section.line, text)
    return exclusions


def _combinations(values: Exclude, called: str) -> Iterator[Exclusion]:
    addresses = itertools.product(_or_any(values.src_ip), _or_any(values.dest_ip))
    fitting = [pair for pair in addresses if _families_agree(values.family, *pair)]
    for device, protocol, (
        source,
        destination,
    ), source_ports, destination_ports, mark, dscp in itertools.product(
        _or_any(values.device),
        _or_any(values.proto),
        fitting,
        _or_any(values.src_port),
        _or_any(values.dest_port),
        _or_any(values.mark),
        _or_any(values.dscp),
    ):
        yield Exclusion(
            level=values.level,
            device=device,
            family=values.family,
            protocol=protocol,
            source=source,
            destination=destination,
            source_ports=source_ports,
            destination_ports=destination_ports,
            mark=mark,
            dscp=dscp,
            section=called,
        )


def _or_any(values: tuple[T, ...]) -> tuple[T | None, ...]:
    return values or (None,)


def _families_agree(family: Family | None, *networks: Network | None) -> bool:
    families = {Family.IPV4 if n.version == 4 else Family.IPV6 for n in networks if n}
    return len(families | ({family} if family else set())) <= 1
