# SPDX-License-Identifier: GPL-2.0-or-later
"""People who press every button there is."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from flowguard.actuators.approach import ConvergeError
from flowguard.core.model import Level
from flowguard.core.records import replace
from flowguard.core.tables.why import Why
from flowguard.service import retreat
from tests.simulator.actors.kernel_faults import driver_fault, refuse_some
from tests.simulator.router import PATHS, Life
from tests.simulator.scene import Scene

Answered = Callable[[Any], None]


def press(scene: Scene, luck: Random) -> None:
    """One of the methods that ubus offers."""
    button = luck.choice(
        (_status, _flows, _level, _level, _hold, _suspend, _retry, _forget, _reload, _look_again)
    )
    button(scene, luck)


def _if_done(act: Callable[[], None]) -> Answered:
    """Only an answer that is no refusal counts."""

    def answered(result: Any) -> None:
        if not isinstance(result, Exception):
            act()

    return answered


def _status(scene: Scene, luck: Random) -> None:
    scene.router.ask("status")


def _flows(scene: Scene, luck: Random) -> None:
    conditions: dict[str, str] = luck.choice(
        (
            {},
            {"level": str(luck.choice([*Level]))},
            {"why": str(luck.choice([*Why]))},
            {"device": luck.choice(("wan", "br-lan", "nowhere"))},
        )
    )
    scene.router.ask("flows", None, limit=luck.choice((1, 100, 1000)), **conditions)


def _level(scene: Scene, luck: Random) -> None:
    set_level(scene, luck.choice((Level.HARDWARE, Level.HARDWARE, Level.SOFTWARE, Level.NONE)))


def set_level(scene: Scene, level: Level) -> None:
    scene.limits.lift("level")
    limit = _if_done(lambda: scene.limits.set("level", level))
    scene.router.ask("level", None if level is Level.HARDWARE else limit, level=str(level))


def _hold(scene: Scene, luck: Random) -> None:
    seconds = luck.choice((0, 30, 300, 1800))
    scene.limits.lift("hold")

    def held() -> None:
        scene.limits.set("hold", Level.SOFTWARE, until=scene.world.now + seconds - 1)

    scene.router.ask("hold", _if_done(held) if seconds else None, seconds=seconds)


def _suspend(scene: Scene, luck: Random) -> None:
    scene.router.ask("suspend", _if_done(lambda: scene.limits.set("suspend", Level.NONE)))
    scene.world.after(luck.uniform(1, 300), lambda: resume(scene))


def resume(scene: Scene) -> None:
    scene.limits.lift("suspend")
    scene.router.ask("resume")


def _retry(scene: Scene, luck: Random) -> None:
    retry(scene)


def retry(scene: Scene) -> None:
    scene.limits.lift("hold")
    scene.limits.lift_all("fault")
    scene.router.ask("retry")


def _forget(scene: Scene, luck: Random) -> None:
    scene.limits.lift_all("fault")
    scene.survival.forgotten()
    scene.router.ask("forget")


def _reload(scene: Scene, luck: Random) -> None:
    scene.router.ask("reload")


def _look_again(scene: Scene, luck: Random) -> None:
    """SIGUSR1: `service flowguard rescan`."""
    import signal

    life = scene.router.life
    if life and life.alive and life.running:
        life.process.signal(signal.SIGUSR1)


# --- configuration ------------------------------------------------------------------------


def edit(scene: Scene, luck: Random) -> None:
    """Change an option and reload; now and then half an edit is read."""
    platform = scene.platform
    former = platform.configuration
    change: dict[str, Any] = luck.choice(
        (
            {"level": luck.choice(tuple(Level))},
            {"level": Level.HARDWARE},
            {"device": luck.choice(((), ("lan1", "wan"), ("lan1", "lan2", "wan"), ("none0",)))},
            {"control_share": luck.choice((0, 2, 16, 64))},
            {"min_packets": luck.choice((0, 10))},
            {"flow_timeout": luck.choice((5, 10, 30))},
            {"udp": luck.random() < 0.7},
            {"hold_off": luck.choice((60, 300, 600))},
        )
    )
    if luck.random() < 0.1:
        platform.is_readable = False
        scene.disturb("unreadable configuration", luck.uniform(1, 60), lambda: _readable(scene))
    scene.world.tell("configuration: %s", change)
    platform.configuration = replace(former, **change)
    reload(scene)


def _readable(scene: Scene) -> None:
    scene.platform.is_readable = True
    reload(scene)


def reload(scene: Scene) -> None:
    """What the file wants counts from when it was read, unless it says what it said before."""
    wanted = scene.platform.configuration.level
    scene.limits.lift("level")
    before = scene.platform.last_read

    def read() -> None:
        # What was asked for at run time holds as long as the file does not change its mind.
        if scene.platform.last_read.level is not before.level and wanted is not Level.HARDWARE:
            scene.limits.set("level", wanted)

    scene.router.ask("reload", _if_done(read))


# --- the service ----------------------------------------------------------------------------


def stop_and_start(scene: Scene, luck: Random) -> None:
    scene.router.stop()
    scene.disturb("stopped service", luck.uniform(1, 400), lambda: start(scene))


def start(scene: Scene) -> None:
    scene.tables.released = False
    scene.router.start()


def restart(scene: Scene, luck: Random) -> None:
    """`service flowguard restart`, or an upgrade: nothing is disturbed."""
    router = scene.router
    if router.life:
        router.life.told_to_end = "keep"
    router.ask("stop", how="keep")


def release(scene: Scene, luck: Random) -> None:
    """`flowguard stop --release`, also in the midst of a start."""
    router = scene.router
    if scene.is_releasing:
        return  # One at a time: the answer to the other would be taken for this one's.
    scene.is_releasing = True
    if luck.random() < 0.4 and router.life and router.life.alive:
        router.kill()
        router.world.after(6.6 + luck.uniform(0, 3), lambda: _release_now(scene, luck))
    else:
        _release_now(scene, luck)


def _release_now(scene: Scene, luck: Random) -> None:
    router = scene.router
    life = router.life
    if router.is_off or any(map(scene.is_disturbed, ("stopped service", "released"))):
        scene.is_releasing = False
        return
    router.is_wanted = False
    scene.tables.by_force = True
    _disturb_end(scene, luck)
    waits = True

    def answered(result: Any) -> None:
        nonlocal waits
        waits = scene.is_releasing = False
        if isinstance(result, Exception):
            router.is_wanted = True
            scene.tables.by_force = False
            return
        scene.tables.released = True
        scene.disturb("released", luck.uniform(5, 300), lambda: start(scene))

    def died() -> None:
        scene.world.after(1.0, beside)

    def beside() -> None:
        if scene.kernel.transactions.is_busy:
            # A process that is in the kernel does not die before it comes out, and has the lock.
            scene.world.after(1.0, beside)
        elif waits and not router.is_off:
            scene.tables.by_force = True
            router.program("release", lambda machine: _beside(scene, machine, answered))

    if life and life.alive and life.api:
        life.told_to_end = "release"
        # Whose daemon dies before it answers does it himself.
        life.process.at_end.append(died)
        router.ask("stop", answered, how="release")
    elif life and life.alive:
        # Its lock is held, and it does not listen yet: the program waits until it does.
        router.world.after(0.2, lambda: _release_now(scene, luck))
    else:
        beside()


def _disturb_end(scene: Scene, luck: Random) -> None:
    """Something that would have the daemon build tables, or a kernel that does not let go."""
    match luck.choice(("news", "fault", "refusal", "nothing", "nothing")):
        case "news":
            name = luck.choice(("lan1", "lan2"))
            scene.world.after(luck.uniform(0, 8), lambda: scene.kernel.netdevs.set_up(name, False))
            scene.world.after(20, lambda: scene.kernel.netdevs.set_up(name, True))
        case "fault":
            scene.world.after(luck.uniform(0, 8), lambda: driver_fault(scene, luck))
        case "refusal":
            refuse_some(scene, luck)


async def _beside(scene: Scene, machine: Any, answered: Answered) -> None:
    try:
        result: Any = await retreat.release(machine, PATHS)
    except (OSError, ConvergeError) as error:
        result = error
    scene.world.after(0.0, lambda: answered(result))


def reboot(scene: Scene, luck: Random) -> None:
    """In order: told to the daemon first, or after `service flowguard stop`."""
    if luck.random() < 0.4:
        stopped = scene.router.life if _can_note(scene) else None
        scene.router.stop()
        scene.world.after(luck.uniform(90, 200), lambda: _go_down(scene, stopped))
    else:
        _go_down(scene)


def _go_down(scene: Scene, stopped: Life | None = None) -> None:
    """`stopped` could note its end, unless it was started again since."""
    router = scene.router
    is_noted = stopped is not None and stopped is router.life and not stopped.alive
    scene.survival.planned = is_noted or _can_note(scene)
    router.reboot()


def _can_note(scene: Scene) -> bool:
    """Whether the next boot can know of it: somebody is told, and flash is not full."""
    life = scene.router.life
    listens = life is not None and life.alive and life.api is not None
    return listens and not scene.kernel.disk.flash.error


def heed(scene: Scene) -> None:
    """Who is told that the router needs a power cycle gives it one, in order."""
    life = scene.router.life
    service = life.service if life and life.alive else None
    if service and any(verdict.power_cycle for verdict in service.state.verdicts):
        _go_down(scene)


def adjust(scene: Scene) -> None:
    """Everything that people asked for is taken back."""
    for name in ("level", "hold", "suspend"):
        scene.limits.lift(name)
    resume(scene)
    scene.router.ask("hold", seconds=0)
    set_level(scene, Level.HARDWARE)
    scene.platform.configuration = replace(
        scene.platform.configuration, level=Level.HARDWARE, device=()
    )
    reload(scene)
    scene.limits.lift_all("fault")
    scene.survival.forgotten()
    scene.router.ask("forget")
    retry(scene)
