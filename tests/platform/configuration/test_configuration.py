# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowguard.core.model import Family, Level, Mode, PolicySettings, Protocol
from flowguard.core.records import fields
from flowguard.core.tables.plan import Exclusion, OffloadSettings, plan
from flowguard.platform.configuration.exclusions import Exclude
from flowguard.platform.configuration.loading import Loaded, load
from flowguard.platform.configuration.options import Configuration, LogLevel
from flowguard.platform.configuration.sections import settings as table

Load = Callable[[str], Loaded]
SETTINGS = table(Configuration)


@pytest.fixture
def read(tmp_path: Path) -> Load:
    """Loads a text as the file `flowguard`."""

    def read(text: str) -> Loaded:
        file = tmp_path / "flowguard"
        file.write_bytes(text.encode("utf-8", "surrogateescape"))
        return load(str(file))

    return read


@pytest.fixture
def read_globals(read: Load) -> Load:
    return lambda options: read(f"config flowguard 'globals'\n{options}")


def problems(loaded: Loaded) -> list[str]:
    return [str(problem).replace(problem.path, "flowguard") for problem in loaded.problems]


# --- globals ----------------------------------------------------------------------------


def test_an_empty_section_means_the_defaults(read_globals: Load) -> None:
    assert read_globals("") == Loaded(Configuration(), ())


def test_every_option_can_be_set(read_globals: Load) -> None:
    loaded = read_globals(
        """
        option enabled 'yes'
        option level 'software'
        option mode 'detect-only'
        list device 'eth0'
        list device 'lan1'
        option udp 'off'
        option ipv6 '0'
        option control_share '2'
        option min_packets '20'
        option flow_timeout '5'
        option drain_limit '90s'
        option boot_delay '0'
        option hold_off '5m'
        option hold_off_limit '2h'
        option weak_count '1'
        option weak_window '1d'
        option settle '10'
        list rules '/etc/my.toml'
        option log_level 'debug'
        """
    )
    assert loaded == Loaded(
        Configuration(
            enabled=True,
            level=Level.SOFTWARE,
            mode=Mode.DETECT_ONLY,
            device=("eth0", "lan1"),
            udp=False,
            ipv6=False,
            control_share=2,
            min_packets=20,
            flow_timeout=5,
            drain_limit=90,
            boot_delay=0,
            hold_off=300,
            hold_off_limit=7200,
            weak_count=1,
            weak_window=86400,
            settle=10,
            rules=("/etc/my.toml",),
            log_level=LogLevel.DEBUG,
        ),
        (),
    )


def test_every_field_has_its_line_in_the_table_and_its_default_is_allowed() -> None:
    assert [s.name for s in SETTINGS] == [n for n in fields(Configuration) if n != "exclusions"]
    for setting in (*SETTINGS, *table(Exclude)):
        assert setting.meaning and setting.group
        if setting.default_text:
            assert setting.kind.parse(setting.default_text) == setting.default


def test_the_core_has_the_same_defaults() -> None:
    """Its records are made without a configuration by whoever replays a log."""
    assert Configuration().policy_settings == PolicySettings()
    assert Configuration().offload_settings == OffloadSettings()


def test_an_option_with_the_name_of_a_setting_of_the_core_reaches_it() -> None:
    changed: dict[str, Any] = {
        s.name: s.default * 2 + 1 for s in SETTINGS if type(s.default) is int
    }
    configured = Configuration(**changed)
    records = (configured.policy_settings, configured.offload_settings)
    reached = {n: getattr(r, n) for r in records for n in fields(r) if n in changed}
    assert reached == {name: changed[name] for name in reached}
    assert {"hold_off", "drain_limit", "control_share", "min_packets"} <= reached.keys()


@pytest.mark.parametrize(
    "option",
    [
        "enabled maybe",
        "enabled 2",
        "level hardwear",
        "level Hardware",
        "udp 10",
        "control_share 1",
        "control_share 1025",
        "control_share -2",
        "control_share 00",
        "min_packets 10001",
        "min_packets -1",
        "mode detect_only",
        "flow_timeout 0",
        "flow_timeout 301",
        "flow_timeout 6m",
        "flow_timeout 1.5",
        "flow_timeout 1_0",
        "flow_timeout ' 10'",
        "flow_timeout \N{ARABIC-INDIC DIGIT ONE}",
        "hold_off 10x",
        "hold_off 8d",
        "hold_off m",
        "weak_count 0",
        "device a/b",
        "device sixteen-letters-",
        "device ..",
        "device eth\udcff",
        "rules relative.toml",
        "log_level loud",
        "weak_count " + "9" * 5000,
    ],
)
def test_a_bad_value_leaves_the_default_and_names_file_line_option_and_what_is_allowed(
    read_globals: Load, option: str
) -> None:
    loaded = read_globals(f"\n option {option}\n")
    (problem,) = problems(loaded)
    name = option.split()[0]
    (setting,) = (setting for setting in SETTINGS if setting.name == name)
    assert problem.startswith(f"flowguard:3: option '{name}' cannot be ")
    assert f"allowed: {setting.kind.allowed}" in problem
    assert len(problem) < 250
    assert loaded.configuration == Configuration()
    assert loaded.readable


