# SPDX-License-Identifier: GPL-2.0-or-later
"""What reaches the journal, from a process whose stderr it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import logging
from flowguard.platform.log import fields, set_up
print(set_up("info"))
log = logging.getLogger("flowguard.test")
log.warning("step down: %s", "wan", extra=fields(device="wan", driver=None))
log.debug("not told")
log.error("plain")
"""
# Stands in for systemd-python, and writes down what it is asked to send.
SYSTEMD = """
import json, os
def send(message, **fields):
    with open(os.environ["SENT"], "a") as file:
        print(json.dumps([message, fields]), file=file)
"""


def run(folder: Path, *, journal: bool = True, systemd: bool = True) -> tuple[str, str]:
    """Standard output and standard error of the program."""
    package = folder / "lib" / "systemd"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "journal.py").write_text(SYSTEMD if systemd else "raise ImportError")
    with (folder / "stderr").open("w") as stderr:
        stream = os.fstat(stderr.fileno())
        name = f"{stream.st_dev}:{stream.st_ino}" if journal else "1:2"
        environment = {
            "PYTHONPATH": f"{ROOT / 'daemon'}:{folder / 'lib'}",
            "JOURNAL_STREAM": name,
            "SENT": str(folder / "sent"),
        }
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment,
            text=True,
            check=True,
        )
    return done.stdout, (folder / "stderr").read_text()


def test_entries_of_the_journal_have_fields_of_their_own(tmp_path: Path) -> None:
    assert run(tmp_path) == ("ok\n", "")
    entries = [json.loads(line) for line in (tmp_path / "sent").read_text().splitlines()]
    assert [message for message, _ in entries] == ["step down: wan", "plain"]
    step, plain = (fields for _, fields in entries)
    assert step["FLOWGUARD_DEVICE"] == "wan"
    assert "FLOWGUARD_DRIVER" not in step
    assert (step["PRIORITY"], plain["PRIORITY"]) == (4, 3)
    assert step["SYSLOG_IDENTIFIER"] == "flowguard"


def test_without_systemd_python_the_journal_still_gets_true_levels(tmp_path: Path) -> None:
    out, err = run(tmp_path, systemd=False)
    assert "systemd-python is not installed" in out
    assert err == "<4>step down: wan\n<3>plain\n"


@pytest.mark.skipif(Path("/dev/log").exists(), reason="would write to the system's log")
def test_a_stream_that_is_another_processs_is_not_taken_for_ours(tmp_path: Path) -> None:
    assert run(tmp_path, journal=False) == (
        "\n",
        "flowguard: step down: wan\nflowguard: plain\n",
    )
