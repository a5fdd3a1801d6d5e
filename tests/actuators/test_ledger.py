# SPDX-License-Identifier: GPL-2.0-or-later
"""From one life of the daemon to the next: what it is told about the boot before."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowguard import rules
from flowguard.actuators.ledger import IntentLedger
from flowguard.actuators.state_file import StateStore
from flowguard.core.arms.detector import Detector, Evidence, Mute
from flowguard.core.events import (
    BootSeen,
    Converged,
    DevicesChanged,
    Event,
    FaultSeen,
    LedgerFailed,
    Started,
)
from flowguard.core.model import Attribution, Device, Fault, FaultClass, Level
from flowguard.core.policy import decide
from flowguard.core.records import replace
from flowguard.core.requests import PlannedEnd
from flowguard.core.state import State
from flowguard.platform.configuration.loading import Configuration
from flowguard.sensors.last_boot import Places

WAN = Device("wan", 2, driver="mtk_soc_eth", hardware_capable=True)
CONFIGURED = Configuration(enabled=True, boot_delay=0)
FAULT = Fault("rule", FaultClass.TX_TIMEOUT, Attribution.DRIVER, "wan", None, "line")
OOPS = """\
<6>[  100.000000] an ordinary line
<1>[  200.000000] Unable to handle kernel NULL pointer dereference at 0000000000000008
<1>[  200.000001] Internal error: Oops: 0000000096000005 [#1] SMP
<4>[  200.000002] CPU: 1 PID: 77 Comm: kworker/1:2 Not tainted 6.12.0 #0
<4>[  200.000003] Workqueue: nf_ft_offload_add flow_offload_work_handler [nf_flow_table]
<4>[  200.000004] pc : mtk_flow_offload_replace+0x1c4/0x8d0 [mtk_eth]
<4>[  200.000005] Call trace:
<4>[  200.000006]  mtk_flow_offload_replace+0x1c4/0x8d0 [mtk_eth]
<0>[  200.000007] Kernel panic - not syncing: Oops: Fatal exception
"""


class Router:
    """A state folder that outlives boots."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.dumps = directory / "pstore"
        self.dumps.mkdir()
        self.places = Places((str(self.dumps),), "", str(directory), "/dev/null", "/nonexistent")

    def start(
        self, boot: str, evidence: Evidence | None = None
    ) -> tuple[State, IntentLedger, list[Event]]:
        ledger = IntentLedger(
            StateStore(str(self.directory / "state"), boot), rules.load(()), self.places
        )
        events = list(ledger.begin(CONFIGURED, evidence))
        state = State()
        for event in events:
            state, _ = decide(state, event)
        return state, ledger, events

    def run(self, boot: str) -> tuple[State, IntentLedger]:
        """A life that puts a device on hardware and has it written down."""
        state, ledger, _ = self.start(boot)
        for event in (DevicesChanged(state.time, (WAN,)), Converged(state.time)):
            state, _ = decide(state, event)
        assert not ledger.save(Level.HARDWARE, state)
        return state, ledger

    def seen(self, boot: str) -> BootSeen:
        _, _, events = self.start(boot)
        (seen,) = [event for event in events if isinstance(event, BootSeen)]
        return seen


@pytest.fixture
def router(tmp_path: Path) -> Router:
    return Router(tmp_path)


def test_the_first_boot_ever_is_nobodys_fault(router: Router) -> None:
    seen = router.seen("one")
    assert (seen.boot_count, seen.unplanned, seen.devices) == (1, False, ())


def test_a_boot_that_ended_with_hardware_on_was_unplanned(router: Router) -> None:
    router.run("one")
    seen = router.seen("two")
    assert (seen.boot_count, seen.unplanned, seen.devices) == (2, True, (WAN,))


def test_a_planned_end_is_remembered(router: Router) -> None:
    state, ledger = router.run("one")
    state, _ = decide(state, PlannedEnd(state.time))
    ledger.save(Level.HARDWARE, state)
    assert not router.seen("two").unplanned


def test_a_backup_that_is_restored_does_not_tell_how_the_last_boot_ended(router: Router) -> None:
    """As sysupgrade leaves it: saved while hardware was on, and then another system is there."""
    state, ledger = router.run("one")
    state, _ = decide(state, FaultSeen(state.time, FAULT))
    ledger.save(Level.HARDWARE, state)
    backup = (router.directory / "state" / "state.json").read_text()
    for file in (router.directory / "state").iterdir():
        file.unlink()
    (router.directory / "state" / "state.json").write_text(backup)
    state, _, events = router.start("two")
    (seen,) = [event for event in events if isinstance(event, BootSeen)]
    assert not seen.unplanned and state.boots.early <= 1
    # What it says about the hardware counts.
    assert [verdict.device for verdict in state.verdicts] == ["wan"]


def test_a_restart_of_the_daemon_is_no_boot_and_the_intent_stands(router: Router) -> None:
    router.run("one")
    state, _, events = router.start("one")
    assert [type(event) for event in events] == [Started]
    assert state.armed == (WAN,) and state.boots.count == 1


def test_the_arms_evidence_is_of_one_boot(router: Router) -> None:
    router.run("one")
    evidence = Evidence((("wan", Level.HARDWARE),), Detector(), Mute(1000, 2))
    assert router.start("one", evidence)[0].mute.exonerations == 2
    assert router.start("two", evidence)[0].mute.exonerations == 0


def test_the_crash_dump_of_the_last_boot_is_judged_once(router: Router) -> None:
    router.run("one")
    (router.dumps / "dmesg-ramoops-0").write_text("Panic#1 Part1\n" + OOPS)
    seen = router.seen("two")
    assert {fault.attribution for fault in seen.faults} == {"offload"}
    assert "Oops" in seen.crash or "Unable to handle" in seen.crash
    state, _ = router.run("two")
    verdict = state.verdict_on("wan")
    assert verdict and verdict.highest is Level.SOFTWARE
    again = router.seen("three")
    assert not again.faults and not again.crash


def test_judged_dumps_are_deleted_only_when_that_is_written_down(router: Router) -> None:
    router.run("one")
    dump = router.dumps / "dmesg-ramoops-0"
    dump.write_text("Panic#1 Part1\n" + OOPS)
    _, ledger = router.run("two")
    assert dump.exists()
    ledger.clear_dumps()
    assert not dump.exists()


def test_a_memory_that_cannot_be_read_is_told(router: Router) -> None:
    router.run("one")
    (router.directory / "state" / "state.json").write_text("}")
    _, ledger, events = router.start("two")
    lost = events[-1]
    assert isinstance(lost, LedgerFailed) and lost.lost
    assert "unreadable" in ledger.health


def test_a_medium_that_refuses_is_told_in_words(router: Router) -> None:
    state, ledger = router.run("one")
    folder = router.directory / "state"
    folder.rename(router.directory / "kept")
    folder.write_text("in the way")
    assert "state.json" in ledger.save(Level.HARDWARE, replace(state, armed=()))
    assert ledger.health != "ok"
