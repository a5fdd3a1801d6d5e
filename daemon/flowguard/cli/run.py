# SPDX-License-Identifier: GPL-2.0-or-later
"""`flowguard run`: the daemon in the foreground."""

from __future__ import annotations

import argparse
import faulthandler
import os
import signal
import sys

from flowguard.cli.common import (
    DEFAULT_STATE_DIRECTORY,
    UBUS_SOCKETS,
    ExitCode,
    add_configuration,
    add_socket,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_configuration(parser)
    parser.add_argument(
        "--state-dir", default=DEFAULT_STATE_DIRECTORY, help="what survives (%(default)s)"
    )
    add_socket(parser)
    parser.add_argument("--ubus", metavar="SOCKET", help="ubusd's socket (found by itself)")


def run(options: argparse.Namespace) -> ExitCode:
    # asyncio, not imported yet, takes this as "no TLS" and leaves out OpenSSL: 5 MB.
    sys.modules.setdefault("ssl", None)  # type: ignore[arg-type]
    # These may come before the loop listens for them; Python would die of them.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    # systemd ends a main loop that hangs by SIGABRT; this shows where it hung.
    faulthandler.enable()
    from flowguard.host import configuration, effective, lock

    if os.geteuid() != 0:
        print("flowguard: run: only root may change the flowtables", file=sys.stderr)
        return ExitCode.USAGE
    loaded = configuration.load(options.config)
    if not loaded.configuration.enabled:
        for problem in loaded.problems:
            print(f"flowguard: {problem}", file=sys.stderr)
        path = options.config or effective.file_of(configuration.PACKAGE)
        print(f"flowguard: not enabled in {path}", file=sys.stderr)
        return ExitCode.USAGE if loaded.problems else ExitCode.FINE
    from flowguard import life
    from flowguard.core.faults import RuleError
    from flowguard.paths import Paths

    ubus = (options.ubus,) if options.ubus else UBUS_SOCKETS
    paths = Paths(options.config, options.state_dir, options.socket, ubus)
    try:
        lock.take(paths.runtime_directory)
        life.live(paths, loaded)
    except RuleError as error:
        print(f"flowguard: run: {error}", file=sys.stderr)
        return ExitCode.USAGE
    except (lock.AlreadyRunning, OSError) as error:
        print(f"flowguard: run: {error}", file=sys.stderr)
        return ExitCode.TROUBLE
    return ExitCode.FINE
