# SPDX-License-Identifier: GPL-2.0-or-later
"""`./package` as it is run, in a checkout of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

import flowguard
from tests.packaging.build import RECIPE, ROOT

# Of the program a part is enough; that all of it is packed is seen elsewhere.
FOLDERS = ("daemon/flowguard/rules", "config", "docs", "init.d", "packages", "openwrt-package")
FILES = (
    *("daemon/flowguard/__init__.py", "package", "README.md", "CHANGELOG.md", "LICENSE"),
    "pyproject.toml",
)
COMMITTED = "1700000000 +0000"
NAMES = {
    f"flowguard_{flowguard.__version__}-r1_all.ipk",
    f"flowguard-{flowguard.__version__}-r1.apk",
    f"luci-app-flowguard_{flowguard.__version__}-r1_all.ipk",
    f"luci-app-flowguard-{flowguard.__version__}-r1.apk",
    f"flowguard_{flowguard.__version__}-1_all.deb",
    f"flowguard-{flowguard.__version__}.tar.gz",
}
Make = Callable[[str], Path]

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="needs git")


@pytest.fixture
def checkout(tmp_path: Path) -> Make:
    """Makes a repository of its own, of one commit, in a folder of this name."""

    def make(name: str) -> Path:
        folder = tmp_path / name
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        for taken in FOLDERS:
            shutil.copytree(ROOT / taken, folder / taken, ignore=ignored, copy_function=_copy)
        for taken in FILES:
            _copy(ROOT / taken, folder / taken)
        (folder / ".gitignore").write_text("/build/\n")
        git(folder, "init", "-q")
        git(folder, "add", "-A")
        git(folder, "commit", "-q", "-m", "all")
        return folder

    return make


def _copy(source: Path | str, target: Path | str) -> None:
    """With the time of the copy and whatever permissions a umask leaves."""
    shutil.copyfile(source, target)
    Path(target).chmod(Path(source).stat().st_mode & 0o700 | 0o040)


def git(folder: Path, *words: str) -> None:
    person = {
        f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    dates = {"GIT_AUTHOR_DATE": COMMITTED, "GIT_COMMITTER_DATE": COMMITTED}
    subprocess.run(
        ["git", "-C", folder, *words], env={**inherited(), **person, **dates}, check=True
    )


def inherited() -> dict[str, str]:
    """Without what git tells its hooks: that would be the repository of whoever runs the tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    kept.pop("SOURCE_DATE_EPOCH", None)
    return {**kept, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}


def package(folder: Path, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {**inherited(), **settings}
    command = [str(folder / "package"), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def built(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "build").iterdir()}


def test_two_checkouts_of_one_commit_give_the_same_bytes(checkout: Make) -> None:
    first, second = checkout("one"), checkout("two")
    for folder in (first, second):
        assert package(folder).returncode == 0
    assert set(built(first)) == NAMES
    assert built(first) == built(second)


def test_the_tarball_holds_everything_but_the_feeds_recipe(checkout: Make) -> None:
    folder = checkout("one")
    done = package(folder, "tarball")
    (path,) = (folder / "build").iterdir()
    with tarfile.open(path) as tar:
        members = {member.name: member for member in tar if member.isfile()}
    root = f"flowguard-{flowguard.__version__}"
    assert all(name.startswith(f"{root}/") for name in members)
    assert all(member.mtime == 1_700_000_000 for member in members.values())
    assert members[f"{root}/package"].mode == 0o755
    assert not any("openwrt-package" in name for name in members)
    # What the recipe takes from it.
    recipe = (RECIPE / "Makefile").read_text()
    taken = re.findall(r"\$\(PKG_BUILD_DIR\)/(\S+)", recipe)
    assert {f"{root}/{name}" for name in (*taken, "LICENSE", "pyproject.toml")} <= set(members)
    assert re.search(r"put into openwrt-package/flowguard/Makefile: PKG_HASH:=\w{64}$", done.stderr)


def test_what_is_not_committed_is_not_released(checkout: Make) -> None:
    folder = checkout("one")
    (folder / "README.md").write_text("changed\n")
    done = package(folder, "tarball")
    assert done.returncode == 1
    assert done.stderr == (
        "./package: a tarball is made of a commit: commit or stash your changes first\n"
    )
    assert not (folder / "build").exists()


@pytest.mark.parametrize(
    ("place", "line", "changed"),
    [
        ("daemon/flowguard/__init__.py", f'"{flowguard.__version__}"', '"9.9.9"'),
        ("CHANGELOG.md", f"## {flowguard.__version__}", "## 9.9.9"),
        ("openwrt-package/flowguard/Makefile", "PKG_RELEASE:=1", "PKG_RELEASE:=9"),
        ("openwrt-package/flowguard/Makefile", "PKG_MAINTAINER:=", "PKG_MAINTAINER:=Somebody "),
        ("openwrt-package/luci-app-flowguard/Makefile", "PKG_RELEASE:=1", "PKG_RELEASE:=9"),
        ("openwrt-package/luci-app-flowguard/Makefile", "LUCI_URL:=", "LUCI_URL:=x"),
    ],
)
def test_nothing_is_built_of_places_that_disagree(
    checkout: Make, place: str, line: str, changed: str
) -> None:
    folder = checkout("one")
    text = (folder / place).read_text()
    assert line in text
    (folder / place).write_text(text.replace(line, changed))
    done = package(folder, "ipk")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"\./package: .* says .*, and .* is expected there\n", done.stderr)
    assert not (folder / "build").exists()


def test_of_an_unpacked_tarball_only_a_debian_package_can_be_built(checkout: Make) -> None:
    first, second = checkout("one"), checkout("two")
    for folder in (first, second):
        shutil.rmtree(folder / ".git")
        shutil.rmtree(folder / "openwrt-package")
        os.utime(folder / "CHANGELOG.md", (1_700_000_000, 1_700_000_000))
        assert package(folder, "deb").returncode == 0
    assert built(first) == built(second)
    for kind, reason in (
        ("tarball", "a tarball is made of a commit"),
        ("ipk", "[Errno 2] No such file"),
    ):
        done = package(first, kind)
        assert done.returncode == 1
        assert done.stderr.startswith(f"./package: {reason}")


def test_a_time_that_is_no_number_is_refused(checkout: Make) -> None:
    done = package(checkout("one"), "deb", SOURCE_DATE_EPOCH="yesterday")
    assert done.returncode == 1
    assert "SOURCE_DATE_EPOCH says yesterday" in done.stderr


def test_a_word_that_is_no_kind_is_refused(checkout: Make) -> None:
    done = package(checkout("one"), "rpm")
    assert done.returncode == 2
    assert "invalid choice: 'rpm'" in done.stderr


def test_every_version_has_its_notes() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## (\S+)", text, re.MULTILINE)
    assert versions[0] == flowguard.__version__
    assert len(set(versions)) == len(versions)
