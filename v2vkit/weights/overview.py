"""What of the known weights files is here, in a line; what is wrong with the store."""

from v2vkit.weights.registry import how_to_get, known, registry
from v2vkit.weights.store import find, store_damage, store_folder


def summary() -> str:
    """How many of the known files are here and which, in one line."""
    here = [name for name in registry() if find(name) is not None]
    return f"{len(here)} of {len(registry())} here ({', '.join(here) or 'none'}). The others: v2v weights list"


def damages() -> list[str]:
    """What is wrong with files in the store, without reading them."""
    found = ((name, store_damage(entry)) for name, entry in registry().items())
    return [f"{damage} {again(name)}" for name, damage in found if damage is not None]


def again(name: str) -> str:
    """How a damaged file in the store is replaced."""
    return f"Remove the folder {store_folder() / name}, then: {how_to_get(known(name))}"
