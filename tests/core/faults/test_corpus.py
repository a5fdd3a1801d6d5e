# SPDX-License-Identifier: GPL-2.0-or-later
"""How the rules do on field logs, where the collection is at hand."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from flowguard.cli.classify import classify
from flowguard.core.faults import verdict
from flowguard.core.model import Attribution, Fault
from flowguard.rules import load

CORPUS = Path(__file__).parents[4] / "shared" / "kmsg"
# Their text is the same as that of logs labelled weak: it ends before it names anything.
NAMELESS = 5

pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason="no collection of field logs here")


@pytest.fixture(scope="module")
def results() -> list[tuple[dict[str, str], list[Fault]]]:
    rules = load()
    index = json.loads((CORPUS / "index.json").read_text())
    return [
        (entry, classify(rules, (CORPUS / entry["file"]).read_text(errors="replace")))
        for entry in index
    ]


def test_later_logs_have_one_of_the_verdicts_that_are_right() -> None:
    rules = load()
    field = CORPUS / "field"
    wrong = []
    for entry in json.loads((field / "index.json").read_text()):
        found = classify(rules, (field / entry["file"]).read_text(errors="replace"))
        right = re.findall(r"offload|driver|weak|none", entry["expected"].partition(";")[0])
        if verdict(found) not in right:
            wrong.append((entry["file"], verdict(found), right))
    assert wrong == []


def test_ordinary_and_unrelated_logs_are_nothing(
    results: list[tuple[dict[str, str], list[Fault]]],
) -> None:
    accused = [e["file"] for e, faults in results if faults and e["label"] != "offload_fault"]
    assert accused == []


def test_every_fault_is_found_with_its_class(
    results: list[tuple[dict[str, str], list[Fault]]],
) -> None:
    missed = [
        entry["file"]
        for entry, faults in results
        if entry["expected_class"]
        and entry["expected_class"] not in {str(fault.fault_class) for fault in faults}
    ]
    assert missed == []


def test_attribution_is_the_expected_one(
    results: list[tuple[dict[str, str], list[Fault]]],
) -> None:
    table = Counter(
        (entry["attribution"], str(verdict(faults)))
        for entry, faults in results
        if entry.get("attribution")
    )
    for (wanted, found), count in sorted(table.items()):
        print(f"{wanted:>8} -> {found:8} {count}")
    wrong = {pair: count for pair, count in table.items() if pair[0] != pair[1]}
    assert sum(wrong.values()) <= NAMELESS
    assert set(wrong) <= {(str(Attribution.OFFLOAD), str(Attribution.WEAK))}
