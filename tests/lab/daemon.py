# SPDX-License-Identifier: GPL-2.0-or-later
"""flowguard in the lab router, run and asked as its user would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from flowguard.kernel.files import replace_file
from flowguard.service.control import Unreachable, request
from tests.lab.kernel import LabError
from tests.lab.namespace import run
from tests.lab.wait import wait_for

REPOSITORY = Path(__file__).resolve().parents[2]
DEFAULT_CONFIGURATION = REPOSITORY / "config" / "flowguard"
PROGRAM = [sys.executable, "-m", "flowguard"]
START_LIMIT = 60.0
PORTS = ("lan1", "lan2", "wan")


def all_on(level: str) -> dict[str, str]:
    """Every port of the lab router on this level."""
    return dict.fromkeys(PORTS, level)


class Daemon:
    """One flowguard with directories of its own; it can be killed and started again.

    `options` go into the globals section after the shipped defaults, `sections` after
    that; both in UCI's words. For the daemon the router has been up `ahead` seconds longer.
    """

    def __init__(
        self,
        directory: Path,
        options: str = "",
        sections: str = "",
        *,
        state: Path | None = None,
        configuration: Path | None = None,
        ahead: int = 0,
    ) -> None:
        self.socket = directory / "control.sock"
        self.log = directory / "log"
        self.state = state or directory / "state"
        self.configuration = configuration or directory / "flowguard"
        for folder in (directory, self.state, self.configuration.parent):
            folder.mkdir(parents=True, exist_ok=True)
        self.configure(options, sections)
        # In a time namespace of its own (time_namespaces(7)), which begins with a child.
        clock = f"unshare --time --monotonic {ahead} --fork --kill-child" if ahead else ""
        self._program = [*clock.split(), *PROGRAM]
        self._process: subprocess.Popen[bytes] | None = None

    def configure(self, options: str = "", sections: str = "") -> None:
        """Write the configuration: the shipped one, enabled, with these changes.

        Renamed into its place as `uci commit` does: a daemon that reloads just now reads
        the old text or the new one, never half of it.
        """
        text = DEFAULT_CONFIGURATION.read_text()
        extra = "\n".join(f"\toption {line.strip()}" for line in options.splitlines() if line)
        # The same named section twice: UCI merges them, the later option wins.
        globals_again = f"config flowguard 'globals'\n\toption enabled '1'\n{extra}\n"
        replace_file(str(self.configuration), f"{text}\n{globals_again}\n{sections}\n")

    def start(self) -> Daemon:
        """Start the daemon and wait until it answers."""
        self.launch()
        wait_for(self._answers, "flowguard to answer", START_LIMIT, state=self._output)
        return self

    def launch(self) -> None:
        """Start the daemon, whatever becomes of it."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *self._program,
                    *("run", "--config", str(self.configuration)),
                    *("--state-dir", str(self.state), "--socket", str(self.socket)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
            )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """kill -9, as nothing and nobody should, if it is there at all."""
        if self._process is not None:
            self.signal(signal.SIGKILL)
            self._end()

    def stop(self, how: str = "") -> None:
        """End it as the service manager would, or as `flowguard stop` does with this option."""
        if self._process is None:
            return
        if how:
            self.cli("stop", f"--{how}")
        elif self._process.poll() is None:
            self.signal(signal.SIGTERM)
        self._end()

    def cli(self, command: str, *arguments: str) -> str:
        """Run `flowguard COMMAND` against this daemon; LabError when it fails."""
        return self._run(command, *arguments, "--socket", str(self.socket))

    def _run(self, *words: str) -> str:
        done = subprocess.run(
            [*PROGRAM, *words], capture_output=True, text=True, env=_environment()
        )
        if done.returncode:
            raise LabError(f"flowguard {words[0]}: {done.stderr}{done.stdout}")
        return done.stdout

    def check(self) -> str:
        """`flowguard check` on this daemon's configuration; LabError when it finds trouble."""
        return self._run("check", "--config", str(self.configuration))

    def status(self) -> dict[str, Any]:
        """As `flowguard status --json` prints it, without the cost of starting a program."""
        status: dict[str, Any] = request(str(self.socket), "status")
        return status

    def flows(self, **conditions: str) -> list[dict[str, Any]]:
        """As `flowguard flows --json` prints them."""
        found: list[dict[str, Any]] = request(
            str(self.socket), "flows", {"limit": 1000, **conditions}
        )
        return found

    def reload(self) -> None:
        """As by a signal, but it returns when that is done."""
        request(str(self.socket), "reload")

    def set_level(self, level: str) -> None:
        """`flowguard level`, without the cost of starting a program."""
        request(str(self.socket), "level", {"level": level})

    def levels(self) -> dict[str, str]:
        """The level of each device, as the kernel was seen to hold it."""
        return {device["name"]: device["level"] for device in self.status()["devices"]}

    def wait_for_levels(self, levels: Mapping[str, str], limit: float = 90.0) -> dict[str, Any]:
        """Wait until these devices are on these levels and nothing drains or fails."""

        def reached() -> bool:
            status = self.status()
            found = {device["name"]: device["level"] for device in status["devices"]}
            settled = status["drain"] is None and status["failure"] is None
            # What the daemon says that the kernel holds, and what that holds.
            return settled and levels.items() <= found.items() and tables_for(found.values())

        wait_for(reached, f"levels {dict(levels)}", limit, interval=0.5, state=self.status)
        return self.status()

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise LabError(f"flowguard ended at its start: {self._output()}")
        try:
            status = self.status()
            return bool(status["devices"] or status["left_out"])
        except Unreachable:
            return False

    def _end(self) -> None:
        assert self._process is not None
        self._process.wait(timeout=60)
        self._process = None

    def _output(self) -> str:
        return self.log.read_text(errors="replace")


def tables_for(levels: Collection[str]) -> bool:
    """Whether the kernel has the tables that devices on these levels need, and no other."""
    tables = run("nft", "list", "tables").splitlines()
    hardware, software = (f"table inet {name}" in tables for name in ("flowguard", "flowguard_sw"))
    return (hardware, software) == ("hardware" in levels, any(level != "none" for level in levels))


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY / "daemon")}
