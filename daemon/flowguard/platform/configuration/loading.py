# SPDX-License-Identifier: GPL-2.0-or-later
"""The configuration: a UCI file in, typed values and the problems found out.

Nothing in the file stops the service: a bad value leaves its default in place and
becomes a problem, one line for people.
"""

from __future__ import annotations

from enum import StrEnum

from flowguard.core.model import Level, Mode, PolicySettings
from flowguard.core.records import frozen, replace
from flowguard.core.tables.plan import Exclusion, OffloadSettings
from flowguard.platform.configuration import kinds as kinds
from flowguard.platform.configuration.exclusions import read_exclusion
from flowguard.platform.configuration.sections import Problem, Problems, Setting, read_section
from flowguard.platform.openwrt import effective, uci

DAY = 86400
PACKAGE = "flowguard"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@frozen
class Configuration:
    """What the file says, with the default where it says nothing; times in seconds.

    What each field means is said in SETTINGS.
    """

    enabled: bool = False
    adopt: bool = False
    level: Level = Level.HARDWARE
    mode: Mode = Mode.PROTECT
    device: tuple[str, ...] = ()
    udp: bool = True
    ipv6: bool = True
    control_share: int = 16
    # The two bits that are left when all of these run: mwan3 has 0x3f00, pbr 0xff0000 (and
    # Tailscale 0x40000 and 0x80000 within it), and DSCP kept for tc-ctinfo either the low
    # byte (dscpclassify, cake-qos-simple) or 0xfc000000 with 0x01000000 to say that
    # it is there. mwan4 wants 0xff00; with it, observe_mark has to move. Kubernetes' 0x8000
    # is of the packet mark, not of conntrack's.
    control_mark: int = 0x02000000
    observe_mark: int = 0x00008000
    min_packets: int = 0
    flow_timeout: int = 10
    drain_limit: int = 60
    boot_delay: int = 30
    hold_off: int = 600
    hold_off_limit: int = DAY
    canary_soak: int = 3600
    forgive_after: int = 7 * DAY
    weak_count: int = 3
    weak_window: int = 600
    settle: int = 30
    clear_crash_dumps: bool = False
    rules: tuple[str, ...] = ()
    log_level: LogLevel = LogLevel.INFO
    exclusions: tuple[Exclusion, ...] = ()

    @property
    def wanted(self) -> Level:
        return self.level if self.enabled else Level.NONE

    @property
    def offload_settings(self) -> OffloadSettings:
        return OffloadSettings(
            udp=self.udp,
            ipv6=self.ipv6,
            control_share=self.control_share,
            control_mark=self.control_mark,
            observe_mark=self.observe_mark,
            min_packets=self.min_packets,
            exclusions=self.exclusions,
        )

    @property
    def policy_settings(self) -> PolicySettings:
        return PolicySettings(
            boot_delay=self.boot_delay,
            hold_off=self.hold_off,
            hold_off_limit=self.hold_off_limit,
            canary_soak=self.canary_soak,
            forgive_after=self.forgive_after,
            settle=self.settle,
            weak_count=self.weak_count,
            weak_window=self.weak_window,
            drain_limit=self.drain_limit,
            control_share=self.control_share,
            detect_only=self.mode is Mode.DETECT_ONLY,
        )


