# SPDX-License-Identifier: GPL-2.0-or-later
"""luci-app-flowguard as `./package` builds it is what LuCI's feed would make of its Makefile."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from packages import apk, ipk
from packages.description import LICENSE, LUCI_APP, MAINTAINER, OPENWRT, URL
from tests.packaging import unpacked
from tests.packaging.build import FeedPackage, build, modes
from tests.packaging.unpacked import Unpacked

VERSION, TIME = "1.2.3-r4", 1_700_000_000
FLOWGUARD, APP = OPENWRT
BUILT = {
    "ipk": unpacked.ipk(ipk.build(APP, VERSION, TIME)),
    "apk": unpacked.apk(apk.build(APP, VERSION, TIME)),
}
both = pytest.mark.parametrize("package", BUILT.values(), ids=BUILT)


@pytest.fixture(scope="module")
def feed(tmp_path_factory: pytest.TempPathFactory) -> FeedPackage:
    return build(tmp_path_factory.mktemp("package"), LUCI_APP)


@both
def test_it_installs_what_the_feed_installs(feed: FeedPackage, package: Unpacked) -> None:
    files = {p: f for p, f in package.files.items() if not p.startswith("/lib/apk/")}
    assert {path: mode for path, (_, mode) in files.items()} == modes(feed.root)
    assert {"/www", "/usr"} == {f"/{path.split('/')[1]}" for path in files}
    for path, (content, _) in files.items():
        assert content == (feed.root / path[1:]).read_bytes()


@both
def test_its_words_and_what_it_needs_are_the_feeds(feed: FeedPackage, package: Unpacked) -> None:
    assert {f"+{name}" for name in package.depends} == set(feed.depends)
    fields = {key.lower(): text for key, text in package.fields.items()}
    named = fields.get("package") or fields["name"]
    assert (named, fields["version"]) == (LUCI_APP.name, VERSION)
    assert fields["description"] == feed.description
    assert feed.fields == (APP.section, APP.summary, URL, MAINTAINER, LICENSE)
    assert package.conffiles == ()


@both
def test_it_shares_no_file_with_the_daemons_package(package: Unpacked) -> None:
    others = {file.target for file in FLOWGUARD.files}
    assert not others & set(package.files)


@pytest.mark.parametrize(("image", "asked"), [("", ["rpcd reload"]), ("/image", [])])
def test_menu_and_rights_are_read_anew_when_it_is_installed(
    tmp_path: Path, image: str, asked: list[str]
) -> None:
    (tmp_path / "luci-indexcache.1").touch()
    (tmp_path / "luci-modulecache").mkdir()
    (path,) = APP.scripts
    script = path.read_text().replace("/tmp/", f"{tmp_path}/").replace("/etc/init.d/", "echo ")
    done = subprocess.run(
        ["sh", "-c", script],
        env={"PATH": "/usr/bin:/bin", "IPKG_INSTROOT": image},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == asked
    assert bool(list(tmp_path.iterdir())) is bool(image)


def test_both_packagers_run_that() -> None:
    (path,) = APP.scripts
    own = path.read_text().partition("\n")[2]
    assert BUILT["ipk"].scripts["postinst-pkg"].endswith(own)
    for moment in ("post-install", "post-upgrade"):
        assert BUILT["apk"].scripts[moment].endswith(own)
