"""Registry of known weights files (third_party/weights.toml): purpose, origin, checksum, licence."""

import functools
import importlib.metadata
import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from v2vkit.errors import V2VError

SIZE_TOLERANCE = 1024
"""Tolerance in bytes of a size that is given in MiB with three decimals."""


class Carrier(BaseModel):
    """A package that contains the file.

    Attributes:
        package: its name.
        file: the file's path in a Python package, or the absolute path at which a system package puts it.
        install: the command line that installs it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    package: str
    file: str
    install: str

    def path(self) -> Path | None:
        """Where the file is, if the package is installed; nothing is imported."""
        if self.file.startswith("/"):
            path = Path(self.file)
        else:
            try:
                path = Path(str(importlib.metadata.distribution(self.package).locate_file(self.file)))
            except importlib.metadata.PackageNotFoundError:
                return None
        return path if path.is_file() else None


class Entry(BaseModel):
    """One weights file; its keys are explained in the comments of third_party/weights.toml.

    An entry with a `url` has a checksum and a size, so downloads can be checked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    purpose: str
    licence: str
    file: str | None = Field(None, pattern=r"^[A-Za-z0-9][\w.-]*$")
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{8,64}$")
    bytes: int | None = Field(None, gt=0)
    mib: float | None = Field(None, gt=0)
    url: str | None = None
    carriers: tuple[Carrier, ...] = ()

    @field_validator("url")
    @classmethod
    def _can_be_checked(cls, url: str | None, info: ValidationInfo) -> str | None:
        known = info.data
        if url is not None and not (
            known.get("file") and known.get("sha256") and (known.get("bytes") or known.get("mib"))
        ):
            raise ValueError("an entry with a url needs file, sha256 and bytes or mib")
        return url

    @property
    def size(self) -> int | None:
        """Bytes, accurate to `SIZE_TOLERANCE` if only `mib` is known; None = unknown."""
        return self.bytes if self.bytes is not None or self.mib is None else round(self.mib * 2**20)

    def has_size(self, size: int) -> bool:
        """Whether a file of `size` bytes can be this one."""
        if self.size is None:
            return size > 0
        return abs(size - self.size) <= (SIZE_TOLERANCE if self.bytes is None else 0)

    def has_digest(self, digest: str) -> bool:
        """Whether a file with this SHA-256 (64 hex digits) can be this one; True if the registry has no checksum."""
        return self.sha256 is None or digest.startswith(self.sha256)


@functools.cache
def registry() -> dict[str, Entry]:
    """Every known file by name; the table is in the package, or beside it in a checkout."""
    package = Path(__file__).parent.parent
    files = (folder / "third_party" / "weights.toml" for folder in (package, package.parent))
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        raise V2VError(
            "installation-damaged",
            "v2vkit's table of weights files is missing.",
            "Install v2vkit again: pip install v2vkit",
        )
    tables = tomllib.loads(file.read_text(encoding="utf-8"))
    return {name: Entry(name=name, **table) for name, table in tables.items()}


def known(name: str) -> Entry:
    """The entry of that name.

    Raises:
        V2VError: there is no such entry.
    """
    entries = registry()
    if name not in entries:
        raise V2VError("weights-unknown", f"There are no weights named {name!r}.", f"Give one of {', '.join(entries)}.")
    return entries[name]


def how_to_get(entry: Entry) -> str:
    """The commands that install or fetch a file, joined with "or", the simplest first."""
    lines = [carrier.install for carrier in entry.carriers]
    if entry.url is not None:
        lines.append(f"v2v weights fetch {entry.name}")
    return " or ".join([*lines, f"v2v weights add {entry.name} FILE"])


def format_size(size: int) -> str:
    """A size in bytes as text: `12.3 MB`."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"
