# SPDX-License-Identifier: GPL-2.0-or-later
"""The configuration, and what flowguard needs of the machine to see enough."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flowguard.checks.finding import Finding, Grade
from flowguard.kernel.machine import Machine, Sysctls
from flowguard.platform.configuration import loading

ACCOUNTING = "net/netfilter/nf_conntrack_acct"
FORWARDING = "net/ipv4/ip_forward"
MOUNTS = "/proc/mounts"


def check_configuration(loaded: loading.Loaded, path: str) -> Iterator[Finding]:
    grade = Grade.WARNING if loaded.readable else Grade.ERROR
    for problem in loaded.problems:
        yield Finding(grade, "configuration", str(problem), f"correct {path}")
    if not loaded.problems:
        yield Finding(Grade.FINE, "configuration", f"{path} is understood")
    if loaded.readable and not loaded.configuration.enabled:
        remedy = f"set option enabled '1' in {path}"
        yield Finding(Grade.WARNING, "disabled", "the service is not enabled", remedy)


def check_rules(files: Sequence[str], left_out: Sequence[str]) -> Iterator[Finding]:
    """Files with further fault rules, if there are any; `left_out` is what is wrong with some."""
    for sentence in left_out:
        yield Finding(Grade.WARNING, "rules", sentence, "correct it, then reload flowguard")
    if files and not left_out:
        yield Finding(Grade.FINE, "rules", f"{', '.join(files)}: understood")


def check_sysctls(sysctls: Sysctls) -> Iterator[Finding]:
    yield _sysctl(
        sysctls,
        ACCOUNTING,
        "accounting",
        "conntrack counts no bytes, so stalled flows cannot be told from idle ones",
    )
    yield _sysctl(sysctls, FORWARDING, "forwarding", "this machine does not forward")


def _sysctl(sysctls: Sysctls, path: str, code: str, sentence: str) -> Finding:
    name = path.replace("/", ".")
    try:
        value = sysctls.get(path)
    except OSError as error:
        return Finding(Grade.WARNING, code, f"{name}: {error.strerror or error}", "run as root")
    if value is None:
        return Finding(Grade.WARNING, code, f"{name} does not exist", "load nf_conntrack")
    if value == 0:
        return Finding(Grade.WARNING, code, sentence, f"sysctl {name}=1")
    return Finding(Grade.FINE, code, f"{name} is {value}")


def check_evidence(machine: Machine) -> Iterator[Finding]:
    """Optional sources of evidence; without them flowguard sees less."""
    yield _kernel_log(machine)
    if machine.engines.are_readable():
        yield Finding(Grade.FINE, "engine", "the engine's own table is readable")
    elif _has_debugfs(machine):
        yield Finding(Grade.FINE, "engine", "no engine here shows a table of its own")
    else:
        sentence = "debugfs is not mounted: the engine's own table cannot be read"
        remedy = "mount -t debugfs debugfs /sys/kernel/debug"
        yield Finding(Grade.WARNING, "engine", sentence, remedy)


def _kernel_log(machine: Machine) -> Finding:
    try:
        machine.kernel_log.follow(None, lambda records: None, lambda error: None).close()
    except OSError as error:
        sentence = f"/dev/kmsg: {error.strerror or error}: driver faults cannot be seen"
        return Finding(Grade.ERROR, "kmsg", sentence, "run as root; without it no hardware is used")
    return Finding(Grade.FINE, "kmsg", "/dev/kmsg is readable")


def _has_debugfs(machine: Machine) -> bool:
    try:
        return " debugfs " in machine.files.read(MOUNTS)
    except (OSError, ValueError):
        return False
