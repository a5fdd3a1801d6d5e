# SPDX-License-Identifier: GPL-2.0-or-later
"""What User Mode Linux is built with, kernel by kernel."""

from __future__ import annotations

import pytest

from tests.lab.kernel import DEFAULT_KERNEL, SUITES
from tests.lab.uml.configuration import CONFIG, DIFFERENCES, configuration


def symbols(text: str) -> list[str]:
    return [line.partition("=")[0] for line in text.splitlines() if line.startswith("CONFIG_")]


@pytest.mark.parametrize("version", SUITES)
def test_a_configuration_names_each_symbol_once(version: str) -> None:
    lines = configuration(version).splitlines()
    named = symbols(configuration(version))
    assert len(named) == len(set(named))
    assert all(line.startswith(("CONFIG_", "#")) or not line for line in lines)


def test_the_default_kernel_has_all_of_it() -> None:
    assert configuration(DEFAULT_KERNEL) == CONFIG.read_text()


@pytest.mark.parametrize("version", DIFFERENCES)
def test_another_kernel_has_the_rest_and_what_stands_for_it(version: str) -> None:
    assert version in SUITES
    difference, all_of_it = DIFFERENCES[version], set(symbols(CONFIG.read_text()))
    instead = set(symbols("\n".join(difference.instead)))
    assert difference.lacks <= all_of_it and not instead & all_of_it
    assert set(symbols(configuration(version))) == all_of_it - difference.lacks | instead
