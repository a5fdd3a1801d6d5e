# SPDX-License-Identifier: GPL-2.0-or-later
"""The rule files: every example in them, and what a wrong file is told."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard import rules
from flowguard.core.faults import (
    FaultAssembler,
    FaultRule,
    FaultRules,
    LogRecord,
    RuleError,
    RuleSource,
)
from flowguard.core.faults.matcher import Context
from flowguard.core.faults.words import filter_for
from flowguard.core.model import Attribution

RULES = rules.load()
GOOD = """
[[rule]]
id = "acme"
class = "driver_error"
attribution = "offload"
means = "The example engine is full."
literals = ["acme: table full"]
matches = ["acme: table full"]
"""


def compile_text(text: str) -> FaultRules:
    return FaultRules.compile([RuleSource("acme.toml", tomllib.loads(text))])


@pytest.mark.parametrize("rule", RULES.rules, ids=lambda rule: rule.id)
def test_examples_of_a_rule(rule: FaultRule) -> None:
    for line in rule.matches:
        assert RULES.may_match(line), line
        found = RULES.match(LogRecord(line))
        assert found and found.rule.id == rule.id, line
    for line in rule.ignores:
        found = RULES.match(LogRecord(line))
        assert not found or found.rule.id != rule.id, line


@pytest.mark.parametrize("context", RULES.contexts, ids=lambda context: context.id)
def test_examples_of_a_context(context: Context) -> None:
    for line in context.matches:
        assert RULES.may_match(line)
        assert RULES.context(line) is context
    for line in context.ignores:
        assert RULES.context(line) is not context


@pytest.mark.parametrize("rule", RULES.rules, ids=lambda rule: rule.id)
def test_every_literal_is_one_that_the_expression_can_meet(rule: FaultRule) -> None:
    assert rule.means.endswith(".")
    for line in rule.matches:
        assert any(literal in line for literal in rule.literals), line


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "acme.toml"
    path.write_text(GOOD)
    (fault,) = FaultAssembler(rules.load([str(path)])).feed(LogRecord("acme: table full", 1.0))
    assert (fault.rule, fault.attribution) == ("acme", Attribution.OFFLOAD)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("driver_error", "strange"), "acme.toml: rule 1 (acme): 'class' must be one of kernel_"),
        (('"offload"', "3"), "acme.toml: rule 1 (acme): 'attribution' must be one of offload"),
        (("literals", "literal"), "acme.toml: rule 1 (acme): 'literals' is missing"),
        (('["acme: table full"]', '"acme"'), "(acme): 'literals' must be a list of texts"),
        (("means", 'regex = "(x"\nmeans'), "(acme): 'regex' is no regular expression: missing )"),
        (("means", "report = 1\nmeans"), "(acme): 'report' must be true or false"),
        (("means", "colour = 1\nmeans"), "(acme): 'colour' is not known here"),
        (('"acme"', '""'), "acme.toml: rule 1: 'id' is missing"),
        (("[[rule]]", "[[rules]]"), "acme.toml: 'rules' is not known here"),
        (("[[rule]]", "[rule]"), "acme.toml: 'rule' must be written as [[rule]]"),
        (("means", 'regex = "x{99999999999999}"\nmeans'), "'regex' is no regular expression"),
        (("means", f'regex = "{"(" * 9999}"\nmeans'), "'regex' is no regular expression"),
        *(
            (("means", f"repeated = {{ count = {count}, seconds = 1 }}\nmeans"), "'count' must be")
            for count in ("0", "0.5", "1001", "inf", "true", "9" * 400)
        ),
        *(
            (("means", f"repeated = {{ count = 2, seconds = {s} }}\nmeans"), "'seconds' must be")
            for s in ("0", "inf", "nan", '"1"', "9" * 400)
        ),
    ],
)
def test_a_wrong_file_is_rejected_in_one_line(change: tuple[str, str], complaint: str) -> None:
    with pytest.raises(RuleError) as raised:
        compile_text(GOOD.replace(*change, 1))
    assert complaint in str(raised.value)
    assert "\n" not in str(raised.value)


def test_two_rules_cannot_share_an_id() -> None:
    with pytest.raises(RuleError, match="'id' is used twice"):
        compile_text(GOOD + GOOD)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RuleError, match=r"gone\.toml: cannot be read"):
        rules.load([str(tmp_path / "gone.toml")])
    broken = tmp_path / "broken.toml"
    for text in ("[[rule", "x = " + "[" * 9999, "x = " + "9" * 9999, "\udcff"):
        broken.write_text(text, errors="surrogateescape")
        with pytest.raises(RuleError, match=r"broken\.toml: is no TOML"):
            rules.load([str(broken)])


def test_a_file_that_cannot_be_used_costs_no_other(tmp_path: Path) -> None:
    good, broken = tmp_path / "good.toml", tmp_path / "broken.toml"
    good.write_text(GOOD)
    broken.write_text("[[rule")
    found = rules.load_usable([str(broken), str(good), str(good)])
    assert len(found.rules) == len(rules.load().rules) + 1
    first, second = found.left_out
    assert "broken.toml: is no TOML" in first
    assert "'id' is used twice; the file is left out" in second


WORDS = st.lists(st.text("abcXY0+ ", min_size=1, max_size=9), min_size=1, max_size=8)


@given(WORDS, st.text("abcXY0+ ", max_size=20), st.text("abcXY0+ ", max_size=20), st.data())
def test_the_filter_never_misses_a_word(
    words: list[str], before: str, after: str, data: st.DataObject
) -> None:
    word = data.draw(st.sampled_from(words))
    assert filter_for(words).search(before + word + after)
