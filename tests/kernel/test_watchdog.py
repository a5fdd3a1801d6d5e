# SPDX-License-Identifier: GPL-2.0-or-later
"""Who tells that the watchdog did it."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowguard.kernel.watchdog import caused_reset

GONE = "/nonexistent"
PROCD = "30,95,2914012,-;procd: Watchdog has previously reset the system\n"
INIT = "30,95,2914012,-;init: Watchdog has previously reset the system\n"


def bootstatus(folder: Path, *values: str) -> str:
    for number, value in enumerate(values):
        (folder / f"watchdog{number}").mkdir(parents=True)
        (folder / f"watchdog{number}" / "bootstatus").write_text(value)
    return str(folder)


@pytest.mark.parametrize(
    ("values", "answer"),
    [
        (("32\n",), True),
        (("0\n", "33\n"), True),
        (("0\n",), False),
        (("1\n",), False),
        ((), None),
        (("rubbish\n",), None),
    ],
)
def test_bootstatus(tmp_path: Path, values: tuple[str, ...], answer: bool | None) -> None:
    assert caused_reset(bootstatus(tmp_path, *values), GONE) is answer


@pytest.mark.parametrize(
    ("record", "answer"),
    [
        (PROCD, True),
        (INIT, True),
        ("30,95,2914012,-;procd: - watchdog -\n", None),
        ("12,95,2914012,-;cat: procd: Watchdog has previously reset the system\n", None),
    ],
)
def test_what_procd_wrote_into_the_kernel_log(
    tmp_path: Path, record: str, answer: bool | None
) -> None:
    kmsg = tmp_path / "kmsg"
    kmsg.write_text(record)
    assert caused_reset(GONE, str(kmsg)) is answer


def test_without_anything() -> None:
    assert caused_reset(GONE, GONE) is None
