"""`v2v weights`: lists and manages the weights files in the store."""

from typing import Literal

from v2vkit.config import StageConfig, setting
from v2vkit.errors import V2VError
from v2vkit.pipeline.stage import Command, RunOptions
from v2vkit.weights.fetch import fetch
from v2vkit.weights.keep import add
from v2vkit.weights.overview import again
from v2vkit.weights.registry import SIZE_TOLERANCE, Entry, format_size, how_to_get, known, registry
from v2vkit.weights.store import VARIABLE, content_damage, locate, require, store_damage, store_folder


class WeightsConfig(StageConfig):
    """Show, fetch, add and verify the weights files that v2vkit can use.

    ACTION is one of: list (all entries, or the details of NAME), fetch NAME (download it; nothing else in v2vkit
    downloads anything), add NAME FILE (copy your file into the store), verify [NAME] (compare the checksums of the
    files), path NAME (print the path of the file).

    The store is in your cache folder; the environment variable V2V_WEIGHTS names another folder. An interrupted fetch
    resumes where it stopped. verify exits with 3 if a file is damaged.
    """

    action: Literal["list", "fetch", "add", "verify", "path"] = setting(
        ..., "Action: list, fetch, add, verify or path.", argument=True
    )
    name: str | None = setting(None, "Name of an entry, such as vgg19.", argument=True, metavar="[NAME]")
    file: str | None = setting(None, "The weights file to add.", argument=True, metavar="[FILE]")


def check(config: WeightsConfig) -> None:
    """Check that NAME and FILE fit the action.

    Raises:
        V2VError: NAME or FILE is missing, superfluous or unknown.
    """
    if config.name is None and config.action in ("fetch", "add", "path"):
        usage = f"v2v weights {config.action} NAME" + " FILE" * (config.action == "add")
        raise V2VError(
            "setting-required",
            f"`v2v weights {config.action}` needs a NAME.",
            f"Type {usage}; `v2v weights list` shows the names.",
        )
    if config.file is None and config.action == "add":
        raise V2VError("setting-required", "`v2v weights add` needs a FILE.", "Type v2v weights add NAME FILE.")
    if config.file is not None and config.action != "add":
        raise V2VError(
            "setting-unused",
            f"`v2v weights {config.action}` takes no FILE.",
            "Leave it out; to add a file, type v2v weights add NAME FILE.",
        )
    if config.name is not None:
        known(config.name)


def _weights(config: WeightsConfig, options: RunOptions) -> list[str]:
    name = config.name or ""
    if config.action == "fetch":
        print(f"{name}: {fetch(name)}")
    elif config.action == "add":
        print(f"{name}: {add(name, config.file or '')}")
    elif config.action == "path":
        print(require(name))
    elif config.action == "verify":
        return _verify([known(name)] if name else list(registry().values()))
    elif name:
        print(_details(known(name)))
    else:
        _list()
    return []


def _list() -> None:
    print(f"store: {store_folder()} (from {VARIABLE}, or the user's cache folder)")
    for entry in registry().values():
        size = "" if entry.size is None else format_size(entry.size)
        print(f"{entry.name:14} {_state(entry):24} {size:>9}  {entry.purpose}")
    print("Details of an entry, and how to get it: v2v weights list NAME")


def _state(entry: Entry) -> str:
    found = locate(entry)
    if found is None:
        return "DAMAGED" if store_damage(entry) else "-"
    return "in the store" if found.origin == "store" else "in a package"


def _details(entry: Entry) -> str:
    """Everything about one entry."""
    found = locate(entry)
    where = f"missing. {how_to_get(entry)}" if found is None else f"{found.path} ({found.origin})"
    if found is not None and found.sha256 is not None:
        digest = found.sha256
    else:
        digest = entry.sha256 or "unknown; recorded when you add the file"
    if entry.size is None:
        size = "not known"
    else:
        size = (
            f"{entry.size} bytes" if entry.bytes is not None else f"{entry.mib} MiB, to within {SIZE_TOLERANCE} bytes"
        )
    rows = {
        "for": entry.purpose,
        "is": where,
        "damage": store_damage(entry),
        "URL": entry.url or "none: add your own file, or install a package that carries it",
        "package": ", ".join(carrier.package for carrier in entry.carriers) or "none carries it",
        "size": size,
        "sha256": digest + (f" ({len(digest)} digits are known)" if digest.isalnum() and len(digest) < 64 else ""),
        "licence": entry.licence,
    }
    return "\n".join([entry.name, *(f"  {key:8} {value}" for key, value in rows.items() if value is not None)])


def _verify(entries: list[Entry]) -> list[str]:
    """Verify every file in the store; the damaged ones are the problems."""
    problems, here = [], 0
    for entry in entries:
        damage, found = store_damage(entry), locate(entry)
        if damage is None and found is not None:
            here += 1
            damage = content_damage(entry, found)
        if damage is not None:
            problems.append(f"{damage} {again(entry.name)}")
            continue
        if found is not None:
            print(f"{entry.name:14} ok  {found.path}")
        elif len(entries) == 1:
            require(entry.name)
    print(f"{here} of {len(entries)} entries are present; {len(problems)} damaged")
    return problems


COMMAND = Command(name="weights", config=WeightsConfig, call=_weights, options=(), check=check, resumes=True)
