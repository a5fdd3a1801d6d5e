# SPDX-License-Identifier: GPL-2.0-or-later
"""What happens around the daemon: the line, the firewall, other programs, disks, sudden ends."""

from __future__ import annotations

import errno
import math
from random import Random

from flowguard.core.model import Level
from tests.simulator.invariants.faults import DEATH
from tests.simulator.scene import Scene
from tests.simulator.topology import port

LEDGER_SECONDS = 620.0
"""So much later at the latest what could not be saved is on flash."""


def outage(scene: Scene, luck: Random) -> None:
    scene.traffic.set_line(False)
    scene.disturb("outage", luck.choice((5, 30, 300, 1200)), lambda: scene.traffic.set_line(True))


def reload_firewall(scene: Scene, luck: Random) -> None:
    scene.platform.reload_firewall()


def stop_firewall(scene: Scene, luck: Random) -> None:
    """Our tables go with it, and must not come back before it does."""
    life = scene.router.life
    if not scene.kernel.ruleset.tables or not (life and life.alive and scene.able.could_act()):
        return
    scene.platform.stop_firewall()

    def stopped() -> None:
        if scene.platform.firewall_is_stopped and not scene.kernel.ruleset.tables:
            scene.limits.set("firewall", Level.NONE, survives=False)

    def undo() -> None:
        scene.limits.lift("firewall")
        scene.platform.start_firewall()

    scene.world.after(2.0, stopped)
    scene.disturb("stopped firewall", luck.uniform(5, 300), undo)


def firewall_offloads(scene: Scene, luck: Random) -> None:
    scene.platform.offload_by_firewall(True)
    scene.limits.set("fw4", Level.NONE)

    def undo() -> None:
        scene.limits.lift("fw4")
        scene.platform.offload_by_firewall(False)

    scene.disturb("firewall offloads", luck.uniform(5, 300), undo)


def flush_ruleset(scene: Scene, luck: Random) -> None:
    """Another program, once or in a fight."""
    times = luck.choice((1, 1, 1, 8))
    for number in range(times):
        wait = number * luck.uniform(1, 5)
        scene.world.after(wait, scene.kernel.flush_ruleset)


def netifd_away(scene: Scene, luck: Random) -> None:
    scene.platform.netifd_error = OSError(errno.ECONNREFUSED, "nobody answers")
    scene.kernel.netdevs.touch()

    def undo() -> None:
        scene.platform.netifd_error = None
        scene.kernel.netdevs.touch()

    scene.disturb("netifd away", luck.uniform(1, 300), undo)


def link_trouble(scene: Scene, luck: Random) -> None:
    """A device goes down, or away altogether."""
    netdevs = scene.kernel.netdevs
    name = luck.choice(("lan1", "lan2", "wan"))
    if name not in netdevs.by_name:
        return
    if luck.random() < 0.5:
        scene.world.tell("%s goes down", name)
        netdevs.set_up(name, False)

        def undo() -> None:
            netdevs.set_up(name, True)

    else:
        scene.world.tell("%s goes away", name)
        former = netdevs.by_name[name]
        netdevs.remove(name)

        def undo() -> None:
            if name not in netdevs.by_name:
                again = netdevs.add(port(name))
                again.addressed, again.networks = former.addressed, former.networks

    scene.disturb(f"link {name}", luck.choice((1, 20, 200)), undo)


def move_host(scene: Scene, luck: Random) -> None:
    """Somebody carries a computer to another room, or it takes another access point."""
    hosts = scene.kernel.neighbourhood.addresses()
    ports = scene.kernel.netdevs.by_name["br-lan"].lower
    if hosts:
        address, port = luck.choice(hosts), luck.choice(ports)
        scene.world.tell("%s moves to %s", address, port)
        scene.traffic.move(address, port)


def full_disk(scene: Scene, luck: Random) -> None:
    """tmpfs or flash refuses what is written."""
    disk = scene.kernel.disk
    on_tmpfs = luck.random() < 0.5
    number = errno.ENOSPC if on_tmpfs else luck.choice((errno.ENOSPC, errno.EROFS, errno.EIO))
    medium = disk.tmpfs if on_tmpfs else disk.flash
    scene.world.tell("%s: %s", "tmpfs" if on_tmpfs else "flash", errno.errorcode[number])
    medium.error = number
    scene.faults.blinding.add("disk")
    scene.limits.flash_trouble_until = math.inf
    if on_tmpfs:
        scene.survival.recorder_is_whole = False

    def undo() -> None:
        medium.error = None
        scene.limits.flash_trouble_until = scene.world.now + LEDGER_SECONDS
        if not (disk.tmpfs.error or disk.flash.error):
            scene.faults.blinding.discard("disk")

    scene.disturb("full disk", luck.choice((5, 100, 1000)), undo)


def kill(scene: Scene, luck: Random) -> None:
    scene.router.kill()


def five_deaths(scene: Scene, luck: Random) -> None:
    for number in range(luck.choice((2, 6))):
        scene.world.after(number * 8 + luck.uniform(0, 7), scene.router.kill)


def power_cut(scene: Scene, luck: Random) -> None:
    scene.survival.planned = False
    scene.faults.happened(DEATH)
    scene.router.lose_power(luck.uniform(1, 100))


def hanging_script(scene: Scene, luck: Random) -> None:
    """The user's own script never ends by itself."""
    scene.kernel.disk.flash.put("/etc/flowguard.user", "sleep 10000")
    scene.kernel.hanging_programs.add("/bin/sh")

    def undo() -> None:
        scene.kernel.hanging_programs.clear()
        scene.kernel.disk.flash.drop("/etc/flowguard.user")

    scene.disturb("hanging script", luck.uniform(10, 600), undo)
