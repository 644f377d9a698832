"""The documents: command lines parse, flags exist, links lead to files, and every page has its place on the site."""

import re
import runpy
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from v2vkit.cli.main import build_command, load
from v2vkit.stages import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
GENERATED = {"cli.md", "errors.md"}
DOCUMENTS = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")]
DOCUMENTS += sorted(page for page in (ROOT / "docs").rglob("*.md") if page.name not in GENERATED)
RECIPES = sorted((ROOT / "pipelines").glob("*.toml"))
FLAGS_OF_OTHERS = {"--nproc-per-node", "--max-restarts", "--keypoint_scale", "--build-arg"}

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"`([^`]+)`")
_PLACEHOLDER = re.compile(r"[A-Z][A-Z_]*|…|\.\.\.")


def _named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def _command(name: str) -> click.Command:
    return build_command(name, load(name))


@cache
def _all_flags() -> set[str]:
    options = [option for name in COMMANDS for option in _command(name).params if isinstance(option, click.Option)]
    flags = {flag for option in options for flag in (*option.opts, *option.secondary_opts)}
    return flags | FLAGS_OF_OTHERS | {"--help", "--version"}


def _split(text: str) -> Iterator[list[str]]:
    """The simple commands of shell lines: joined at `\\`, cut at `;` and `|`, variables replaced."""
    variables: dict[str, list[str]] = {}
    for line in text.replace("\\\n", " ").splitlines():
        if "v2v" not in line and not re.match(r"\w+=", line):
            continue
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";|&<>")
        lexer.whitespace_split = True
        command: list[str] = []
        for word in [*lexer, ";"]:
            if word.strip(";|&"):
                name, sign, value = word.partition("=")
                if not command and sign and name.isidentifier():
                    variables[name] = shlex.split(value)
                else:
                    command += variables.get(word[1:], []) if word.startswith("$") else [word]
            elif command:
                yield command
                command = []


def _command_lines(path: Path) -> Iterator[list[str]]:
    """The command lines of a document, as words that begin with `v2v`."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".toml":
        comments = "\n".join(line[1:].strip() for line in text.splitlines() if line.startswith("#"))
        lines = comments.replace("\\\n", " ").splitlines()
        found = [line[line.index("v2v ") :] for line in lines if "v2v " in line and "`" not in line]
        found += [span for span in _INLINE.findall(comments.replace("\n", " ")) if span.startswith("v2v ")]
    else:
        fenced = _FENCE.findall(text)
        found = [block for language, block in fenced if language in ("", "sh", "bash", "console")]
        found.append("\n".join(re.findall(r"^    (v2v .*)", _FENCE.sub("", text), re.MULTILINE)))
        spans = [" ".join(span.split()) for span in _INLINE.findall(_FENCE.sub("", text))]
        command = re.compile(rf"(v2v )?({'|'.join(COMMANDS)}) ")
        found += [span if span.startswith("v2v") else f"v2v {span}" for span in spans if command.match(span)]
    for block in found:
        if "v2v" not in block:
            continue
        for words in _split(block):
            if "v2vkit" in words:  # python -m v2vkit, torchrun -m v2vkit
                words = ["v2v", *words[words.index("v2vkit") + 1 :]]
            if words[0] == "v2v" and len(words) > 1:
                yield words


def _parse(words: list[str]) -> None:
    """Parses without running: unknown commands and flags, and values that are none, are errors of click."""
    name, arguments = words[1], words[2:]
    if name.startswith("-") or _PLACEHOLDER.fullmatch(name):
        return
    if name not in COMMANDS:
        raise click.UsageError(f"no command {name}")
    command = _command(name)
    context = click.Context(command, info_name=name)
    try:
        values, _, _ = command.make_parser(context).parse_args(arguments)
    except click.BadOptionUsage:
        if words[-1] in _all_flags():  # running text names a flag without its value
            return
        raise
    for parameter in command.params:
        given = values.get(parameter.name or "")
        for value in given if isinstance(given, list | tuple) else [given]:
            if isinstance(value, str) and isinstance(parameter, click.Option) and not _PLACEHOLDER.fullmatch(value):
                parameter.type.convert(value, parameter, context)


@pytest.mark.parametrize("path", [*DOCUMENTS, *RECIPES], ids=_named)
def test_command_lines_parse(path: Path) -> None:
    wrong = []
    for words in _command_lines(path):
        try:
            _parse(words)
        except click.ClickException as error:
            wrong.append(f"{shlex.join(words)}: {error.format_message()}")
    assert wrong == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=_named)
def test_flags_in_running_text_exist(path: Path) -> None:
    spans = _INLINE.findall(_FENCE.sub("", path.read_text(encoding="utf-8")))
    flags = {
        flag for span in spans if span.startswith("--") for flag in re.findall(r"--[a-z][a-z0-9_-]*[a-z0-9]", span)
    }
    assert {flag for flag in flags if flag not in _all_flags() and f"{flag}-…" not in " ".join(spans)} == set()


@pytest.mark.parametrize(
    "line",
    [
        "v2v tran",
        "v2v train --learning-rat 1e-4",
        "v2v train --method vid3vid",
        "A='--epoch 3'\nv2v train $A; ls | cat",
    ],
)
def test_wrong_command_lines_are_noticed(line: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"```\n{line}\n```\n")
    (words,) = (words for words in _command_lines(page))
    with pytest.raises(click.ClickException):
        _parse(words)


def test_command_lines_are_found() -> None:
    assert len(list(_command_lines(ROOT / "README.md"))) >= 6
    assert list(_command_lines(ROOT / "pipelines/face.toml"))


@pytest.mark.parametrize("path", [*DOCUMENTS, ROOT / "CHANGELOG.md"], ids=_named)
def test_links_lead_to_files(path: Path) -> None:
    links = re.findall(r"\]\(([^)\s#]+)[^)\s]*\)", path.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link and not link.startswith("mailto:")]
    assert [link for link in local if not (path.parent / link).exists()] == []


def test_links_of_the_site() -> None:
    """Links between files become links between pages; links to files that are no pages become text."""
    rewrite = runpy.run_path(str(ROOT / "docs/site_hook.py"))["rewrite_links"]
    text = (
        "[a](docs/face.md#live) ![b](docs/images/c.png) [d](ARCHITECTURE.md) [e](LICENSE) [f](https://g.h/i.md) [j](#k)"
    )
    assert rewrite(text, "README.md") == (
        "[a](face.md#live) ![b](images/c.png) [d](architecture.md) e [f](https://g.h/i.md) [j](#k)"
    )
    assert rewrite("[a](../README.md) [b](face.md)", "docs/person.md") == "[a](index.md) [b](face.md)"


def test_every_page_of_the_site_has_a_place() -> None:
    navigation = runpy.run_path(str(ROOT / "docs/site_hook.py"))["navigation"]
    sections = {
        name: pages for section in navigation({"new.md", "face.md", "cli.md"}) for name, pages in section.items()
    }
    assert sections["Ways in"] == ["face.md"]
    assert sections["Use"] == ["new.md"]
    assert sections["Reference"] == ["cli.md"]
