"""Overview of the store: which known files are present, which are damaged."""

from v2vkit.weights.registry import how_to_get, known, registry
from v2vkit.weights.store import find, store_damage, store_folder


def summary() -> str:
    """One line: how many of the known files are present, and which."""
    here = [name for name in registry() if find(name) is not None]
    return f"{len(here)} of {len(registry())} here ({', '.join(here) or 'none'}). The others: v2v weights list"


def store_problems() -> list[str]:
    """Sentences on damaged files in the store and how to replace them; does not read the files' contents."""
    found = ((name, store_damage(entry)) for name, entry in registry().items())
    return [f"{damage} {again(name)}" for name, damage in found if damage is not None]


def again(name: str) -> str:
    """The hint on how to replace a damaged file in the store."""
    return f"Remove the folder {store_folder() / name}, then: {how_to_get(known(name))}"
