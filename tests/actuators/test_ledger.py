# SPDX-License-Identifier: GPL-2.0-or-later
"""From one life of the daemon to the next: what it is told about the boot before."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import pytest

from flowguard import rules
from flowguard.actuators.ledger import IntentLedger
from flowguard.core.arms.detector import Detector, Evidence, Mute
from flowguard.core.events import (
    BootSeen,
    Converged,
    DevicesChanged,
    Event,
    FaultSeen,
    LedgerFailed,
    LedgerKept,
    LookBegun,
    LookEnded,
    Started,
)
from flowguard.core.model import Attribution, Device, Fault, FaultClass, Level
from flowguard.core.policy import decide
from flowguard.core.records import replace
from flowguard.core.requests import PlannedEnd
from flowguard.core.state import State
from flowguard.kernel import pstore
from flowguard.kernel.files import LinuxFiles
from flowguard.kernel.pstore import Dumps
from flowguard.platform.configuration.loading import Configuration
from flowguard.platform.systemd.journal import NoJournal, PreviousBoot
from flowguard.sensors import last_boot
from flowguard.sensors.last_boot import CrashEvidence
from tests.sensors.machine import Parts, Traces

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


class Pstore(Traces):
    """The crash dumps of a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folders = (str(folder),)

    def dumps(self) -> tuple[Dumps, str]:
        found = pstore.read(self._folders)
        return found, pstore.told(found)

    def clear_dumps(self) -> tuple[str, ...]:
        return pstore.clear(self._folders)


class Flash(LinuxFiles):
    """`refuses` what is to be kept."""

    refuses = False

    async def keep(self, path: str, text: str) -> None:
        if self.refuses:
            raise OSError(errno.EROFS, "Read-only file system", path)
        await super().keep(path, text)


def no_journal() -> PreviousBoot:
    raise NoJournal("no systemd here")


class Life:
    """One life of the daemon: the policy with what its ledger tells it, from `begin` on."""

    def __init__(self, directory: Path, boot: str) -> None:
        parts = Parts()
        parts.clock.boot_id = boot
        self.flash = Flash()
        self.pstore = Pstore(directory / "pstore")
        machine = replace(parts.machine, files=self.flash, last_boot=self.pstore)
        self.ledger = IntentLedger(machine, str(directory / "state"), self._look_back, self.feed)
        self.state = State()
        self.told: list[Event] = []

    async def _look_back(self, judged: tuple[str, ...]) -> CrashEvidence:
        return await last_boot.look(rules.load(()), judged, self.pstore, no_journal)

    async def begin(self, evidence: Evidence | None = None) -> Life:
        for event in await self.ledger.begin(CONFIGURED, evidence):
            self.feed(event)
        return self

    async def use_hardware(self) -> None:
        """Put a device on hardware and have it written down."""
        self.feed(DevicesChanged(self.state.time, (WAN,)))
        self.feed(Converged(self.state.time))
        await self.save()
        assert self.ledger.health == "ok"

    async def save(self) -> None:
        self.ledger.save(Level.HARDWARE, self.state)
        await self.ledger.kept()

    def feed(self, event: Event) -> None:
        self.told.append(event)
        self.state, _ = decide(self.state, event)

    @property
    def seen(self) -> BootSeen:
        (seen,) = [event for event in self.told if isinstance(event, BootSeen)]
        return seen


