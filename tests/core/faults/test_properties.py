# SPDX-License-Identifier: GPL-2.0-or-later
"""What must hold for fault recognition whatever the log contains."""

from __future__ import annotations

from textwrap import dedent

from hypothesis import given, settings
from hypothesis import strategies as st

from flowguard.core.faults import FaultAssembler, LogRecord, logtext, verdict
from flowguard.core.model import Attribution, Fault
from flowguard.rules import load
from tests.core.faults.reports import ARM64_OOPS, x86
from tests.core.faults.test_oopses import ARM_OOPS, MIPS_OOPS
from tests.core.faults.test_warnings import WARN_6_12

RULES = load()
REPORTS = [
    dedent(text).strip("\n").split("\n")
    for text in (
        ARM64_OOPS,
        ARM_OOPS,
        MIPS_OOPS,
        WARN_6_12.format(place="acme_offload_replace+0x50/0x90 [acme]"),
        x86("kfree", "skb_release_data", "mvneta_tx", "dev_hard_start_xmit"),
    )
]
PIECES = st.sampled_from(
    [line for report in REPORTS for line in report]
    + [line for rule in RULES.rules for line in (*rule.matches, *rule.ignores)]
)
BENIGN = st.sampled_from(
    [
        "br-lan: port 1(lan1) entered forwarding state",
        "mtk_soc_eth 15100000.ethernet eth0: Link is Up - 2.5Gbps/Full - flow control rx/tx",
        "usb 1-1: new high-speed USB device number 7 using xhci-mtk",
        "ath10k_pci 0000:01:00.0: mac flush null vif, drop 0 queues 0xffff",
        "random: crng init done",
        "",
    ]
)


def run(records: list[LogRecord]) -> list[Fault]:
    assembler = FaultAssembler(RULES)
    return [fault for record in records for fault in assembler.feed(record)] + assembler.flush()


@given(st.lists(st.one_of(PIECES, st.text(max_size=80)), max_size=60), st.booleans())
def test_no_text_is_too_strange(lines: list[str], timed: bool) -> None:
    for fault in run([LogRecord(t, float(i) if timed else None) for i, t in enumerate(lines)]):
        assert fault.attribution is not Attribution.NONE


@given(st.text())
def test_no_file_is_too_strange(text: str) -> None:
    assert len(logtext.read(text)) <= text.count("\n") + 1


@given(
    st.sampled_from(REPORTS),
    st.lists(BENIGN, max_size=30),
    st.lists(BENIGN, max_size=30),
    st.lists(st.tuples(st.integers(0, 40), BENIGN), max_size=5),
)
def test_ordinary_lines_around_and_within_change_nothing(
    report: list[str],
    before: list[str],
    after: list[str],
    within: list[tuple[int, str]],
) -> None:
    mixed = list(report)
    for position, line in within:
        # Not between a WARN and its message, which the kernel prints in one go.
        mixed.insert(3 + position, line)
    lines = [*before, *mixed, *after]
    noisy = run([LogRecord(text, 10 + n * 0.01) for n, text in enumerate(lines)])
    plain = run([LogRecord(text, 10 + n * 0.01) for n, text in enumerate(report)])
    assert noisy == plain


@given(st.lists(PIECES, max_size=60), st.integers(0, 60))
def test_a_fault_does_not_depend_on_what_comes_after_it(lines: list[str], cut: int) -> None:
    records = [LogRecord(text, n * 0.01) for n, text in enumerate(lines)]
    assembler = FaultAssembler(RULES)
    early = [fault for record in records[:cut] for fault in assembler.feed(record)]
    assembler = FaultAssembler(RULES)
    whole = [fault for record in records for fault in assembler.feed(record)]
    assert whole[: len(early)] == early


@settings(max_examples=50)
@given(st.lists(PIECES, min_size=1, max_size=40))
def test_with_callers_the_order_of_cpus_does_not_matter(lines: list[str]) -> None:
    one = [LogRecord(text, 5.0, caller="C0") for text in lines]
    two = [LogRecord(text, 5.0, caller="C1") for text in REPORTS[0]]
    interleaved = [r for pair in zip(one, two, strict=False) for r in pair]
    shorter = min(len(one), len(two))
    interleaved += one[shorter:] + two[shorter:]
    assert verdict(run(interleaved)) is verdict(run(one + two))