def test_the_rest_of_a_file_with_mistakes_counts(read_globals: Load) -> None:
    loaded = read_globals(
        " option enabled 1\n option levle none\n list device 'a/b'\n list device eth0\n"
    )
    assert loaded.configuration == Configuration(enabled=True, device=("eth0",))
    unknown, bad = problems(loaded)
    assert unknown.startswith("flowguard:3: unknown option 'levle'; it is ignored; known are ")
    assert bad.startswith("flowguard:4: option 'device' cannot be 'a/b'")


def test_a_list_may_be_one_option_with_blanks(read_globals: Load) -> None:
    loaded = read_globals(" option device 'eth0 lan1  eth0'\n")
    assert loaded == Loaded(Configuration(device=("eth0", "lan1")), ())


def test_a_single_value_may_not_be_a_list(read_globals: Load) -> None:
    loaded = read_globals(" list level software\n list level none\n")
    assert problems(loaded) == [
        "flowguard:3: option 'level' takes one value, not a list; it is ignored"
    ]
    assert loaded.configuration == Configuration()


@pytest.mark.parametrize(
    ("options", "line", "both"),
    [
        (" option hold_off 2h\n option hold_off_limit 1h\n", 2, ("hold_off", "hold_off_limit")),
        (" option hold_off_limit 60\n option settle 0\n", 2, ("hold_off", "hold_off_limit")),
        (" option udp 0\n option flow_timeout 60\n", 3, ("drain_limit", "flow_timeout")),
        (" option settle 11m\n", 2, ("settle", "hold_off")),
    ],
)
def test_settings_that_contradict_are_told_and_kept(
    read_globals: Load, options: str, line: int, both: tuple[str, str]
) -> None:
    (problem,) = problems(read_globals(options))
    assert problem.startswith(f"flowguard:{line}: ")
    assert all(name in problem for name in both)


@pytest.mark.parametrize("name", ["control_mark", "observe_mark"])
@pytest.mark.parametrize("value", ["0x8000", "banana"])
def test_an_option_of_a_former_release_is_told_in_one_line_and_changes_nothing(
    read_globals: Load, name: str, value: str
) -> None:
    loaded = read_globals(f" option udp 0\n option {name} {value}\n")
    (problem,) = problems(loaded)
    assert problem.startswith(f"flowguard:3: option '{name}' is no longer used; ")
    assert loaded.configuration == Configuration(udp=False)


def test_the_mode_reaches_the_policy_and_the_packets_the_rules(read_globals: Load) -> None:
    configured = read_globals(" option mode detect-only\n option min_packets 9\n").configuration
    assert configured.policy_settings.detect_only
    assert configured.offload_settings.min_packets == 9
    assert not Configuration().policy_settings.detect_only


# --- the file as a whole ----------------------------------------------------------------


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    path = str(tmp_path / "flowguard")
    loaded = load(path)
    assert (loaded.configuration, loaded.readable) == (Configuration(), False)
    assert [str(problem) for problem in loaded.problems] == [
        f"{path}: cannot be read: No such file or directory; flowguard stays disabled"
    ]


def test_a_syntax_error_disables_and_tells_the_line(read: Load) -> None:
    loaded = read("config flowguard globals\n option enabled 1\n bogus\n")
    assert (loaded.configuration, loaded.readable) == (Configuration(), False)
    assert problems(loaded) == [
        "flowguard:3: not valid UCI: invalid command; the whole file is ignored"
    ]


def test_unknown_sections_and_missing_globals_are_told(read: Load) -> None:
    loaded = read("\nconfig flowgard globals\n option enabled 1\nconfig flowguard\n")
    assert loaded.configuration == Configuration()
    assert [problem.split(";")[0] for problem in problems(loaded)] == [
        "flowguard: has no section: config flowguard 'globals'",
        "flowguard:2: unknown section 'flowgard'",
        "flowguard:4: unknown section 'flowguard'",
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from([s.name for s in (*SETTINGS, *table(Exclude))] + ["other"]),
            st.text(st.characters(codec="utf-8", exclude_characters="'\0"), max_size=12)
            | st.sampled_from(["1", "0", "10m", "0x10/0xff", "ef", "::1", "1.2.3.4/8", "tcp udp"]),
        )
    ),
    st.integers(0, 5),
)
def test_whatever_is_set_the_result_can_be_used(
    read: Load, options: list[tuple[str, str]], split: int
) -> None:
    def section(part: list[tuple[str, str]]) -> str:
        return "".join(f" option {name} '{value}'\n" for name, value in part)

    loaded = read(
        f"config flowguard globals\n{section(options[:split])}"
        f"config exclude\n{section(options[split:])}"
    )
    assert loaded.readable
    plan([], {}, loaded.configuration.offload_settings)
    assert all("\n" not in str(problem) for problem in loaded.problems)
    assert loaded.configuration.policy_settings.hold_off >= 1


