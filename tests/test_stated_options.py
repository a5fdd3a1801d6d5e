# SPDX-License-Identifier: GPL-2.0-or-later
"""What is written of the options elsewhere is what the program has."""

from __future__ import annotations

from tests import stated_options as stated

HOW = "python -m tests.stated_options writes it"


def test_the_options_of_the_readme_are_those_of_the_program() -> None:
    assert stated.between(stated.README, stated.README_MARKS) == stated.readme_table(), HOW


def test_procd_validates_the_options_of_the_program() -> None:
    found = stated.between(stated.INIT_SCRIPT, stated.VALIDATION_MARKS)
    assert found == stated.validation(), HOW
