"""Domains: named default lists of conditions. Nothing outside this table depends on the name of a domain.

What code needs to know (may it be mirrored, has it regions) is an attribute of the condition, not of the domain.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from v2vkit.conditions.registry import condition_class
from v2vkit.errors import V2VError

if TYPE_CHECKING:
    from v2vkit.conditions.base import Condition, Fact


@dataclass(frozen=True)
class Domain:
    """One row of the table.

    Attributes:
        conditions: names of the conditions, in the order of their channels.
        shows: the subject of such videos, in the plural, for messages.
        recipe: the shipped recipe for it.
        published: further lists of conditions that published weights of such videos have.
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
        V2VError: there is no such domain.
    """
    if name not in DOMAINS:
        raise V2VError("domain-unknown", f"There is no domain {name!r}.", f"Known: {', '.join(DOMAINS)}.")
    return DOMAINS[name]


def domains_that(fact: "Fact") -> list[str]:
    """`shows` of the domains in which any condition has this attribute of `Condition` true."""
    return [row.shows for row in DOMAINS.values() if any(getattr(found, fact) for found in row.classes)]


def conditions_have(names: Iterable[str], fact: "Fact") -> bool:
    """Whether any of these conditions has this attribute of `Condition` true."""
    return any(getattr(condition_class(name), fact) for name in names)


def domain_has(name: str, fact: "Fact") -> bool:
    """Whether any condition of a domain has this attribute of `Condition` true."""
    return conditions_have(find_domain(name).conditions, fact)