# --- exclusions -------------------------------------------------------------------------


def exclusions(read: Load, options: str) -> tuple[Exclusion, ...]:
    loaded = read(f"config flowguard globals\nconfig exclude\n{options}")
    assert loaded.problems == ()
    return loaded.configuration.offload_settings.exclusions


def test_every_match_of_an_exclusion(read: Load) -> None:
    assert exclusions(
        read,
        """
        option name 'telephones'
        option level 'software'
        option device 'eth0'
        option family 'ipv4'
        option proto 'udp'
        option src_ip '192.168.1.17/24'
        option dest_ip '203.0.113.7'
        option src_port '1024-65535'
        option dest_port '5060'
        option mark '0x100/0x3f00'
        option dscp 'EF'
        """,
    ) == (
        Exclusion(
            level=Level.SOFTWARE,
            device="eth0",
            family=Family.IPV4,
            protocol=Protocol.UDP,
            source=ipaddress.ip_network("192.168.1.0/24"),
            destination=ipaddress.ip_network("203.0.113.7/32"),
            source_ports=(1024, 65535),
            destination_ports=(5060, 5060),
            mark=(0x100, 0x3F00),
            dscp=46,
            section="telephones",
        ),
    )


def test_lists_become_one_exclusion_for_each_combination(read: Load) -> None:
    found = exclusions(read, " option dest_port '80 443-444'\n list proto tcp\n list proto udp\n")
    assert {(e.protocol, e.destination_ports) for e in found} == {
        (protocol, ports) for protocol in Protocol for ports in ((80, 80), (443, 444))
    }
    assert all(e.level is Level.NONE for e in found)


def test_combinations_of_two_families_are_left_out(read: Load) -> None:
    found = exclusions(
        read, " option src_ip '10.0.0.0/8 fd00::/8'\n option dest_ip '2001:db8::1'\n"
    )
    assert [str(e.source) for e in found] == ["fd00::/8"]


def test_of_a_mark_without_mask_all_bits_count(read: Load) -> None:
    (found,) = exclusions(read, " option mark 5\n")
    assert found.mark == (5, 0xFFFFFFFF)


@pytest.mark.parametrize(
    ("name", "value"),
    [("cs0", 0), ("cs7", 56), ("af11", 10), ("AF43", 38), ("ef", 46), ("be", 0), ("63", 63)],
)
def test_names_of_dscp(read: Load, name: str, value: int) -> None:
    (found,) = exclusions(read, f" option dscp {name}\n")
    assert found.dscp == value


def test_a_switched_off_exclusion_is_left_out(read: Load) -> None:
    assert exclusions(read, " option enabled 0\n option proto tcp\n") == ()


@pytest.mark.parametrize(
    ("options", "line", "word"),
    [
        (" option proto udp\n option dest_prot 80\n", 4, "unknown option 'dest_prot'"),
        (" option proto icmp\n", 3, "allowed: tcp, udp"),
        (" option level hardware\n option proto udp\n", 3, "allowed: software, none"),
        (" option dest_port 70000\n", 3, "0 to 65535"),
        (" option dest_port 90-80\n", 3, "range"),
        (" option src_ip 1.2.3\n", 3, "192.168.1.0/24"),
        (" option src_ip fe80::1%eth0\n", 3, "address"),
        (" option mark 0x100/0xff\n", 3, "no bit outside of the mask"),
        (" option dscp af44\n", 3, "af43"),
        (" option dscp 64\n", 3, "0 to 63"),
        (" option device 'lan\udcff'\n", 3, "the name of a network device"),
        (" option level none\n", 2, "without any match"),
        (" option family ipv4\n option src_ip ::1\n", 2, "family"),
        (f" option dest_port '{' '.join(map(str, range(300)))}'\n", 2, "combinations"),
    ],
)
def test_an_exclusion_with_a_mistake_is_ignored_as_a_whole(
    read: Load, options: str, line: int, word: str
) -> None:
    loaded = read(f"config flowguard globals\nconfig exclude\n{options}")
    (problem,) = problems(loaded)
    assert problem.startswith(f"flowguard:{line}: ")
    assert word in problem
    assert "this exclusion is ignored" in problem
    assert loaded.configuration.exclusions == ()


def test_an_exclusion_is_called_by_its_name_its_section_or_its_line(read: Load) -> None:
    text = """config flowguard globals
config exclude
	option proto 'udp'
config exclude 'printer'
	option proto 'udp'
config exclude 'tv'
	option name 'the television'
	option proto 'udp'
"""
    found = read(text).configuration.offload_settings.exclusions
    assert [exclusion.section for exclusion in found] == ["line 2", "printer", "the television"]
