# SPDX-License-Identifier: GPL-2.0-or-later
"""Drivers, engines and the kernel, with everything that they have been seen to do wrong."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from random import Random

from flowguard.core.model import Level
from flowguard.kernel.netlink.codec import MalformedMessage
from flowguard.kernel.pstore import Dump
from tests.simulator.invariants.faults import DEATH, ENGINE, LOG, REFUSAL
from tests.simulator.machine.engine import Direction
from tests.simulator.scene import Scene
from tests.simulator.topology import BUS, DRIVER, PORTS

WATCHDOG = "{driver} {bus} {device}: NETDEV WATCHDOG: CPU: 1: transmit queue 2 timed out 5030 ms"
BUSY = f"{DRIVER} {BUS}: PPE table busy"
LOOKS_SECONDS = 45.0
NOISE = "br-lan: port {number}(lan1) entered forwarding state"


def driver_fault(scene: Scene, luck: Random) -> None:
    """A line of the kernel that names one device, or the hardware as a whole."""
    if luck.random() < 0.3:
        report(scene, BUSY, PORTS)
    else:
        device = luck.choice((*PORTS, "eth0"))
        text = WATCHDOG.format(driver=DRIVER, bus=BUS, device=device)
        if luck.random() < 0.3:
            text += "\\x00\\x1b"  # As the kernel writes what cannot be printed.
        report(scene, text, PORTS if device == "eth0" else (device,))


def report(scene: Scene, text: str, devices: tuple[str, ...]) -> None:
    """From now on these may not be in hardware, if they are, or are about to be."""
    kernel = scene.kernel
    if kernel.log.error or scene.router.is_off:
        return
    scene.faults.happened(LOG)
    scene.world.tell("kernel: %s", text)
    kernel.log.write(text, level=2)
    hardware = kernel.ruleset.hardware
    used = set(hardware.devices) if hardware and hardware.rules else set()
    hold_off = scene.platform.last_read.hold_off
    for device in devices:
        name = f"fault {device}"
        if device in used and name not in scene.limits.by_name:
            until = scene.world.now + hold_off - 1
            scene.limits.set(name, Level.SOFTWARE, (device,), until=until)


def faulty_bind(scene: Scene, luck: Random) -> None:
    """For a while binding is slow, and the driver reports a fault in the midst of it."""
    transactions = scene.kernel.transactions
    transactions.slowness = luck.choice((1.0, 5.0, 20.0))

    def bound(device: str) -> None:
        if luck.random() < 0.3:
            text = WATCHDOG.format(driver=DRIVER, bus=BUS, device=device)
            scene.world.after(luck.uniform(0, 0.3), lambda: during(device, text))

    def during(device: str, text: str) -> None:
        report(scene, text, (device,))
        name = f"fault {device}"
        if scene.kernel.transactions.is_making(device) and name not in scene.limits.by_name:
            until = scene.world.now + 20
            scene.limits.set(name, Level.SOFTWARE, (device,), until=until)

    def undo() -> None:
        scene.kernel.transactions.slowness = 1.0
        scene.kernel.transactions.on_bound = lambda device: None

    transactions.on_bound = bound
    scene.disturb("faulty bind", luck.uniform(60, 900), undo)


def stuck_driver(scene: Scene, luck: Random) -> None:
    """Whoever binds or unbinds it waits, and everybody behind him."""
    device = luck.choice(PORTS)

    def set_stuck(stuck: bool) -> None:
        if netdev := scene.kernel.netdevs.by_name.get(device):
            netdev.stuck = stuck

    scene.world.tell("the driver of %s is stuck", device)
    set_stuck(True)
    scene.disturb(f"stuck {device}", luck.choice((3, 30, 300)), lambda: set_stuck(False))


def refusing_kernel(scene: Scene, luck: Random) -> None:
    """No flowtable at all, as without kmod-nft-offload; or a few transactions that fail."""
    if luck.random() < 0.5:
        refuse_some(scene, luck)
        return
    scene.faults.began(REFUSAL)
    number = luck.choice((errno.EOPNOTSUPP, errno.ENOENT))
    scene.world.tell("the kernel refuses every flowtable: %s", errno.errorcode[number])
    ruleset = scene.kernel.ruleset
    ruleset.refuses = number

    def undo() -> None:
        ruleset.refuses = None
        scene.faults.ended(REFUSAL)

    scene.disturb("refusing kernel", luck.choice((10, 100, 1000)), undo)


def refuse_some(scene: Scene, luck: Random) -> None:
    scene.faults.began(REFUSAL)
    number = luck.choice((errno.EBUSY, errno.ENOMEM, errno.ERESTART))
    count = luck.choice((1, 3, 12, 12))
    scene.world.tell("the next %d transactions fail: %s", count, errno.errorcode[number])
    fails = scene.kernel.transactions.fails
    fails.extend([number] * count)

    def undo() -> None:
        fails.clear()
        scene.faults.ended(REFUSAL)

    scene.disturb("refused transactions", luck.choice((10, 100, 1000)), undo)


def engine_fault(scene: Scene, luck: Random) -> None:
    faults = scene.kernel.engine.faults
    which = luck.choice(
        ("blackhole", "blackhole", "one way", "forgets", "frozen", "full", "refuses")
    )
    scene.world.tell("engine: %s", which)
    scene.faults.began(ENGINE)
    match which:
        case "blackhole":
            faults.blackhole_flows = luck.choice((5, 20, 100))
            faults.blackhole_after_packets = luck.choice((0, 0, 1000))
        case "one way":
            faults.blackhole_flows = luck.choice((20, 100))
            faults.blackhole_direction = luck.choice((Direction.ORIGINAL, Direction.REPLY))
        case "forgets":
            faults.forgets = True
            if luck.random() < 0.5:
                # What is forgotten shows when hardware is left.
                scene.world.after(luck.uniform(5, 60), lambda: driver_fault(scene, luck))
        case "frozen":
            scene.kernel.flowtables.freeze(True)
        case "full":
            faults.table_limit = luck.choice((0, 10))
        case "refuses":
            faults.refuses = True
    scene.traffic.look_again()

    def undo() -> None:
        scene.kernel.flowtables.freeze(False)
        scene.kernel.engine.mend()
        scene.traffic.look_again()
        scene.faults.ended(ENGINE)

    scene.disturb("engine fault", luck.choice((150, 600, 3600)), undo)


def flood(scene: Scene, luck: Random) -> None:
    for number in range(luck.choice((300, 5000))):
        scene.kernel.log.write(NOISE.format(number=number), level=6)
    scene.kernel.log.write("flowguard: not from the kernel", facility=1)


def lost_log(scene: Scene, luck: Random) -> None:
    """/dev/kmsg ends, or cannot be opened."""
    log = scene.kernel.log
    if log.error:
        return
    number = luck.choice((errno.EIO, errno.EPERM, errno.ENOENT))
    log.break_down(OSError(number, os.strerror(number)), "it ended")
    _blind(scene, "log", luck.choice((5, 60, 600)), log.mend)


def lost_conntrack(scene: Scene, luck: Random) -> None:
    """The connection table cannot be read, in one way or another."""
    connections = scene.kernel.connections
    if connections.error:
        return
    error: Exception = luck.choice(
        (OSError(errno.ENOMEM, "Cannot allocate memory"), MalformedMessage("of another kernel"))
    )
    connections.break_down(error)
    _blind(scene, "conntrack", luck.choice((5, 60, 600)), connections.mend)


def _blind(scene: Scene, what: str, seconds: float, mend: Callable[[], None]) -> None:
    """Until it is mended, or the router boots anew: that mends it as well."""
    scene.world.tell("the %s cannot be seen any more", what)
    scene.faults.blinding.add(what)
    boots = scene.kernel.boots
    # It may be lost anew after that, which is another blindness.
    mended = False
    grace = scene.platform.last_read.policy_settings.blind_grace

    def is_still() -> bool:
        return not mended and scene.kernel.boots == boots

    def limit() -> None:
        if is_still():
            scene.limits.set(f"blind {what}", Level.SOFTWARE)

    def undo() -> None:
        nonlocal mended
        if is_still():
            mended = True
            scene.limits.lift(f"blind {what}")
            scene.faults.blinding.discard(what)
            mend()

    # A sensor may look every ten seconds only, and must miss more than one look.
    scene.world.after(grace + LOOKS_SECONDS, limit)
    scene.disturb(f"lost {what}", seconds, undo)


def odd_conntrack(scene: Scene, luck: Random) -> None:
    connections = scene.kernel.connections
    match luck.choice(("interrupts", "overrun", "flush")):
        case "interrupts":
            connections.interrupts += luck.choice((1, 3, 6))
            scene.faults.blinding.add("interrupts")
            scene.disturb("interrupts", 120, lambda: scene.faults.blinding.discard("interrupts"))
        case "overrun":
            connections.overrun()
        case "flush":
            scene.world.tell("conntrack -F")
            connections.flush()


def panic(scene: Scene, luck: Random) -> None:
    """The kernel dies, and may leave a trace that names the driver, or somebody else."""
    scene.faults.happened(DEATH)
    scene.survival.planned = False
    if luck.random() < 0.5:
        scene.faults.happened(LOG)
        text = (
            f"Panic#1 Part1\n<0>[  100.0] {BUSY}\n<0>[  100.1] Kernel panic - not syncing: Oops\n"
        )
        scene.kernel.dumps = [Dump("dmesg-ramoops-0", "Panic", text, (f"dump {scene.world.now}",))]
    scene.router.lose_power(5)
