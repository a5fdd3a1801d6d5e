# SPDX-License-Identifier: GPL-2.0-or-later
"""The configuration as it counts, without its comments and what is meant for its owner."""

from __future__ import annotations

from flowguard.core.records import replace
from flowguard.platform.configuration.loading import PACKAGE
from flowguard.platform.openwrt import uci
from flowguard.report.document import Section, fenced
from flowguard.report.known_names import PUBLIC_OPTIONS, Load

TITLE = "Configuration"


def configuration_section(load: Load) -> Section:
    try:
        package = load(PACKAGE)
    except OSError as error:
        return Section(TITLE, (f"It cannot be read: {error.strerror or error}.",))
    except uci.UciError as error:
        return Section(TITLE, (f"It is not valid UCI: line {error.line}: {error.reason}.",))
    text = uci.export(replace(package, sections=tuple(map(_public, package.sections))))
    lines = text.decode("utf-8", "backslashreplace").strip().split("\n")
    return Section(TITLE, tuple(fenced(lines)))


def _public(section: uci.Section) -> uci.Section:
    """Options that flowguard knows: any other may be a note of somebody's."""
    options = tuple(option for option in section.options if option.name in PUBLIC_OPTIONS)
    return replace(section, options=options)
