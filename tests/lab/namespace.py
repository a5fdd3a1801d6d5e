# SPDX-License-Identifier: GPL-2.0-or-later
"""Network namespaces and the programs that run in them."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.kernel import LabError

_NAMED = Path("/run/netns")


@dataclass(frozen=True, slots=True)
class Namespace:
    """A named network namespace, or the caller's own when the name is empty."""

    name: str = ""

    def create(self) -> None:
        run("ip", "netns", "add", self.name)

    def delete(self) -> None:
        """Delete the namespace; one that does not exist is fine."""
        if self.exists():
            run("ip", "netns", "delete", self.name)

    def exists(self) -> bool:
        return (_NAMED / self.name).exists()

    def command(self, *argv: str) -> list[str]:
        """The argument vector that runs `argv` inside."""
        return ["ip", "netns", "exec", self.name, *argv] if self.name else list(argv)

    def run(self, *argv: str, stdin: str = "") -> str:
        return run(*self.command(*argv), stdin=stdin)

    def ip(self, *lines: str) -> None:
        """Run lines of `ip`'s batch language, stopping at the first that fails."""
        run("ip", *self._option, "-batch", "-", stdin="".join(f"{line}\n" for line in lines))

    def links(self) -> dict[str, dict[str, Any]]:
        """The network devices by name, each as `ip -json` shows it."""
        shown = json.loads(run("ip", *self._option, "-json", "link", "show"))
        return {link["ifname"]: link for link in shown}

    @property
    def _option(self) -> tuple[str, ...]:
        """Cheaper than running `ip` inside."""
        return ("-netns", self.name) if self.name else ()

    def sysctl(self, values: dict[str, int]) -> None:
        """Set kernel parameters, named as sysctl.conf does."""
        self.run("sysctl", "-q", "-p", "-", stdin="".join(f"{k}={v}\n" for k, v in values.items()))


def run(*argv: str, stdin: str = "") -> str:
    """Run a program and return what it printed.

    Raises LabError with the program's own complaint when it fails or is not installed.
    """
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise LabError(f"{argv[0]} is not installed") from error
    if done.returncode:
        complaint = done.stderr.strip() or done.stdout.strip() or f"status {done.returncode}"
        raise LabError(f"{' '.join(argv)}: {complaint}")
    return done.stdout
