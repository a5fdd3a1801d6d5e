# SPDX-License-Identifier: GPL-2.0-or-later
"""`flowguard run`: the daemon in the foreground."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from flowguard.cli.common import (
    DEFAULT_STATE_DIRECTORY,
    UBUS_SOCKETS,
    ExitCode,
    add_configuration,
    add_socket,
)
from flowguard.paths import Paths
from flowguard.platform import early, light_asyncio
from flowguard.service.control import DEFAULT_SOCKET

if TYPE_CHECKING:
    import argparse

    from flowguard.platform.configuration.loading import Loaded


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_configuration(parser)
    parser.add_argument(
        "--state-dir", default=DEFAULT_STATE_DIRECTORY, help="what survives (%(default)s)"
    )
    add_socket(parser)
    parser.add_argument("--ubus", metavar="SOCKET", help="ubusd's socket (found by itself)")


def run(options: argparse.Namespace) -> ExitCode:
    return live(_paths(options.config, options.state_dir, options.socket, options.ubus))


def as_supervised(words: Sequence[str]) -> Paths | None:
    """What `--name value ...` says, if the words are nothing but that.

    So init scripts and units write it. argparse would stay in the daemon's memory (1 MB) for
    it; what is anything else, wrong words too, is for argparse to look at.
    """
    given = dict(zip(words[::2], words[1::2], strict=False))
    known = given.keys() <= {"--config", "--state-dir", "--socket", "--ubus"}
    if len(words) % 2 or not known or any(value.startswith("-") for value in given.values()):
        return None
    return _paths(
        given.get("--config"),
        given.get("--state-dir", DEFAULT_STATE_DIRECTORY),
        given.get("--socket", DEFAULT_SOCKET),
        given.get("--ubus"),
    )


def _paths(configuration: str | None, state: str, socket: str, ubus: str | None) -> Paths:
    return Paths(configuration, state, socket, (ubus,) if ubus else UBUS_SOCKETS)


def live(paths: Paths) -> ExitCode:
    """The daemon's life, from the command line to its end."""
    light_asyncio.prepare()
    # These may come before the loop listens for them; Python would die of them.
    signal.signal(signal.SIGHUP, early.note)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    # Or asyncio puts in its own, which `signal` then describes with all of `inspect`.
    signal.signal(signal.SIGINT, _interrupt)
    # systemd ends a main loop that hangs by SIGABRT; this shows where it hung.
    faulthandler.enable()
    from flowguard.platform import lock
    from flowguard.platform.configuration import loading
    from flowguard.service import life

    if os.geteuid() != 0:
        print("flowguard: run: only root may change the flowtables", file=sys.stderr)
        return ExitCode.USAGE
    loaded = loading.load(paths.configuration)
    try:
        if not loaded.configuration.enabled:
            return _stay_off(paths, loaded)
        lock.take(paths.runtime_directory)
        life.live(paths, loaded)
    except (lock.AlreadyRunning, OSError) as error:
        print(f"flowguard: run: {error}", file=sys.stderr)
        return ExitCode.TROUBLE
    return ExitCode.FINE


def _stay_off(paths: Paths, loaded: Loaded) -> ExitCode:
    from flowguard.platform import lock
    from flowguard.platform.configuration import loading
    from flowguard.platform.openwrt import effective
    from flowguard.platform.systemd import readiness
    from flowguard.service import life

    for problem in loaded.problems:
        print(f"flowguard: {problem}", file=sys.stderr)
    path = paths.configuration or effective.file_of(loading.PACKAGE)
    print(f"flowguard: not enabled in {path}", file=sys.stderr)
    # It exists once the daemon has run since the boot.
    if os.path.isdir(paths.runtime_directory):
        from flowguard.actuators.approach import RELEASE_SECONDS

        lock.take(paths.runtime_directory)
        # Not ready yet: from then on systemd would wait for signs of life.
        readiness.take_time(os.environ, RELEASE_SECONDS + 30)
        life.stay_off(paths, loaded)
    if loaded.problems:
        return ExitCode.USAGE
    readiness.tell_ready(os.environ)
    return ExitCode.FINE


def _end(*_: object) -> NoReturn:
    """Until the loop listens: a drain that is under way puts back what it changed."""
    raise SystemExit(ExitCode.FINE)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
