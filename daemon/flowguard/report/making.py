# SPDX-License-Identifier: GPL-2.0-or-later
"""One Markdown text, fit for an issue at OpenWrt or the kernel, without a name in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowguard import __version__
from flowguard.checks.finding import Finding, Grade
from flowguard.core.faults import FaultRules
from flowguard.core.records import frozen
from flowguard.core.tables.topology import Link
from flowguard.kernel.machine import Machine
from flowguard.paths import Paths
from flowguard.report.document import Section, document
from flowguard.report.facts import machine_section
from flowguard.report.faults_seen import dumps_section, fault_sections
from flowguard.report.known_names import Load, names_of
from flowguard.report.masking import Masking
from flowguard.report.netdevs import counters_section, topology_section
from flowguard.report.our_tables import tables_section
from flowguard.report.own_configuration import configuration_section
from flowguard.report.service_state import events_section, left_behind, service_sections


@frozen
class Told:
    """What is known before the machine is looked at.

    `status` is the daemon's; None with the reason in `absence`. `load` reads UCI packages.
    """

    status: dict[str, Any] | None
    absence: str
    findings: Sequence[Finding]
    rules: FaultRules
    load: Load


@frozen
class Report:
    """`unread` says of each source of names why these may not be masked."""

    text: str
    unread: tuple[str, ...]


async def report(machine: Machine, paths: Paths, told: Told) -> Report:
    """Everything, masked as a whole at the end, so that no part can be forgotten.

    What cannot be found out is said in its place, and nothing is raised for it.
    """
    links, problem = await _links(machine)
    directory = paths.runtime_directory
    sections = [
        machine_section(machine),
        *_service(machine, paths, told),
        *await fault_sections(machine, told.rules, directory),
        dumps_section(machine, told.rules),
        Section("Checks", tuple(map(_in_words, sorted(told.findings, key=_worst_first)))),
        await topology_section(machine, links, told.status)
        if not problem
        else Section("Network devices", (problem,)),
        await tables_section(machine),
        configuration_section(told.load),
        counters_section(machine),
        events_section(machine.files, directory),
    ]
    names = names_of(machine.files, told.load)
    masking = Masking(names.known, [link.name for link in links])
    opening = _opening(machine, names.unread)
    return Report(masking.mask(opening + document(sections)), names.unread)


def _opening(machine: Machine, unread: Sequence[str]) -> str:
    at = machine.clock.wall_clock(machine.clock.now())
    gaps = "".join(f"**Not masked are names of {source}.**\n\n" for source in unread)
    return (
        f"# flowguard {__version__}: report\n\n"
        f"Made at {at}, {machine.clock.now():.0f} s after boot. Addresses and names are masked:"
        f" the same one is the same everywhere in this text.\n\n{gaps}"
    )


async def _links(machine: Machine) -> tuple[tuple[Link, ...], str]:
    try:
        return await machine.network.links({}), ""
    except OSError as error:
        return (), f"They cannot be looked at: {error.strerror or error}."


def _service(machine: Machine, paths: Paths, told: Told) -> list[Section]:
    if told.status is None:
        return left_behind(machine.files, paths.state_directory, told.absence)
    return service_sections(told.status)


def _worst_first(finding: Finding) -> int:
    return -list(Grade).index(finding.grade)


def _in_words(finding: Finding) -> str:
    remedy = f" ({finding.remedy})" if finding.remedy and finding.grade is not Grade.FINE else ""
    return f"- {finding.grade}: {finding.code}: {finding.sentence}{remedy}"
