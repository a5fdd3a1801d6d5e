# SPDX-License-Identifier: GPL-2.0-or-later
"""One router for all scenarios of a boot, and a clean state for each.

The packet engine's module is named by LAB_ENGINE. A scenario that fails shows the
router's kernel log since its start, the ruleset, and flowguard's log and status.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from flowguard.actuators import damage
from flowguard.kernel import linux
from flowguard.kernel.sysctls import LinuxSysctls
from flowguard.service.control import Unreachable
from tests.lab.capture import Engine, KernelLog, ruleset
from tests.lab.daemon import Daemon
from tests.lab.edge import Kernel
from tests.lab.hosts import Router, load_engine, load_modules
from tests.lab.kernel import LabError
from tests.lab.namespace import run
from tests.lab.traffic.control import Traffic

# The kernel's defaults, for when a scenario killed flowguard in the middle of a drain.
FLOWTABLE_SYSCTLS = {
    "net.netfilter.nf_flowtable_tcp_timeout": 30,
    "net.netfilter.nf_flowtable_udp_timeout": 30,
}


def pytest_configure(config: pytest.Config) -> None:
    marker = "needs_qemu(reason): what User Mode Linux has not, so it runs on a stock kernel"
    config.addinivalue_line("markers", marker)


@pytest.fixture(scope="session")
def router() -> Iterator[Router]:
    module = os.environ.get("LAB_ENGINE")
    if not module:
        pytest.exit("LAB_ENGINE does not name the packet engine's module", 2)
    load_modules()
    load_engine(Path(module))
    built = Router()
    built.set_up()
    yield built
    if not has_oopsed():  # A damaged kernel waits for ever for its devices to go down.
        built.tear_down()


@pytest.fixture(scope="session")
def session_traffic(router: Router) -> Iterator[Traffic]:
    with Traffic(router) as started:
        yield started


@pytest.fixture
def engine(router: Router) -> Iterator[Engine]:
    """The engine, empty and sound; no flowtable or tracked connection is left from before."""
    found = Engine()
    _clean(router, found)
    yield found
    if not has_oopsed():
        _clean(router, found)


@pytest.fixture
def traffic(engine: Engine, session_traffic: Traffic) -> Iterator[Traffic]:
    yield session_traffic
    session_traffic.clear()


@pytest.fixture
def daemon(engine: Engine, tmp_path: Path) -> Iterator[Daemon]:
    """A flowguard of the scenario's own: to be configured, if need be, and started."""
    made = Daemon(tmp_path, "boot_delay '0'")
    yield made
    made.kill()


@pytest.fixture
def kernel(engine: Engine, tmp_path: Path) -> Iterator[Kernel]:
    with linux.opened() as machine, asyncio.Runner() as runner:
        yield Kernel(machine, runner, tmp_path)


@pytest.fixture(autouse=True)
def kernel_log() -> Iterator[KernelLog]:
    log = KernelLog()
    yield log
    log.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        report.sections += _evidence(getattr(item, "funcargs", {}))
    return report


def _evidence(fixtures: dict[str, Any]) -> list[tuple[str, str]]:
    """What a failed scenario leaves to look at; each part as far as it can be had."""
    parts: dict[str, Callable[[], str]] = {"ruleset": ruleset}
    if log := fixtures.get("kernel_log"):
        parts["kernel log"] = log.text
    if daemon := fixtures.get("daemon"):
        parts["flowguard's log"] = lambda: daemon.log.read_text(errors="replace")
        parts["flowguard's status"] = lambda: json.dumps(daemon.status(), indent=1)
    return [(title, _attempt(show)) for title, show in parts.items()]


def has_oopsed() -> bool:
    return damage.has_oopsed(LinuxSysctls())


def _attempt(show: Callable[[], str]) -> str:
    try:
        return show()
    except (LabError, Unreachable, OSError) as error:
        return f"not to be had: {error}"


def _clean(router: Router, engine: Engine) -> None:
    """Undo what scenarios do; flowguard and traffic have ended."""
    engine.clear_faults()
    for table in set(run("nft", "list", "tables").splitlines()) - {"table inet labfw"}:
        run("nft", "delete", *table.split())
    run("conntrack", "-F")
    # The kernel forgot the flows without telling the engine.
    engine.flush()
    router.namespace.sysctl(FLOWTABLE_SYSCTLS)
    router.bring_up()