class Router:
    """A state folder that outlives boots."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.memory = directory / "state" / "state.json"
        self.dumps = directory / "pstore"
        self.dumps.mkdir()

    def start(self, boot: str, evidence: Evidence | None = None) -> Life:
        return asyncio.run(Life(self.directory, boot).begin(evidence))

    def run(self, boot: str, *then: Event) -> Life:
        """A life that puts a device on hardware; what comes `then` is written down as well."""

        async def live() -> Life:
            life = await Life(self.directory, boot).begin()
            await life.use_hardware()
            for event in then:
                life.feed(event)
                await life.save()
            return life

        return asyncio.run(live())

    def seen(self, boot: str) -> BootSeen:
        return self.start(boot).seen


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


def test_a_boot_that_ended_in_the_first_look_at_the_engine_is_known_by_that(
    router: Router,
) -> None:
    router.run("one", LookBegun(0))
    life = router.run("two")
    assert life.seen.looking and life.state.shut_eye
    again = router.start("three")
    assert not again.seen.looking
    assert again.state.shut_eye == life.state.shut_eye


def test_a_look_that_ended_is_not_remembered(router: Router) -> None:
    router.run("one", LookBegun(0), LookEnded(1))
    assert not router.seen("two").looking


def test_a_restored_backup_does_not_tell_of_a_look_here(router: Router) -> None:
    router.run("one", LookBegun(0))
    backup = router.memory.read_text()
    for file in router.memory.parent.iterdir():
        file.unlink()
    router.memory.write_text(backup)
    assert not router.seen("two").looking


def test_a_planned_end_is_remembered(router: Router) -> None:
    router.run("one", PlannedEnd(0))
    assert not router.seen("two").unplanned


def test_a_backup_that_is_restored_does_not_tell_how_the_last_boot_ended(router: Router) -> None:
    """As sysupgrade leaves it: saved while hardware was on, and then another system is there."""
    router.run("one", FaultSeen(0, FAULT))
    backup = router.memory.read_text()
    for file in router.memory.parent.iterdir():
        file.unlink()
    router.memory.write_text(backup)
    life = router.start("two")
    assert not life.seen.unplanned and life.state.boots.early <= 1
    # What it says about the hardware counts.
    assert [verdict.device for verdict in life.state.verdicts] == ["wan"]


def test_a_restart_of_the_daemon_is_no_boot_and_the_intent_stands(router: Router) -> None:
    router.run("one")
    life = router.start("one")
    assert [type(event) for event in life.told] == [Started]
    assert life.state.armed == (WAN,) and life.state.boots.count == 1


def test_the_arms_evidence_is_of_one_boot(router: Router) -> None:
    router.run("one")
    evidence = Evidence((("wan", Level.HARDWARE),), Detector(), Mute(1000, 2))
    assert router.start("one", evidence).state.mute.exonerations == 2
    assert router.start("two", evidence).state.mute.exonerations == 0


def test_the_crash_dump_of_the_last_boot_is_judged_once(router: Router) -> None:
    router.run("one")
    (router.dumps / "dmesg-ramoops-0").write_text("Panic#1 Part1\n" + OOPS)
    seen = router.seen("two")
    assert {fault.attribution for fault in seen.faults} == {"offload"}
    assert "Oops" in seen.crash or "Unable to handle" in seen.crash
    verdict = router.run("two").state.verdict_on("wan")
    assert verdict and verdict.highest is Level.SOFTWARE
    again = router.seen("three")
    assert not again.faults and not again.crash


def test_judged_dumps_are_deleted_only_when_that_is_written_down(router: Router) -> None:
    router.run("one")
    dump = router.dumps / "dmesg-ramoops-0"
    dump.write_text("Panic#1 Part1\n" + OOPS)
    life = router.run("two")
    assert dump.exists()
    life.ledger.clear_dumps()
    assert not dump.exists()


def test_a_memory_that_cannot_be_read_is_told(router: Router) -> None:
    router.run("one")
    router.memory.write_text("}")
    life = router.start("two")
    lost = life.told[-1]
    assert isinstance(lost, LedgerFailed) and lost.lost
    assert "unreadable" in life.ledger.health


def test_a_medium_that_refuses_is_told_in_words_and_so_is_that_it_takes_again(
    router: Router,
) -> None:
    async def live() -> None:
        life = await Life(router.directory, "one").begin()
        life.flash.refuses = True
        await life.save()
        failed = life.told[-1]
        assert isinstance(failed, LedgerFailed) and not failed.lost
        assert failed.error == life.ledger.health == f"{router.memory}: Read-only file system"
        life.ledger.clear_dumps()
        assert dump.exists()
        life.flash.refuses = False
        await life.save()
        assert isinstance(life.told[-1], LedgerKept)
        assert life.ledger.health == "ok"

    dump = router.dumps / "dmesg-ramoops-0"
    dump.write_text("Panic#1 Part1\n" + OOPS)
    asyncio.run(live())


def test_a_folder_in_the_way_is_told_in_words(router: Router) -> None:
    router.run("one")
    router.memory.parent.rename(router.directory / "kept")
    router.memory.parent.write_text("in the way")

    async def live() -> Life:
        life = await Life(router.directory, "one").begin()
        await life.save()
        return life

    life = asyncio.run(live())
    assert isinstance(life.told[-1], LedgerFailed)
    assert "state.json" in life.ledger.health


class SlowFlash(Flash):
    """Each write begins when it is allowed to; `texts` are those that came through."""

    def __init__(self) -> None:
        super().__init__()
        self.may = asyncio.Semaphore(0)
        self.texts: list[str] = []

    async def keep(self, path: str, text: str) -> None:
        await self.may.acquire()
        self.texts.append(text)


def test_what_was_not_read_yet_is_not_written_over(router: Router) -> None:
    async def live() -> None:
        life = Life(router.directory, "two")
        begin = asyncio.create_task(life.begin())
        while not begin.done():
            await life.save()
            await asyncio.sleep(0)
        assert life.state.armed == () and life.seen.unplanned

    router.run("one")
    before = router.memory.read_text()
    asyncio.run(live())
    assert router.memory.read_text() == before


async def nothing_seen(judged: tuple[str, ...]) -> CrashEvidence:
    return CrashEvidence()


def test_slow_flash_gets_the_newest_and_one_at_a_time() -> None:
    async def live() -> None:
        flash = SlowFlash()
        machine = replace(Parts().machine, files=flash)
        ledger = IntentLedger(machine, "/etc/flowguard", nothing_seen, lambda event: None)
        flash.may.release()
        await ledger.begin(CONFIGURED)
        flash.texts.clear()
        for count in range(5):
            ledger.save(Level.HARDWARE, State(boots=replace(State().boots, count=count)))
            await asyncio.sleep(0)
        kept = asyncio.create_task(ledger.kept())
        await asyncio.sleep(0)
        assert not ledger.is_kept and not kept.done()
        flash.may.release()
        await asyncio.sleep(0)
        assert not kept.done()
        flash.may.release()
        await kept
        assert ledger.is_kept
        first, last = flash.texts
        assert '"count": 0' in first and '"count": 4' in last

    asyncio.run(live())
