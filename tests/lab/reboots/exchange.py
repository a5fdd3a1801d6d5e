# SPDX-License-Identifier: GPL-2.0-or-later
"""What the host asks of the router and the router answers: files in a folder both see.

The guest can die at any moment, in the midst of an answer too; files that appear by being
renamed are either whole or not there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from time import sleep
from typing import Any

from tests.lab.kernel import LabError

POLL_SECONDS = 0.05


def put(path: Path, content: object) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(content))
    temporary.rename(path)


class Asker:
    """The host's end, for one boot; `wait(condition)` waits while that boot is alive."""

    def __init__(self, folder: Path, wait: Callable[[Callable[[], bool], str], None]) -> None:
        self._folder = folder
        self._wait = wait
        self._numbers = count()

    def tell(self, action: str, **arguments: object) -> int:
        """Have it done, without waiting for an answer: it may be the last thing it does."""
        number = next(self._numbers)
        request = {"action": action, "arguments": arguments}
        put(self._folder / f"request-{number}", request)
        return number

    def ask(self, action: str, **arguments: object) -> Any:
        """Its answer; LabError with its words when it could not."""
        number = self.tell(action, **arguments)
        answer = self._folder / f"answer-{number}"
        self._wait(answer.exists, f"the router to {action}")
        found = json.loads(answer.read_text())
        if "error" in found:
            raise LabError(f"the router cannot {action}: {found['error']}")
        return found["result"]


def serve(folder: Path, actions: Mapping[str, Callable[..., object]]) -> None:
    """The guest's end: do what is asked until an action ends the program.

    What a former boot took in hand is not done again.
    """
    for number in count():
        request, taken = folder / f"request-{number}", folder / f"taken-{number}"
        if taken.exists():
            continue
        while not request.exists():
            sleep(POLL_SECONDS)
        asked = json.loads(request.rename(taken).read_text())
        answer: dict[str, object]
        try:
            answer = {"result": actions[asked["action"]](**asked["arguments"])}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        put(folder / f"answer-{number}", answer)
