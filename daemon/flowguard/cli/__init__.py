# SPDX-License-Identifier: GPL-2.0-or-later
"""The program `flowguard`: the module of a subcommand is imported only when it is used.

Exit codes: 0 fine, 1 trouble (an error that `check` found, a fault in a log, something that
would not leave hardware), 2 wrong usage or configuration, 3 the daemon cannot be reached.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from flowguard import __version__

if TYPE_CHECKING:
    import argparse

_COMMANDS = {
    "run": "run the daemon in the foreground",
    "status": "show the level, the devices, the flows and the latest decisions",
    "check": "check configuration, modules, devices and conflicts",
    "flows": "list connections with their level, arm, age, bytes and what is stalled",
    "metrics": "print the status for Prometheus",
    "level": "set the highest level wanted, until the configuration changes",
    "retry": "end every wait: try the next level up now, carefully",
    "hold": "keep everything from hardware for some time",
    "suspend": "offload nothing at all until it is resumed",
    "resume": "end what suspend began",
    "forget": "drop what is remembered against a device, or against all",
    "adopt": "switch the firewall's own flow offloading off",
    "release": "switch on again what adopt has switched off",
    "stop": "drain the hardware and end the daemon, as planned",
    "classify": "look for driver faults in kernel logs",
    "report": "write all that an issue needs into one file, with every name masked",
    "replay": "re-take the decisions of a recorded event log",
    "version": "print the version",
}
SIGPIPE_CODE = 141  # what shells report of a program that a closed pipe has ended
# They have no arguments, and the daemon's methods have their names.
_PLAIN = {"retry", "suspend", "resume"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, run one subcommand, return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names that are no UTF-8 come from the kernel, and must not cost the whole answer.
        sys.stdout.reconfigure(errors="backslashreplace")
    named = next((word for word in words if word in _COMMANDS), None)
    try:
        code = int(_run(words, named))
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        if named == "run":
            raise
        # `| head` has seen enough. Python flushes at its end and would complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SIGPIPE_CODE


def _run(words: Sequence[str], named: str | None) -> int:
    if words[:1] == ["run"]:
        from flowguard.cli import run

        paths = run.as_supervised(words[1:])
        if paths:
            return run.live(paths)
    options = _parse(words, named)
    return int(options.run(options))


def _parse(words: Sequence[str], named: str | None) -> argparse.Namespace:
    import argparse

    parser = argparse.ArgumentParser(
        prog="flowguard", description="Keeps hardware flow offloading safe."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    # Only the named command's module is imported: on a router every import is felt.
    for name, summary in _COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        if name == named:
            module = import_module(f"flowguard.cli.{'plain' if name in _PLAIN else name}")
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser.parse_args(words)