SETTINGS = (
    Setting("enabled", kinds.boolean(), "run the service"),
    Setting(
        "adopt",
        kinds.boolean(),
        "OpenWrt: `flowguard adopt` when the package is installed, and at an image's first boot",
    ),
    Setting("level", kinds.one_of(Level), "the highest level wanted"),
    Setting(
        "mode",
        kinds.one_of(Mode),
        "protect; or detect-only: decide and report, change nothing",
    ),
    Setting(
        "device",
        kinds.device_name(),
        "take part in offloading; none listed: those below the interfaces in use",
        is_list=True,
    ),
    Setting("udp", kinds.boolean(), "offload UDP, not only TCP"),
    Setting("ipv6", kinds.boolean(), "offload IPv6, not only IPv4"),
    Setting(
        "control_share",
        kinds.share(),
        "one in so many new flows goes one level lower, for comparison; 0: none",
    ),
    Setting("control_mark", kinds.single_bit(), "conntrack mark bit of the flows put lower"),
    Setting("observe_mark", kinds.single_bit(), "conntrack mark bit of the flows that are judged"),
    Setting(
        "min_packets",
        kinds.integer(0, 10_000),
        "packets, both ways, before a flow is offloaded; spares the hardware short flows",
    ),
    Setting(
        "flow_timeout",
        kinds.duration(1, 300),
        "an idle flow leaves the hardware after this; shorter drains quicker",
    ),
    Setting("drain_limit", kinds.duration(1, 3600), "a drain that takes longer is reported"),
    Setting("boot_delay", kinds.duration(0, 3600), "uptime before hardware is first used"),
    Setting("hold_off", kinds.duration(1, 7 * DAY), "first wait before stepping up after a fault"),
    Setting(
        "hold_off_limit",
        kinds.duration(1, 30 * DAY),
        "longest wait; it doubles with every further fault",
    ),
    Setting(
        "canary_soak",
        kinds.duration(1, 7 * DAY),
        "after a hold-off 1/16, then 1/4 of the flows try hardware, each for at least this long",
    ),
    Setting(
        "forgive_after",
        kinds.duration(60, 365 * DAY),
        "so much time on hardware without a fault makes good for one",
    ),
    Setting("weak_count", kinds.integer(1, 1000), "so many weak faults count as a driver fault"),
    Setting("weak_window", kinds.duration(1, DAY), "the time within which weak faults add up"),
    Setting(
        "settle",
        kinds.duration(0, 3600),
        "faults so soon after a step belong to what caused it",
    ),
    Setting(
        "clear_crash_dumps",
        kinds.boolean(),
        "delete the kernel's crash dumps (pstore) once they have been judged",
    ),
    Setting("rules", kinds.absolute_path(), "files with further fault rules", is_list=True),
    Setting("log_level", kinds.one_of(LogLevel), "the least severe messages that are logged"),
)


@frozen
class Loaded:
    """`readable` is False when the file as a whole was of no use and defaults stand in."""

    configuration: Configuration
    problems: tuple[Problem, ...]
    readable: bool = True


def load(path: str | None = None) -> Loaded:
    """Read this file, or the configuration that counts; raises nothing, whatever is in the way."""
    problems = Problems(path or effective.file_of(PACKAGE), [])
    try:
        if path:
            package = uci.load(path)
        else:
            package, problems.path = effective.load(PACKAGE)
    except OSError as error:
        problems.add(0, f"cannot be read: {error.strerror or error}; flowguard stays disabled")
        return Loaded(Configuration(), tuple(problems.found), readable=False)
    except uci.UciError as error:
        problems.add(error.line, f"not valid UCI: {error.reason}; the whole file is ignored")
        return Loaded(Configuration(), tuple(problems.found), readable=False)
    configuration = _read_globals(package, problems)
    own_bits = configuration.control_mark | configuration.observe_mark
    exclusions = [
        exclusion
        for section in package.sections
        if section.type == "exclude"
        for exclusion in read_exclusion(section, own_bits, problems)
    ]
    configuration = replace(configuration, exclusions=tuple(exclusions))
    return Loaded(configuration, tuple(sorted(problems.found, key=lambda p: p.line)))


def _read_globals(package: uci.Package, problems: Problems) -> Configuration:
    configuration = None
    for section in package.sections:
        if section.type == "flowguard" and section.name == "globals":
            configuration = _globals(section, problems)
        elif section.type != "exclude":
            problems.add(
                section.line,
                f"unknown section '{section.type}'; it is ignored; "
                "known are flowguard 'globals' and exclude",
            )
    if configuration:
        return configuration
    problems.add(0, "has no section: config flowguard 'globals'; flowguard stays disabled")
    return Configuration()


def _globals(section: uci.Section, problems: Problems) -> Configuration:
    read = read_section(section, SETTINGS, problems, "it is ignored")
    configuration = replace(Configuration(), **read.values)
    lines = {option.name: option.line for option in section.options}

    def contradiction(name: str, other: str, text: str) -> None:
        problems.add(lines.get(name) or lines.get(other) or section.line, text)

    if configuration.control_mark == configuration.observe_mark:
        text = "control_mark and observe_mark are the same bit; both keep their defaults"
        contradiction("observe_mark", "control_mark", text)
        defaults = Configuration()
        configuration = replace(
            configuration,
            control_mark=defaults.control_mark,
            observe_mark=defaults.observe_mark,
        )
    if configuration.hold_off > configuration.hold_off_limit:
        text = "hold_off is longer than hold_off_limit; every wait lasts hold_off_limit"
        contradiction("hold_off", "hold_off_limit", text)
    if configuration.drain_limit <= configuration.flow_timeout:
        text = "drain_limit is not above flow_timeout; healthy drains will be reported as late"
        contradiction("drain_limit", "flow_timeout", text)
    if configuration.settle > configuration.hold_off:
        text = "settle is longer than hold_off; faults after stepping up again may be missed"
        contradiction("settle", "hold_off", text)
    return configuration
