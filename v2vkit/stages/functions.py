"""Every command as a function of the same settings: `v2vkit.train("work", stage="spatial-1", preset="tiny")`."""

import inspect
import io
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import fields, replace
from functools import cache
from typing import Any, Protocol, TextIO

from v2vkit.config import StageConfig, make_config, settings_of
from v2vkit.pipeline.runner import Outcome, execute
from v2vkit.pipeline.stage import Command, RunOptions, Stage
from v2vkit.stages import FUNCTIONS, RUN_HELP, find_command


class WorkFunction(Protocol):
    """The function of a command that works in a workspace; `help` and `inspect.signature` list its settings."""

    def __call__(self, work: str | os.PathLike[str] = "work", **settings: Any) -> Outcome: ...


class StageFunction(Protocol):
    """The function of a command without a workspace."""

    def __call__(self, **settings: Any) -> Outcome: ...


class _Kept(io.TextIOBase):
    """Writes text through to a stream and keeps a copy."""

    def __init__(self, stream: TextIO):
        self._stream = stream
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()


@cache
def stage_function(name: str) -> Callable[..., Outcome]:
    """The function of that name in `FUNCTIONS`; its signature and help come from the settings of its command.

    The function does and prints what the command does. It returns an `Outcome`: the command's final message (everything
    printed, for a command that makes no artifact) and the problems for which the command exits with 3. It raises
    V2VError where the command exits with 1.
    """
    target = find_command(FUNCTIONS[name])

    def function(*args: Any, **values: Any) -> Outcome:
        positional = signature.bind_partial(*args).arguments
        if twice := positional.keys() & values.keys():
            raise TypeError(f"{name}() got multiple values for argument {twice.pop()!r}")
        given = {**positional, **values}
        options = RunOptions(**{option: _plain(given.pop(option)) for option in target.options if option in given})
        config = make_config(target.config, {key: _plain(value) for key, value in given.items()}, f"v2vkit.{name}")
        return call_command(target, config, options)

    signature = _signature(target)
    function.__name__ = function.__qualname__ = name
    function.__module__ = "v2vkit"
    function.__doc__ = _help(target)
    function.__signature__ = signature  # type: ignore[attr-defined]
    return function


def call_command(target: Stage | Command, config: StageConfig, options: RunOptions) -> Outcome:
    """Run a command with these settings; the message of one that makes no artifact is everything that it printed.

    Raises:
        V2VError: as the command.
    """
    if isinstance(target, Stage):
        return execute(target, config, options)
    printed = _Kept(sys.stdout)
    with redirect_stdout(printed):
        outcome = execute(target, config, options)
    return replace(outcome, message=printed.text.rstrip())


def _plain(value: Any) -> Any:
    """A value with paths converted to text, also in a list."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(_plain, value)) if type(value) in (list, tuple) else value
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _signature(target: Stage | Command) -> inspect.Signature:
    """The signature: `work` is positional where the command has a workspace, everything else keyword-only."""
    kinds = {field.name: field for field in fields(RunOptions)}
    found = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.is_required() else field.default,
            annotation=field.annotation,
        )
        for name, field in settings_of(target.config).items()
    ]
    for option in target.options:
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD if option == "work" else inspect.Parameter.KEYWORD_ONLY
        of = kinds[option]
        found.append(inspect.Parameter(option, kind, default=of.default, annotation=of.type))
    found.sort(key=lambda parameter: parameter.kind)
    return inspect.Signature(found, return_annotation=Outcome)


def _help(target: Stage | Command) -> str:
    """The help and the settings of a command, as a docstring."""
    settings = {name: field.description or "" for name, field in settings_of(target.config).items()}
    how = {option: RUN_HELP[option] for option in target.options}
    arguments = {name: how.pop(name) for name in ("work",) if name in how} | settings | how
    listed = "\n".join(f"    {name}: {text}" for name, text in arguments.items())
    about = inspect.cleandoc(target.config.__doc__ or "")
    return (
        f"{about}\n\nArgs:\n{listed}\n\n"
        "Returns:\n    The result (`message`) and its problems (`problems`).\n\n"
        "Raises:\n    V2VError: the errors of the command, with a code, what is wrong and what to do.\n"
    )
