# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds the simulated packet engine for a lab kernel, once per version of its sources.

`python -m tests.lab.engine.build [--kernel V]` prints the path of the module.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.lab.kernel import (
    DEFAULT_KERNEL,
    LabError,
    LabKernel,
    ensure_kernel,
    require_tools,
)

SOURCES = Path(__file__).parent
TOOLS = {"make": "make", "gcc": "gcc", "strip": "binutils"}


def build_engine(kernel: LabKernel) -> Path:
    """The path of labengine.ko for that kernel; raises LabError with the compiler's words."""
    sources = [SOURCES / "Kbuild", *sorted(SOURCES.glob("labengine*.[ch]"))]
    digest = hashlib.sha256(kernel.release.encode())
    for source in sources:
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    module = kernel.cache / f"engine-{digest.hexdigest()[:12]}" / "labengine.ko"
    if not module.exists():
        require_tools(TOOLS)
        print(f"building the packet engine for {kernel.release}", file=sys.stderr, flush=True)
        module.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=module.parent) as directory:
            built = _make(kernel, sources, Path(directory))
            # In one step, so that nobody ever loads half a module.
            built.rename(module)
    return module


def _make(kernel: LabKernel, sources: list[Path], directory: Path) -> Path:
    for source in sources:
        shutil.copy(source, directory)
    module = directory / "labengine.ko"
    _run(
        "make",
        f"-j{os.cpu_count() or 1}",
        f"-C{kernel.headers}",
        f"M={directory}",
        # The headers ask for the compiler and the type information of Debian's own build.
        "CC=gcc",
        "CONFIG_CC_HAS_MIN_FUNCTION_ALIGNMENT=",
        "CONFIG_DEBUG_INFO_BTF_MODULES=",
        # Short names in the kernel's warnings instead of this machine's paths.
        f"KCFLAGS=-Wall -Werror -fmacro-prefix-map={directory}/=",
        *([f"ARCH={kernel.architecture}"] if kernel.architecture else []),
        "modules",
    )
    _run("strip", "--strip-debug", str(module))
    return module


def _run(*command: str) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise LabError(f"cannot build the packet engine:\n{done.stdout}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.lab.engine.build")
    parser.add_argument("--kernel", default=DEFAULT_KERNEL)
    try:
        print(build_engine(ensure_kernel(parser.parse_args().kernel)))
    except LabError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
