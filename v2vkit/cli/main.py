"""The command line: the commands of `v2vkit.stages`, each imported only when it is used."""

import contextlib
import io
import os
import sys
from collections.abc import Callable
from typing import Any

import click

from v2vkit import __version__
from v2vkit.errors import DISK_FULL, V2VError
from v2vkit.stages import COMMANDS, RUN_HELP, find_command

EXIT_PROBLEMS = 3
EXIT_STOPPED = 130
EXIT_PIPE = 141  # 128 + SIGPIPE: the reader of the output has closed it


Find = Callable[[str], Any]
"""Name of a command -> its Stage or Command."""


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports a command's module only to use it.

    Args:
        find: gives the Stage or Command of a name; None = `load`.
    """

    def __init__(self, *args: Any, find: Find | None = None, **settings: Any):
        super().__init__(*args, **settings)
        self.find = find or load

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return build_command(cmd_name, self.find(cmd_name))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # while modules load; `_call` handles it later
            click.echo("Stopped before any work.", err=True)
            raise click.exceptions.Exit(EXIT_STOPPED) from None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"Did you mean `v2v {near[0]}`?" if near else "`v2v --help` lists the commands."
            ctx.fail(f"There is no command {args[0]!r}. {hint}")
        return super().resolve_command(ctx, args)


# Field of RunOptions -> its flag; each Stage or Command names the ones it has.
_RUN_OPTIONS: dict[str, dict[str, Any]] = {
    "work": {"default": "work", "show_default": True, "envvar": "V2V_WORK"},
    "workers": {"type": click.IntRange(0), "default": 0},
    "engine": {"type": click.Choice(["local", "ray"]), "default": "local", "show_default": True},
    "address": {"default": "", "metavar": "HOST:PORT"},
    "worker_gpus": {"type": click.FloatRange(0), "default": 0.0, "metavar": "NUMBER"},
    "overwrite": {"is_flag": True},
    "continue_": {"is_flag": True},
    "dry_run": {"is_flag": True},
}


def _run_option(name: str) -> click.Option:
    return click.Option([name, f"--{name.rstrip('_').replace('_', '-')}"], help=RUN_HELP[name], **_RUN_OPTIONS[name])


def load(name: str) -> Any:
    """The Stage or Command object behind a command name."""
    if name == "estimate-cost":  # like `run`, it calls the others
        from v2vkit.cli.estimate_cost import cost_command

        return cost_command(load)
    if name == "run":
        from v2vkit.cli.recipe import recipe_command

        return recipe_command(load)
    return find_command(name)


def build_command(name: str, target: Any) -> click.Command:
    """The click command for a Stage or Command."""
    from v2vkit.cli.options import GroupedCommand, parameters

    common = [_run_option(option) for option in target.options]
    return GroupedCommand(
        name,
        config=target.config,
        callback=lambda **values: _call(name, target, values),
        params=[*parameters(target.config), *common],
        help=target.config.__doc__.strip(),  # paragraphs kept
        short_help=COMMANDS[name],
    )


def _call(name: str, target: Any, values: dict[str, Any]) -> None:
    from v2vkit.cli.options import given
    from v2vkit.config import make_config
    from v2vkit.pipeline.runner import execute
    from v2vkit.pipeline.stage import RunOptions, Stage

    options = RunOptions(**{option: values.pop(option) for option in target.options})
    config = make_config(target.config, given(target.config, values), f"v2v {name}")
    try:
        outcome = execute(target, config, options)
        if outcome.message:
            click.echo(outcome.message)
    except BrokenPipeError:
        raise click.exceptions.Exit(EXIT_PIPE) from None
    except KeyboardInterrupt as stopped:
        resumes = isinstance(target, Stage) or target.resumes
        again = "resumes from the finished parts" if resumes else "starts over"
        told = str(stopped) or f"Stopped. No file is left half-written; rerunning the command {again}."
        click.echo(told, err=True)
        raise click.exceptions.Exit(EXIT_STOPPED) from None
    for problem in outcome.problems:
        click.echo(f"problem: {problem}", err=True)
    if outcome.problems:
        raise click.exceptions.Exit(EXIT_PROBLEMS)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 done, 1 error (printed with what to do), 2 wrong usage, 3 done with problems that are "
    "listed, 130 stopped by Ctrl-C (training also by SIGTERM), 141 the reader of standard output has closed it.",
)
@click.version_option(__version__, prog_name="v2v")
def cli() -> None:
    """Video-to-video synthesis on your own footage.

    `v2v run face.toml` makes everything up to the model. Step by step: ingest, then make-sketches (faces),
    estimate-pose (bodies) or segment (streets), then extract-flow, train and render.
    """


def main() -> None:
    """The console script `v2v`: user errors are printed without a traceback, with exit code 1."""
    # torch's threads (libgomp) spin while they wait. Spinning only briefly is as fast on an idle machine, and many
    # times faster when anything else runs: our own decoding and encoding, or the user's other programs.
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    _occupy_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # characters that the encoding lacks must not raise
            stream.reconfigure(errors="replace")
    try:
        try:
            cli()
        finally:
            if sys.stdout is not None:
                with contextlib.suppress(BrokenPipeError):
                    sys.stdout.flush()  # here, so that a full disk is reported below
    except V2VError as error:
        click.echo(f"error [{error.code}]: {error.message}\n{error.hint}", err=True)
        sys.exit(1)
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.close()  # discards what could not be written
        click.echo(
            f"error [disk-full]: The output cannot be written: {error.strerror}.\nFree some space and try again.",
            err=True,
        )
        sys.exit(1)


def _occupy_closed() -> None:
    """Open the null device where standard output or standard error is closed: otherwise the next opened files would get
    descriptors 1 and 2, and with them everything that is printed."""
    for number in (1, 2):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            if null != number:
                os.dup2(null, number)
                os.close(null)
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.dup(2), "w")


if __name__ == "__main__":
    main()
