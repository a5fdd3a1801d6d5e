# SPDX-License-Identifier: GPL-2.0-or-later
"""The configuration: a UCI file in, typed values and the problems found out.

Nothing in the file stops the service: a bad value leaves its default in place and
becomes a problem, one line for people.
"""

from __future__ import annotations

from flowguard.core.records import frozen, replace
from flowguard.platform.configuration.exclusions import read_exclusion
from flowguard.platform.configuration.options import Configuration
from flowguard.platform.configuration.sections import Problem, Problems, read_section
from flowguard.platform.openwrt import effective, uci

__all__ = ["PACKAGE", "Configuration", "Loaded", "Problem", "load"]

PACKAGE = "flowguard"
# Options of former releases, and why nobody needs them.
NO_MARKS = "flowguard leaves the marks of connections alone now; delete the line"
RETIRED = {"control_mark": NO_MARKS, "observe_mark": NO_MARKS}


@frozen
class Loaded:
    """`readable` is False when the file as a whole was of no use and defaults stand in."""

    configuration: Configuration
    problems: tuple[Problem, ...]
    readable: bool = True


def load(path: str | None = None) -> Loaded:
    """Read this file, or the configuration that counts; raises nothing, whatever is in the way."""
    problems = Problems(path or effective.file_of(PACKAGE), [])
    try:
        if path:
            package = uci.load(path)
        else:
            package, problems.path = effective.load(PACKAGE)
    except OSError as error:
        problems.add(0, f"cannot be read: {error.strerror or error}; flowguard stays disabled")
        return Loaded(Configuration(), tuple(problems.found), readable=False)
    except uci.UciError as error:
        problems.add(error.line, f"not valid UCI: {error.reason}; the whole file is ignored")
        return Loaded(Configuration(), tuple(problems.found), readable=False)
    configuration = _read_globals(package, problems)
    exclusions = [
        exclusion
        for section in package.sections
        if section.type == "exclude"
        for exclusion in read_exclusion(section, problems)
    ]
    configuration = replace(configuration, exclusions=tuple(exclusions))
    return Loaded(configuration, tuple(sorted(problems.found, key=lambda p: p.line)))


def _read_globals(package: uci.Package, problems: Problems) -> Configuration:
    configuration = None
    for section in package.sections:
        if section.type == "flowguard" and section.name == "globals":
            configuration = _globals(section, problems)
        elif section.type != "exclude":
            problems.add(
                section.line,
                f"unknown section '{section.type}'; it is ignored; "
                "known are flowguard 'globals' and exclude",
            )
    if configuration:
        return configuration
    problems.add(0, "has no section: config flowguard 'globals'; flowguard stays disabled")
    return Configuration()


def _globals(section: uci.Section, problems: Problems) -> Configuration:
    section = _without_retired(section, problems)
    configuration = read_section(section, Configuration, problems, "it is ignored").values
    lines = {option.name: option.line for option in section.options}

    def contradiction(name: str, other: str, text: str) -> None:
        problems.add(lines.get(name) or lines.get(other) or section.line, text)

    if configuration.hold_off > configuration.hold_off_limit:
        text = "hold_off is longer than hold_off_limit; every wait lasts hold_off_limit"
        contradiction("hold_off", "hold_off_limit", text)
    if configuration.drain_limit <= configuration.flow_timeout:
        text = "drain_limit is not above flow_timeout; healthy drains will be reported as late"
        contradiction("drain_limit", "flow_timeout", text)
    if configuration.settle > configuration.hold_off:
        text = "settle is longer than hold_off; faults after stepping up again may be missed"
        contradiction("settle", "hold_off", text)
    return configuration


def _without_retired(section: uci.Section, problems: Problems) -> uci.Section:
    """Without the options that only a former release used."""
    for option in section.options:
        if option.name in RETIRED:
            text = f"option '{option.name}' is no longer used; {RETIRED[option.name]}"
            problems.add(option.line, text)
    left = tuple(option for option in section.options if option.name not in RETIRED)
    return replace(section, options=left)
