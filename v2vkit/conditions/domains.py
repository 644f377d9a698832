"""Named defaults: what a video of a kind is usually conditioned on. Nothing outside this table asks which domain it is.

What code wants to know ("may this be mirrored?", "has it regions?") is a fact of the condition, not of the domain.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from v2vkit.conditions.registry import condition_class
from v2vkit.errors import V2VError

if TYPE_CHECKING:
    from v2vkit.conditions.base import Condition


@dataclass(frozen=True)
class Domain:
    """One row of the table.

    Attributes:
        conditions: names of the conditions, in the order of their channels.
        shows: what such a video shows, in the plural.
        recipe: the shipped recipe to begin with.
        published: lists of conditions that published weights of such videos have, beside `conditions`.
    """

    conditions: tuple[str, ...]
    shows: str
    recipe: str
    published: tuple[tuple[str, ...], ...] = ()

    @property
    def classes(self) -> "tuple[type[Condition[Any]], ...]":
        return tuple(condition_class(name) for name in self.conditions)

    @property
    def artifacts(self) -> tuple[str, ...]:
        """Kinds of the artifacts that hold its annotations."""
        return tuple(found.artifact for found in self.classes)


DOMAINS: dict[str, Domain] = {
    "face": Domain(("face",), "faces", "face"),
    "street": Domain(("labels",), "streets", "street"),
    "pose": Domain(("pose",), "poses", "pose", published=(("densepose", "pose"),)),
    "cg2real": Domain(("labels", "edges"), "streets of a simulator", "cg2real"),
    "frames": Domain(("picture",), "frames of another look", "frames"),
}


def domain_names() -> tuple[str, ...]:
    return tuple(DOMAINS)


def find_domain(name: str) -> Domain:
    """The row of that name.

    Raises:
        V2VError: there is none.
    """
    if name not in DOMAINS:
        raise V2VError("domain-unknown", f"There is no domain {name!r}.", f"Known: {', '.join(DOMAINS)}.")
    return DOMAINS[name]


def domains_that(fact: str) -> list[str]:
    """What the domains show of which some condition has this fact (an attribute of `Condition` that is true)."""
    return [row.shows for row in DOMAINS.values() if any(getattr(found, fact) for found in row.classes)]


def conditions_have(names: Iterable[str], fact: str) -> bool:
    """Whether some of these conditions has this fact (an attribute of `Condition` that is true)."""
    return any(getattr(condition_class(name), fact) for name in names)


def domain_has(name: str, fact: str) -> bool:
    """Whether some condition of a domain has this fact (an attribute of `Condition` that is true)."""
    return conditions_have(find_domain(name).conditions, fact)
