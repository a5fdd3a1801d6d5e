# SPDX-License-Identifier: GPL-2.0-or-later
"""`flowguard report`: all that whoever is to find the bug will ask for, in one Markdown file."""

from __future__ import annotations

import argparse
import asyncio
import os
import stat
import sys
import tempfile
from typing import Any

from flowguard import rules
from flowguard.checks import Finding, Grade
from flowguard.cli import check
from flowguard.cli.common import (
    DEFAULT_STATE_DIRECTORY,
    ExitCode,
    add_configuration,
    add_socket,
)
from flowguard.kernel import linux
from flowguard.paths import Paths
from flowguard.platform import absence
from flowguard.platform.configuration import loading
from flowguard.platform.openwrt import effective, uci
from flowguard.report.making import Report, Told, report
from flowguard.service.control import (
    DEFAULT_SOCKET,
    ApiError,
    NoAnswer,
    NotRunning,
    Unreachable,
    request,
)

STATUS_SECONDS = 10.0
FOR_ROOT_ONLY = 0o600
STATE_DIRECTORIES = (DEFAULT_STATE_DIRECTORY, "/var/lib/flowguard")
"""OpenWrt's, and that of the systemd unit."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        help="where to write it, - for standard output (default: a new file in /tmp)",
    )
    parser.add_argument(
        "--state-dir",
        help=f"what is remembered, for when no daemon runs ({' or '.join(STATE_DIRECTORIES)})",
    )
    add_configuration(parser)
    add_socket(parser)


def run(options: argparse.Namespace) -> ExitCode:
    made = _report(options)
    for source in made.unread:
        print(f"flowguard: report: names are not masked: {source}", file=sys.stderr)
    code = ExitCode.TROUBLE if made.unread else ExitCode.FINE
    if options.file == "-":
        print(made.text, end="")
        return code
    try:
        path = _write(options.file, made.text)
    except OSError as error:
        place = options.file or tempfile.gettempdir()
        print(f"flowguard: report: {place}: {error.strerror or error}", file=sys.stderr)
        return ExitCode.USAGE
    if made.unread:
        print(f"{path}: not safe to publish: not all names are masked")
    else:
        print(
            f"{path}: addresses, names and keys are masked, so it is safe to publish;"
            " read it first all the same"
        )
    return code


def _write(path: str | None, text: str) -> str:
    if path is None:
        # Not on flash, and not by a name that another user could have put there before.
        descriptor, path = tempfile.mkstemp(prefix="flowguard-report-", suffix=".md")
    else:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        descriptor = os.open(path, flags, FOR_ROOT_ONLY)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.fchmod(descriptor, FOR_ROOT_ONLY)  # Of a file that was there before, too.
    with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
    return path


def _report(options: argparse.Namespace) -> Report:
    status, why, findings = _asked(options)
    configuration = loading.load(options.config).configuration
    told = Told(
        status,
        why,
        findings,
        rules.load_usable(configuration.rules),
        lambda name: _load(options.config, name),
    )
    state_directory = options.state_dir or next(
        (path for path in STATE_DIRECTORIES if os.path.isdir(path)), DEFAULT_STATE_DIRECTORY
    )
    paths = Paths(options.config, state_directory, options.socket)
    with linux.opened() as machine:
        return asyncio.run(report(machine, paths, told))


def _asked(options: argparse.Namespace) -> tuple[dict[str, Any] | None, str, list[Finding]]:
    """The status or why there is none, and what `flowguard check` finds."""
    status = None
    why = ""
    try:
        status = request(options.socket, "status", seconds=STATUS_SECONDS)
    except NoAnswer as error:
        # It would not answer for `check` either, and for longer.
        return None, str(error), [_not_looked_at(error)]
    except NotRunning as error:
        why = absence.reason() if options.socket == DEFAULT_SOCKET else str(error)
    except (Unreachable, ApiError) as error:
        why = str(error)
    try:
        # No driver is bound only to write a report.
        return status, why, check.findings(options, untouched=True)
    except (ApiError, Unreachable, OSError) as error:
        return status, why, [_not_looked_at(error)]


def _not_looked_at(error: Exception) -> Finding:
    return Finding(Grade.ERROR, "check", f"not looked at: {error}")


def _load(configuration: str | None, name: str) -> uci.Package:
    if configuration and name == loading.PACKAGE:
        return uci.load(configuration)
    return effective.load(name)[0]
