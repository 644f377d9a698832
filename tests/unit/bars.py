"""The progress bars that a command shows on a terminal."""

import io
import re
from dataclasses import dataclass

import pytest


class Terminal(io.StringIO):
    """What is printed on a terminal."""

    def isatty(self) -> bool:
        return True


@dataclass(frozen=True)
class Bar:
    """The last state of a bar: what it counts, how far it came, and how many it expects."""

    name: str
    done: int
    expected: int


def watch_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Standard error is a terminal from now on."""
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    return terminal


def bars(terminal: Terminal) -> list[Bar]:
    """The bars that it shows, in the order of their beginning."""
    states = re.findall(r"([^\r\n]+?): +\d+%\|[^|]*\| (\d+)/(\d+) ", terminal.getvalue())
    return list({name: Bar(name, int(done), int(expected)) for name, done, expected in states}.values())
