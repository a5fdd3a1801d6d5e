# SPDX-License-Identifier: GPL-2.0-or-later
"""pytest plugin inside a lab router that shares the scenarios with others (pool.py).

A scenario is run by who first makes the folder named for it below LAB_CLAIMS, which all of
them have from the host. What becomes of it goes there as lines of JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest

from tests.lab.uml.machine import RECORDS


class Worker:
    def __init__(self, config: pytest.Config, claims: Path, records: TextIO) -> None:
        self._config = config
        self._claims = claims
        self._records = records

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """As pytest's own, with those scenarios only that nobody else has taken."""
        if session.testsfailed:
            raise session.Interrupted("errors during collection")
        claimed = self._claimed(session.items)
        item = next(claimed, None)
        while item:
            following = next(claimed, None)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.shouldfail:
                raise session.Failed(session.shouldfail)
            if session.shouldstop:
                raise session.Interrupted(session.shouldstop)
            item = following
        return True

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._tell({"started": nodeid})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        hook = self._config.hook.pytest_report_to_serializable
        self._tell({"report": hook(config=self._config, report=report)})

    def _claimed(self, items: list[pytest.Item]) -> Iterator[pytest.Item]:
        for item in items:
            name = hashlib.sha256(item.nodeid.encode()).hexdigest()[:16]
            try:
                # The host makes it or does not, whatever this kernel thinks is there.
                (self._claims / name).mkdir()
            except FileExistsError:
                continue
            yield item

    def _tell(self, record: dict[str, Any]) -> None:
        self._records.write(json.dumps(record) + "\n")
        self._records.flush()


def pytest_configure(config: pytest.Config) -> None:
    records = RECORDS.open("w")
    config.add_cleanup(records.close)
    config.pluginmanager.register(Worker(config, Path(os.environ["LAB_CLAIMS"]), records))
