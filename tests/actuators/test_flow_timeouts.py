# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import logging

import pytest

from flowguard.actuators.flow_timeouts import FOLDER, KERNELS_OWN, NAMES, FlowTimeouts
from tests.sensors.machine import Parts

JOURNAL = "/run/flow_timeouts.json"


class Router:
    """Its kernel and its runtime directory outlive the daemon."""

    def __init__(self, *values: int) -> None:
        self.parts = Parts()
        self.kernel(*values)

    def kernel(self, *values: int) -> None:
        for name, value in zip(NAMES, values, strict=True):
            self.parts.sysctls.values[f"{FOLDER}/{name}"] = value

    @property
    def values(self) -> list[int]:
        return [self.parts.sysctls.values[f"{FOLDER}/{name}"] for name in NAMES]

    def daemon(self) -> FlowTimeouts:
        """A new process: it knows only what is in the files."""
        return FlowTimeouts(self.parts.machine, "/run")


@pytest.fixture
def router() -> Router:
    return Router(30, 45)


def test_override_and_restore(router: Router) -> None:
    timeouts = router.daemon()
    timeouts.override(0)
    assert router.values == [0, 0]
    timeouts.override(10)
    assert router.values == [10, 10]
    timeouts.restore()
    assert router.values == [30, 45]
    assert not router.parts.files.texts


def test_next_process_restores_what_a_killed_one_changed(router: Router) -> None:
    router.daemon().override(0)
    router.daemon().override(5)
    router.daemon().restore()
    assert router.values == [30, 45]


def test_killed_between_journal_and_change(router: Router) -> None:
    router.parts.files.replace(JOURNAL, '{"nf_flowtable_tcp_timeout": 30}')
    router.daemon().restore()
    assert router.values == [30, 45]


def test_nothing_recorded_means_nothing_restored(router: Router) -> None:
    router.daemon().restore()
    assert router.values == [30, 45]


def test_kernel_without_the_sysctls(router: Router, caplog: pytest.LogCaptureFixture) -> None:
    router.parts.sysctls.values.clear()
    with caplog.at_level(logging.WARNING):
        router.daemon().override(0)
    router.daemon().restore()
    assert "draining takes its own time" in caplog.text
    assert not router.parts.sysctls.values


@pytest.mark.parametrize("content", ["", "{", "[]", '{"nf_flowtable_tcp_timeout": "x"}'])
def test_damaged_journal_is_reported(
    router: Router, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    router.parts.files.replace(JOURNAL, content)
    router.daemon().restore()
    assert router.values == [30, 45]
    assert "damaged" in caplog.text


def test_a_disk_that_is_full_keeps_no_drain_from_its_timeouts(
    router: Router, caplog: pytest.LogCaptureFixture
) -> None:
    router.parts.files.full = True
    timeouts = router.daemon()
    for _ in range(2):
        timeouts.override(0)
    assert router.values == [0, 0]
    (record,) = caplog.records
    assert "No space left on device" in record.getMessage()


def test_a_disk_that_is_full_for_a_while_does_not_make_us_forget_what_was(router: Router) -> None:
    timeouts = router.daemon()
    router.parts.files.full = True
    timeouts.override(0)
    router.parts.files.full = False
    timeouts.override(10)
    router.daemon().restore()
    assert router.values == [30, 45]
    router.parts.files.full = True
    timeouts = router.daemon()
    timeouts.override(10)
    timeouts.restore()
    assert router.values == [30, 45]


def test_without_a_journal_a_timeout_of_nothing_becomes_the_kernels_own(router: Router) -> None:
    router.parts.files.full = True
    router.daemon().override(0)
    router.daemon().restore()
    assert router.values == [KERNELS_OWN, KERNELS_OWN] == [30, 30]
    router.kernel(0, 45)
    router.daemon().restore()
    assert router.values == [30, 45]


def test_without_a_journal_other_timeouts_are_somebodys_own(router: Router) -> None:
    router.parts.files.full = True
    router.daemon().override(10)
    router.daemon().restore()
    assert router.values == [10, 10]


def test_the_longest_one_is_the_current_one(router: Router) -> None:
    assert router.daemon().current() == 45
    router.parts.sysctls.values.clear()
    assert router.daemon().current() == 0
