# SPDX-License-Identifier: GPL-2.0-or-later
"""`./run`: boots the lab router and tells the story of tests.lab.demo in it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.lab.engine.build import build_engine
from tests.lab.guest_python import guest_python
from tests.lab.kernel import DEFAULT_KERNEL, SUITES, LabError, ensure_kernel
from tests.lab.vm import Machine


def main() -> int:
    parser = argparse.ArgumentParser(prog="run", description="See flowguard at work.")
    parser.add_argument("--kernel", default=DEFAULT_KERNEL, choices=SUITES)
    parser.add_argument("--shell", action="store_true", help="stay inside afterwards")
    options = parser.parse_args()
    try:
        kernel = ensure_kernel(options.kernel)
        # The shell finds `flowguard` beside the Python that runs this.
        path = f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"
        python = guest_python(LAB_ENGINE=str(build_engine(kernel)), PATH=path)
        demo = [*python, "-m", "tests.lab.demo"]
        machine = Machine(kernel)
        return machine.shell([*demo, "--stay"]) if options.shell else machine.run(demo)
    except LabError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
