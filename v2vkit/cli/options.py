"""A stage's config model as click options: type, range, default and help are stated once, in the model."""

import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from v2vkit.config import Size, StageConfig, extras, sections_of, settings_of


def parameters(config: type[StageConfig]) -> list[click.Parameter]:
    """One click parameter per field, in the model's order."""
    return [_parameter(name, field, extras(config, name)) for name, field in settings_of(config).items()]


def given(config: type[StageConfig], values: dict[str, Any]) -> dict[str, Any]:
    """The settings given on the command line."""
    return {
        name: values[name] for name in settings_of(config) if values.get(name) is not None and values.get(name) != ()
    }


class GroupedCommand(click.Command):
    """A command whose `--help` explains its arguments, and has a section for each group of settings."""

    def __init__(self, name: str, *, config: type[StageConfig], **rest: Any):
        super().__init__(name, **rest)
        self._sections = sections_of(config)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = list(args)  # click empties the list
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if file := next((text for text in given if text.startswith("-") and Path(text).exists()), None):
                ctx.fail(f"{error.format_message()} Write ./{file} for the file of that name.")
            raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows: dict[str, tuple[str, str]] = {}
        for parameter in self.get_params(ctx):
            row = parameter.get_help_record(ctx)
            if row is not None:
                rows[parameter.name or ""] = row
        arguments = [rows.pop(of.name) for of in self.params if isinstance(of, _Argument) and of.name]
        if arguments:
            with formatter.section("Arguments"):
                formatter.write_dl(arguments)
        if not self._sections:
            with formatter.section("Options"):
                formatter.write_dl(list(rows.values()))
            return
        for heading, names in self._sections.items():
            with formatter.section(heading):
                formatter.write_dl([rows.pop(name) for name in names if name in rows])
            if rows and heading == next(iter(self._sections)):
                settings = {name for names in self._sections.values() for name in names}
                with formatter.section("How to run"):
                    formatter.write_dl([rows.pop(name) for name in list(rows) if name not in settings])


class _Argument(click.Argument):
    """A positional argument with a help text, which click has only since 8.5."""

    def __init__(self, name: str, text: str, several: bool, **settings: Any):
        super().__init__([name], nargs=-1 if several else 1, **settings)
        self.text = text

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        label = str(self.metavar)
        return (f"{label}..." if self.nargs != 1 and "..." not in label else label), self.text


def _parameter(name: str, field: FieldInfo, extra: dict[str, Any]) -> click.Parameter:
    kind, several = _unwrap(field.annotation)
    if extra.get("choices"):
        kind = Literal[extra["choices"]()]
    if extra.get("argument"):
        required = field.is_required()
        metavar = extra.get("metavar") or name.upper()
        metavar = metavar if required or several else f"[{metavar}]"
        return _Argument(
            name, field.description or "", several, type=_click_type(kind), required=required, metavar=metavar
        )
    flag = name.strip("_").replace("_", "-")  # a setting whose flag is a word of Python ends in an underscore
    text = (field.description or "") + _note(field, several)
    if kind is bool:
        return click.Option([f"--{flag}/--no-{flag}"], default=None, help=text)
    return click.Option(
        [f"--{flag}", name],
        type=_click_type(kind),
        default=None,
        multiple=several,
        required=False,
        metavar=extra.get("metavar") or ("WIDTHxHEIGHT" if kind is Size else None),
        help=text,
    )


def _unwrap(annotation: Any) -> tuple[Any, bool]:
    """The scalar type behind `X | None` and `tuple[X, ...]`, and whether there may be several."""
    if get_origin(annotation) in (Union, types.UnionType):
        (inner,) = [part for part in get_args(annotation) if part is not type(None)]
        return _unwrap(inner)
    if get_origin(annotation) is tuple:
        return get_args(annotation)[0], True
    if hasattr(annotation, "__metadata__"):
        return _unwrap(get_args(annotation)[0])
    return annotation, False


def _click_type(kind: Any) -> Any:
    if get_origin(kind) is Literal:
        return click.Choice([str(choice) for choice in get_args(kind)])
    return {int: click.INT, float: click.FLOAT}.get(kind, click.STRING)


def _note(field: FieldInfo, several: bool) -> str:
    """Default and range, after the help."""
    parts = []
    for bound, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<")):
        parts += [f"{sign} {getattr(item, bound)}" for item in field.metadata if getattr(item, bound, None) is not None]
    if field.is_required():
        parts.append("required")
    elif isinstance(field.default, bool):
        parts.append(f"default: {'on' if field.default else 'off'}")
    elif field.default is not None and field.default != ():
        default = field.default
        text = " ".join(map(str, default)) if several and isinstance(default, tuple) else str(default)
        parts.append(f"default: {text}")
    if several:
        parts.append("repeatable")
    return f"  [{'; '.join(parts)}]" if parts else ""
