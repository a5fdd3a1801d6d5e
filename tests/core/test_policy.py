# SPDX-License-Identifier: GPL-2.0-or-later
"""The policy as a sequence of events and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field

from flowguard.core.events import (
    Command,
    Converge,
    Converged,
    ConvergeFailed,
    Decided,
    DevicesChanged,
    DrainProgress,
    Event,
    FaultSeen,
    FlowsSeen,
    Notify,
    Save,
    Severity,
    Started,
    TablesLost,
    Tick,
)
from flowguard.core.model import (
    Attribution,
    Decision,
    Device,
    Fault,
    FaultClass,
    Level,
    PolicySettings,
    Verdict,
)
from flowguard.core.policy import decide
from flowguard.core.records import replace
from flowguard.core.requests import WantedChanged
from flowguard.core.state import Phase, State

SETTINGS = PolicySettings(
    boot_delay=30, hold_off=600, hold_off_limit=2000, settle=30, drain_limit=60
)
LAN1 = Device("lan1", 2, driver="mtk_soc_eth", lower=("eth0",), hardware_capable=True)
LAN2 = Device("lan2", 3, driver="mtk_soc_eth", lower=("eth0",), hardware_capable=True)
WAN = Device("wan", 4, driver="r8169", hardware_capable=True)
ALL = (LAN1, LAN2, WAN)


def fault(
    attribution: Attribution = Attribution.DRIVER,
    device: str | None = None,
    driver: str | None = None,
    rule: str = "tx-timeout",
    fault_class: FaultClass = FaultClass.TX_TIMEOUT,
) -> Fault:
    return Fault(rule, fault_class, attribution, device, driver, "the kernel's line")


@dataclass
class Story:
    """Feeds events to the policy and keeps what it answered."""

    state: State = field(default_factory=State)
    commands: list[Command] = field(default_factory=list)

    def on(self, event: Event) -> Story:
        self.state, commands = decide(self.state, event)
        self.last = commands
        self.commands += commands
        return self

    def levels(self) -> dict[str, Level]:
        return dict(self.state.levels)

    def decided(self) -> list[Decision]:
        return [c.decision for c in self.last if isinstance(c, Decided)]

    def notes(self, severity: Severity) -> list[str]:
        return [c.message for c in self.last if isinstance(c, Notify) and c.severity is severity]


def started(
    time: float = 100,
    wanted: Level = Level.HARDWARE,
    devices: tuple[Device, ...] = ALL,
    verdicts: tuple[Verdict, ...] = (),
) -> Story:
    story = Story().on(Started(time, wanted, SETTINGS, verdicts))
    return story.on(DevicesChanged(time, devices)).on(Converged(time))


def test_capable_devices_start_on_hardware_when_the_uptime_allows() -> None:
    story = started()
    assert set(story.levels().values()) == {Level.HARDWARE}
    assert story.state.phase is Phase.STEADY


def test_before_the_boot_delay_the_level_is_software_and_a_tick_is_asked_for() -> None:
    story = started(time=10)
    assert set(story.levels().values()) == {Level.SOFTWARE}
    assert story.state.next_deadline() == 30
    story.on(Tick(30))
    assert set(story.levels().values()) == {Level.HARDWARE}


def test_a_device_without_hardware_stays_in_software() -> None:
    veth = replace(LAN1, hardware_capable=False, reason="Operation not supported")
    story = started(devices=(veth, WAN))
    assert story.levels() == {"lan1": Level.SOFTWARE, "wan": Level.HARDWARE}


def test_a_driver_fault_steps_down_the_named_device_only() -> None:
    story = started().on(FaultSeen(200, fault(device="wan")))
    assert story.levels() == {
        "lan1": Level.HARDWARE,
        "lan2": Level.HARDWARE,
        "wan": Level.SOFTWARE,
    }
    (decision,) = story.decided()
    assert (decision.before, decision.after) == (Level.HARDWARE, Level.SOFTWARE)
    assert decision.evidence == "the kernel's line"
    assert Save() in story.last
    assert story.state.phase is Phase.DRAINING
    assert story.on(Converged(210)).state.phase is Phase.HELD_OFF


def test_a_fault_of_the_conduit_is_a_fault_of_its_ports() -> None:
    story = started().on(FaultSeen(200, fault(device="eth0")))
    assert story.levels() == {
        "lan1": Level.SOFTWARE,
        "lan2": Level.SOFTWARE,
        "wan": Level.HARDWARE,
    }


def test_a_driver_message_without_a_device_is_matched_by_the_hardware_it_names() -> None:
    gmac = Device("eth0", 5, driver="st_gmac", bus_name="37000000.ethernet", hardware_capable=True)
    line = "ipq806x-gmac-dwmac 37000000.ethernet: Failed to reset the dma"
    message = replace(fault(driver="ipq806x-gmac-dwmac"), line=line)
    story = started(devices=(gmac, WAN)).on(FaultSeen(200, message))
    assert story.levels() == {"eth0": Level.SOFTWARE, "wan": Level.HARDWARE}


def test_a_driver_fault_of_somebody_else_changes_nothing() -> None:
    story = started().on(FaultSeen(200, fault(device="wlan0", driver="ath10k_pci")))
    assert set(story.levels().values()) == {Level.HARDWARE}


def test_an_offload_fault_without_a_device_steps_down_everything() -> None:
    story = started().on(FaultSeen(200, fault(Attribution.OFFLOAD)))
    assert set(story.levels().values()) == {Level.SOFTWARE}


def test_further_lines_of_the_same_incident_do_not_step_further() -> None:
    oops = fault(Attribution.OFFLOAD, rule="oops", fault_class=FaultClass.KERNEL_OOPS)
    story = started().on(FaultSeen(200, fault(Attribution.OFFLOAD)))
    story.on(FaultSeen(201, oops)).on(Converged(210)).on(FaultSeen(215, oops))
    assert set(story.levels().values()) == {Level.SOFTWARE}


def test_a_new_oops_in_the_offload_path_on_software_steps_down_to_none() -> None:
    oops = fault(Attribution.OFFLOAD, rule="oops", fault_class=FaultClass.KERNEL_OOPS)
    story = started().on(FaultSeen(200, fault(Attribution.OFFLOAD))).on(Converged(210))
    story.on(FaultSeen(300, oops))
    assert set(story.levels().values()) == {Level.NONE}


def test_trouble_that_goes_on_one_level_down_is_recorded_once_and_not_acted_on() -> None:
    story = started().on(FaultSeen(200, fault(device="wan"))).on(Converged(210))
    story.on(FaultSeen(300, fault(device="wan")))
    (decision,) = story.decided()
    assert decision.before is decision.after is Level.SOFTWARE
    assert not story.on(FaultSeen(301, fault(device="wan"))).last


def test_weak_faults_act_when_they_repeat_within_the_window() -> None:
    story = started()
    for time in (200, 300):
        story.on(FaultSeen(time, fault(Attribution.WEAK, device="wan")))
    assert story.levels()["wan"] is Level.HARDWARE
    story.on(FaultSeen(400, fault(Attribution.WEAK, device="wan")))
    assert story.levels()["wan"] is Level.SOFTWARE
    assert story.levels()["lan1"] is Level.HARDWARE


def test_weak_faults_far_apart_do_nothing() -> None:
    story = started()
    for time in range(200, 5000, 500):
        story.on(FaultSeen(time, fault(Attribution.WEAK, device="wan")))
    assert story.levels()["wan"] is Level.HARDWARE


def test_the_hold_off_doubles_with_each_strike_and_is_capped() -> None:
    story = started()
    time, holds = 200.0, []
    for _ in range(4):
        story.on(FaultSeen(time, fault(device="wan"))).on(Converged(time + 5))
        verdict = story.state.verdict_on("wan")
        assert verdict
        holds.append(verdict.hold)
        assert story.on(Tick(verdict.held_until - 1)).levels()["wan"] is Level.SOFTWARE
        story.on(Tick(verdict.held_until)).on(Converged(verdict.held_until + 1))
        assert story.levels()["wan"] is Level.HARDWARE
        time = verdict.held_until + 100
    assert holds == [600, 1200, 2000, 2000]


def test_a_hold_off_does_not_end_before_its_drain() -> None:
    story = started().on(FaultSeen(200, fault(device="wan")))
    story.on(DrainProgress(201, 5, 5)).on(Tick(10_000)).on(DrainProgress(10_001, 5, 5))
    assert story.levels()["wan"] is Level.SOFTWARE
    assert story.on(Converged(10_002)).levels()["wan"] is Level.HARDWARE


def test_from_none_the_way_up_is_one_rung_at_a_time() -> None:
    warning = fault(Attribution.OFFLOAD, rule="warn", fault_class=FaultClass.KERNEL_WARNING)
    story = started(devices=(WAN,)).on(FaultSeen(200, fault(Attribution.OFFLOAD)))
    story.on(Converged(210)).on(FaultSeen(300, warning)).on(Converged(301))
    story.on(Tick(1500)).on(Converged(1501))
    assert story.levels() == {"wan": Level.SOFTWARE}
    story.on(Tick(2700))
    assert story.levels() == {"wan": Level.HARDWARE}


def test_an_oops_in_the_offload_path_holds_until_the_next_boot() -> None:
    oops = fault(Attribution.OFFLOAD, rule="oops", fault_class=FaultClass.KERNEL_OOPS)
    story = started(devices=(WAN,)).on(FaultSeen(200, oops)).on(Converged(210))
    assert story.state.next_deadline() is None
    assert story.on(Tick(10**6)).levels() == {"wan": Level.SOFTWARE}


def test_the_wanted_level_is_a_ceiling_set_at_run_time() -> None:
    story = started().on(WantedChanged(200, Level.NONE))
    assert set(story.levels().values()) == {Level.NONE}
    story.on(Converged(201)).on(WantedChanged(202, Level.HARDWARE))
    assert set(story.levels().values()) == {Level.HARDWARE}


def test_remembered_verdicts_hold_from_the_start() -> None:
    verdict = Verdict("wan", Level.SOFTWARE, 1, 50, 600, 650, "driver fault tx-timeout")
    story = started(verdicts=(verdict,))
    assert story.levels()["wan"] is Level.SOFTWARE
    assert story.levels()["lan1"] is Level.HARDWARE


def test_a_refused_device_goes_to_software_with_the_kernels_words() -> None:
    story = started().on(ConvergeFailed(101, "wan: Device or resource busy", "wan"))
    assert story.levels()["wan"] is Level.SOFTWARE
    verdict = story.state.verdict_on("wan")
    assert verdict and verdict.evidence == "wan: Device or resource busy"


def test_a_refusal_without_a_device_is_tried_again_later_and_reported_once() -> None:
    story = Story().on(Started(100, Level.HARDWARE, SETTINGS)).on(DevicesChanged(100, ALL))
    story.on(ConvergeFailed(101, "no such file"))
    assert story.notes(Severity.ERROR)
    assert not any(isinstance(c, Converge) for c in story.last)
    assert story.state.next_deadline() == 106
    assert any(isinstance(c, Converge) for c in story.on(Tick(106)).last)
    assert not story.on(ConvergeFailed(107, "no such file")).notes(Severity.ERROR)


def test_a_kernel_that_refuses_for_days_is_still_tried_every_five_minutes() -> None:
    story = Story().on(Started(100, Level.HARDWARE, SETTINGS)).on(DevicesChanged(100, ALL))
    for _ in range(1200):
        now = story.state.time
        story.on(ConvergeFailed(now, "no such file"))
        deadline = story.state.next_deadline()
        assert deadline is not None and deadline <= now + 300
        story.on(Tick(deadline))


def test_a_drain_that_does_not_end_is_reported_with_its_tuples() -> None:
    story = started().on(FaultSeen(200, fault(Attribution.OFFLOAD)))
    story.on(DrainProgress(230, 2, 3, ("tcp a -> b",)))
    assert story.state.next_deadline() == 260
    (message,) = story.on(Tick(260)).notes(Severity.ERROR)
    assert "tcp a -> b" in message and "3 engine entries" in message
    assert story.state.phase is Phase.DRAINING


def test_removed_tables_are_rebuilt_but_a_fight_is_given_up_for_a_while() -> None:
    story = started()
    for time in range(200, 205):
        story.on(TablesLost(time))
        assert any(isinstance(c, Converge) for c in story.last)
        story.on(Converged(time))
    assert story.on(TablesLost(206)).notes(Severity.ERROR)
    assert set(story.levels().values()) == {Level.NONE}
    assert story.on(Converged(207)).state.phase is Phase.HELD_OFF
    story.on(Tick(206 + 600))
    assert set(story.levels().values()) == {Level.HARDWARE}


def test_refusals_by_the_driver_are_told_once() -> None:
    story = started()
    assert story.on(FlowsSeen(200, 1, 0, 5)).notes(Severity.WARNING)
    assert not story.on(FlowsSeen(210, 1, 0, 6)).notes(Severity.WARNING)


def test_leftover_tables_are_converged_even_without_devices() -> None:
    story = Story().on(Started(100, Level.HARDWARE, SETTINGS)).on(DevicesChanged(100, ()))
    assert [c.levels for c in story.last if isinstance(c, Converge)] == [()]


def test_a_start_asks_nothing_of_the_kernel_before_the_devices_are_known() -> None:
    """Whatever configuration and rules say: what the daemon before left there is to stay."""
    settings = replace(SETTINGS, control_share=SETTINGS.control_share + 1)
    story = Story().on(Started(100, Level.HARDWARE, settings, seed=7))
    assert not any(isinstance(c, Converge) for c in story.last)


def test_a_fault_that_comes_before_the_devices_are_known_is_judged_with_them() -> None:
    """The kernel reported it between two lives of the daemon, with hardware on."""
    held = tuple((device.name, Level.HARDWARE) for device in ALL)
    story = Story().on(Started(100, Level.HARDWARE, SETTINGS, armed=ALL, held=held))
    story.on(FaultSeen(100, fault(device="wan"))).on(DevicesChanged(100.1, ALL))
    assert story.levels()["wan"] is Level.SOFTWARE and story.levels()["lan1"] is Level.HARDWARE
    verdict = story.state.verdict_on("wan")
    assert verdict and verdict.strikes == 1 and Save() in story.last
    assert story.on(DevicesChanged(200, ALL)).state.verdict_on("wan") == verdict


def test_a_fault_while_nothing_takes_part_is_nobodys() -> None:
    story = started().on(DevicesChanged(200, ())).on(Converged(201, ()))
    story.on(FaultSeen(202, fault(device="wan"))).on(DevicesChanged(300, ALL))
    assert story.state.verdict_on("wan") is None
