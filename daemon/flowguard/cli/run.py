# SPDX-License-Identifier: GPL-2.0-or-later
"""`flowguard run`: the daemon in the foreground."""

from __future__ import annotations

import argparse
import os
import signal
import sys

from flowguard.cli.common import (
    DEFAULT_STATE_DIRECTORY,
    ExitCode,
    add_configuration,
    add_socket,
    find_ubus,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_configuration(parser)
    parser.add_argument(
        "--state-dir", default=DEFAULT_STATE_DIRECTORY, help="what survives (%(default)s)"
    )
    add_socket(parser)
    parser.add_argument("--ubus", metavar="SOCKET", help="ubusd's socket (found by itself)")


def run(options: argparse.Namespace) -> ExitCode:
    # asyncio takes this as "no TLS" and leaves out OpenSSL: 4 MB that the daemon never uses.
    sys.modules.setdefault("ssl", None)  # type: ignore[arg-type]
    import asyncio

    from flowguard.host import configuration, effective, lock, log
    from flowguard.host.lock import AlreadyRunning

    # A reload may be asked for before the loop listens for it; Python would die of it.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
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
    log.set_up(loaded.configuration.log_level)
    from flowguard import rules
    from flowguard.api import PUBLIC, Api
    from flowguard.core.faults import RuleError
    from flowguard.service import Paths, Service

    paths = Paths(options.config, options.state_dir, options.socket)

    async def serve() -> None:
        service = Service(paths, loaded, rules.load(loaded.configuration.rules))
        api = Api(service)
        if path_of_ubus := options.ubus or find_ubus():
            from flowguard.host.ubus import UbusObject

            service.ubus = UbusObject(path_of_ubus, api.call, PUBLIC)
        await service.run(api.call)

    try:
        lock.take(paths.runtime_directory)
        asyncio.run(serve())
    except RuleError as error:
        print(f"flowguard: run: {error}", file=sys.stderr)
        return ExitCode.USAGE
    except (AlreadyRunning, OSError) as error:
        print(f"flowguard: run: {error}", file=sys.stderr)
        return ExitCode.TROUBLE
    return ExitCode.FINE
