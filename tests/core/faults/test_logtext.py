# SPDX-License-Identifier: GPL-2.0-or-later
"""Saved logs in the formats people post."""

from __future__ import annotations

import pytest

from flowguard.core.faults import LogRecord, logtext

TEXT = "mtk_soc_eth 15100000.ethernet: PPE table busy"


@pytest.mark.parametrize(
    ("line", "time"),
    [
        (f"[   12.345678] {TEXT}", 12.345678),
        (f"<3>[   12.345678] {TEXT}", 12.345678),
        (f"[   12.345678][    T7] {TEXT}", 12.345678),
        (f"kern  :err   : [   12.345678] {TEXT}", 12.345678),
        (f"kern.err: [   12.345678] {TEXT}", 12.345678),
        (f"Wed May  1 13:56:36 2024 kern.err kernel: [   12.345678] {TEXT}", 12.345678),
        (f"May  1 13:56:36 router kernel: [   12.345678] {TEXT}", 12.345678),
        (f"May  1 13:56:36 OpenWrt kern.err kernel: [   12.345678] {TEXT}", 12.345678),
        (f"2024-05-01T13:56:36+0200 router kernel: {TEXT}", None),
        (f"May 01 13:56:36 router kernel: {TEXT}", None),
        (f"May 01 13:56:36 kernel: {TEXT}", None),
        (f"[   12.345678] router kernel: {TEXT}", 12.345678),
        (f"[   12.345678] kernel: {TEXT}", 12.345678),
        (f"[   12.345678 <    0.000100 >] router kernel: {TEXT}", 12.345678),
        (f"[   12.345678 <    0.000100>] {TEXT}", 12.345678),
        (f"Fri 2024-05-01 13:56:36 CEST router kernel: {TEXT}", None),
        (f"1714564596.123456 router kernel: {TEXT}", None),
        (f"[Wed May  1 13:56:36 2024] {TEXT}", None),
        (f"2024-05-01T13:56:36,123456+02:00 {TEXT}", None),
        (f"May  1 13:56:36 router user.warn kernel: {TEXT}", None),
        (f"<12>May  1 13:56:36 kernel: {TEXT}", None),
        (f"user.warn kernel: {TEXT}", None),
        (f"kern.err kernel: {TEXT}", None),
        (f"root@router:/# [   12.345678] {TEXT}", 12.345678),
        (f"root@router:~# tail -f /tmp/log[   12.345678] {TEXT}", 12.345678),
        (f"[admin@router ~]$ [   12.345678] {TEXT}", 12.345678),
        (f"router login: [   12.345678] {TEXT}", 12.345678),
        (f"/ # [   12.345678] {TEXT}", 12.345678),
        (f"root@router:/tmp# {TEXT}", None),
        (f"3,77,12345678,-;{TEXT}", 12.345678),
        (f"2019-06-28,08:46:22,Warning,NAME,kern,kernel,[   12.345678] {TEXT}", 12.345678),
        (f" kernel:{TEXT}", None),
        (TEXT, None),
        (f"> [   12.345678] {TEXT}", 12.345678),
        (f"> > **[   12.345678] {TEXT}", 12.345678),
        (f"\x1b[32m[   12.345678] \x1b[0m\x1b[33m{TEXT}\x1b[0m\r", 12.345678),
    ],
)
def test_lines_of_the_kernel(line: str, time: float | None) -> None:
    (record,) = logtext.read(line)
    assert record.text == TEXT
    assert record.time == time
    assert record.kernel


@pytest.mark.parametrize(
    "line",
    [
        f"<14>[   12.345678] {TEXT}",
        f"Wed May  1 13:56:36 2024 daemon.err prog[7]: {TEXT}",
        f"Wed May  1 13:56:36 2024 user.notice prog: [   12.345678] {TEXT}",
        f"Wed May  1 13:56:36 2024 user.notice prog: # [   12.345678] {TEXT}",
        f"Wed May  1 13:56:36 2024 user.warn kernel: [   12.345678] {TEXT}",
        f"Fri 2024-05-01 13:56:36 CEST router prog[7]: {TEXT}",
        f"user.warn prog: {TEXT}",
        f"May  1 13:56:36 router prog[7]: {TEXT}",
        f"[   12.345678] prog[7]: {TEXT}",
        f"11,77,12345678,-;{TEXT}",
        f"2019-06-28,08:46:22,Warning,NAME,daemon,prog,{TEXT}",
    ],
)
def test_lines_of_programs(line: str) -> None:
    (record,) = logtext.read(line)
    assert not record.kernel


def texts(records: list[LogRecord]) -> list[str]:
    return [record.text for record in records]


def test_newest_first_is_turned_round() -> None:
    assert texts(logtext.read("[  3.0] c\n[  2.0] b\n[  1.0] a")) == ["a", "b", "c"]
    assert texts(logtext.read("[  1.0] a\n[  2.0] b\n[  1.5] c")) == ["a", "b", "c"]
    clock = "May 01 13:56:{} router kernel: {}"
    newest_first = "\n".join(clock.format(s, t) for s, t in (("38", "b"), ("37", "a")))
    assert texts(logtext.read(newest_first)) == ["a", "b"]


def test_without_times_the_trace_tells_the_direction() -> None:
    trace = [" f+0x1/0x2", " g+0x1/0x2", "Call Trace:", "Oops[#1]:"]
    assert texts(logtext.read("\n".join(trace))) == trace[::-1]
    assert texts(logtext.read("\n".join(trace[::-1]))) == trace[::-1]


def test_pstore_parts_are_put_in_order() -> None:
    dump = "Panic#2 Part1\n<4>[  3.0] c\nPanic#2 Part2\n<4>[  2.0] b\nPanic#2 Part3\n<4>[  1.0] a"
    assert texts(logtext.read(dump)) == ["a", "b", "c"]
    both = "Oops#1 Part1\n<4>[  1.0] a\nPanic#2 Part1\n<4>[  2.0] b"
    assert texts(logtext.read(both)) == ["a", "b"]


def test_indentation_survives_because_it_means_a_frame() -> None:
    (record,) = logtext.read("[   12.345678]  ? show_stack+0x1/0x2")
    assert record.text == " ? show_stack+0x1/0x2"
