# SPDX-License-Identifier: GPL-2.0-or-later
"""A seed -> a household, and who disturbs it how often."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from random import Random

from flowguard.core.records import frozen, mutable
from flowguard.platform.configuration.loading import Configuration
from tests.simulator.actors import kernel_faults, people, surroundings
from tests.simulator.actors.household import Household
from tests.simulator.router import enabled
from tests.simulator.scene import Scene
from tests.simulator.world import World

HEALING_SECONDS = 900.0
"""At the end everything is well again; hardware must be back in use by then."""
QUIET_SEEDS = 8
"""One in so many routers meets nothing but its people's traffic and bad lines."""


@frozen
class Actor:
    """`share` of the routers know it, and then it comes about every `seconds`."""

    name: str
    act: Callable[[Scene, Random], None]
    share: float
    seconds: float


ACTORS = (
    Actor("outages", surroundings.outage, 0.3, 1800),
    Actor("firewall reloads", surroundings.reload_firewall, 0.3, 600),
    Actor("firewall stops", surroundings.stop_firewall, 0.2, 1800),
    Actor("firewall offloads", surroundings.firewall_offloads, 0.1, 2400),
    Actor("flushes", surroundings.flush_ruleset, 0.2, 1200),
    Actor("netifd away", surroundings.netifd_away, 0.2, 1200),
    Actor("links", surroundings.link_trouble, 0.3, 900),
    Actor("disks", surroundings.full_disk, 0.25, 1200),
    Actor("kills", surroundings.kill, 0.25, 900),
    Actor("five deaths", surroundings.five_deaths, 0.1, 2400),
    Actor("power cuts", surroundings.power_cut, 0.15, 2400),
    Actor("hanging script", surroundings.hanging_script, 0.1, 1800),
    Actor("buttons", people.press, 0.4, 400),
    Actor("edits", people.edit, 0.3, 600),
    Actor("stops", people.stop_and_start, 0.2, 1200),
    Actor("restarts", people.restart, 0.2, 1500),
    Actor("releases", people.release, 0.25, 1200),
    Actor("reboots", people.reboot, 0.15, 2400),
    Actor("driver faults", kernel_faults.driver_fault, 0.4, 1200),
    Actor("faulty binds", kernel_faults.faulty_bind, 0.25, 1500),
    Actor("stuck drivers", kernel_faults.stuck_driver, 0.2, 1800),
    Actor("refusals", kernel_faults.refusing_kernel, 0.2, 1500),
    Actor("engine faults", kernel_faults.engine_fault, 0.3, 2400),
    Actor("floods", kernel_faults.flood, 0.2, 900),
    Actor("lost logs", kernel_faults.lost_log, 0.2, 1500),
    Actor("lost conntrack", kernel_faults.lost_conntrack, 0.2, 1500),
    Actor("odd conntrack", kernel_faults.odd_conntrack, 0.3, 600),
    Actor("moves", surroundings.move_host, 0.6, 120),
    Actor("panics", kernel_faults.panic, 0.1, 3600),
)
HARMLESS = ("outages", "firewall reloads")


@mutable
class Result:
    seed: int
    seconds: float
    steps: int
    violations: list[str]
    trace: list[str]


def run(seed: int, seconds: float, *, tracing: bool = False) -> Result:
    """Simulate one router for so long, and then until all should be well again."""
    world = World(seed, tracing=tracing)
    try:
        _play(world, seconds)
    except Exception as error:
        trace = "".join(traceback.format_exception(error)[-3:])
        world.violate(f"the simulator itself fails: {trace}")
    return Result(seed, world.now, world.steps, world.violations, world.trace)


def _play(world: World, seconds: float) -> None:
    luck = world.random("scenario")
    scene = Scene(world, _configuration(luck), _household(luck))
    scene.kernel.engine.is_shown = luck.random() < 0.8
    actors = _choose(luck)
    world.tell("actors: %s", ", ".join(actor.name for actor in actors))
    for actor in actors:
        _let_act(scene, actor)
    scene.router.start()
    world.run(seconds)
    _heal(scene)
    scene.survival.finish()
    scene.close()


def _configuration(luck: Random) -> Configuration:
    return enabled(
        boot_delay=luck.choice((0, 30, 30)),
        hold_off=luck.choice((60, 300, 600)),
        canary_soak=luck.choice((60, 600, 3600)),
        flow_timeout=luck.choice((5, 10, 10, 30)),
        control_share=luck.choice((16, 16, 4)),
    )


def _household(luck: Random) -> Household:
    return Household(
        rate=luck.choice((0.05, 0.1, 0.3, 0.5, 1.0)),
        ipv6_share=luck.choice((0.0, 0.3, 0.7)),
        begins=luck.uniform(0, 86400),
    )


def _choose(luck: Random) -> list[Actor]:
    """Swarm testing: few of the many, so that those few meet in all ways."""
    if luck.randrange(QUIET_SEEDS) == 0:
        return [actor for actor in ACTORS if actor.name in HARMLESS]
    some = luck.choice((0.5, 1.0, 1.0, 2.0))
    return [actor for actor in ACTORS if luck.random() < actor.share * some]


def _let_act(scene: Scene, actor: Actor) -> None:
    luck = scene.luck(actor.name)

    def act() -> None:
        if scene.is_healing:
            return
        if not scene.router.is_off:
            scene.world.tell("-- %s", actor.name)
            actor.act(scene, luck)
        wait()

    def wait() -> None:
        scene.world.after(luck.expovariate(1 / actor.seconds), act)

    wait()


def _heal(scene: Scene) -> None:
    """Undo everything, have people want hardware, and see it come back."""
    world, router = scene.world, scene.router
    scene.heal()
    world.run(world.now + HEALING_SECONDS / 3)
    people.heed(scene)
    world.run(world.now + 60)
    people.start(scene)
    world.run(world.now + 60)
    people.adjust(scene)
    world.run(world.now + HEALING_SECONDS / 2)
    hardware = scene.kernel.ruleset.hardware
    present = [n for n in ("lan1", "lan2", "wan") if n in scene.kernel.netdevs.by_name]
    if not hardware or not hardware.rules or list(hardware.devices) != present:
        life = router.life
        state = life.service.state if life and life.alive and life.service else None
        why = f"{state.phase}, {state.levels}, {state.failure}" if state else "no daemon"
        world.violate(f"all is well, and hardware is not used: {why}")
