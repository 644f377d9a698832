"""A manifest beside the files of a command that makes no artifact: a rerun with the same settings and inputs skips it.

Unlike an artifact, such files are replaced without --overwrite when settings or inputs have changed.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from v2vkit import __version__
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.integrity import incomplete
from v2vkit.artifacts.manifest import Manifest, entry_of, fingerprint, write_manifest
from v2vkit.config import StageConfig, as_plain, fingerprinted
from v2vkit.pipeline.staleness import describe_changes, read_or_refuse


@dataclass(frozen=True)
class Record:
    """How the files of an earlier run compare to what a run with these settings would write.

    Attributes:
        folder, name: of the files, and of the manifest in it.
        new: the manifest of this run, without its files.
        old: that of the earlier run; None = none that can be read.
        config: the class of the settings.
    """

    folder: Folder
    name: str
    new: Manifest
    old: Manifest | None
    config: type[StageConfig]

    @property
    def changes(self) -> list[str]:
        """What differs from the earlier run, in words; empty where there was none."""
        if self.old is None or self.old.fingerprint == self.new.fingerprint:
            return []
        return list(describe_changes(self.old, self.new, self.config).values())

    @property
    def done(self) -> bool:
        """Whether the earlier run had these settings and inputs, and all its files are as it wrote them."""
        if self.old is None or self.old.fingerprint != self.new.fingerprint:
            return False
        return not incomplete(self.folder, self.old, read=True)

    @property
    def problems(self) -> list[str]:
        """The problems that the earlier run told."""
        return [] if self.old is None else list(self.old.skipped)

    def finish(self, files: Iterable[str], problems: Iterable[str]) -> None:
        """Write the manifest, after the files.

        Args:
            files: names in the folder.
            problems: sentences, which a rerun tells again.
        """
        entries = tuple(entry_of(name, self.folder.read(name)) for name in files)
        update = {"shards": entries, "skipped": dict.fromkeys(problems, "")}
        write_manifest(self.folder, self.new.model_copy(update=update), self.name)


def find_record(
    command: str, version: int, config: StageConfig, inputs: dict[str, str], folder: Folder, name: str
) -> Record:
    """The record of a command's files in `folder`.

    Args:
        command: its name.
        version: to be raised when the same settings give other files.
        inputs: what it reads -> fingerprint or checksum.
        name: file name of the manifest.
    """
    new = Manifest(
        v2vkit=__version__,
        stage=command,
        stage_version=version,
        config=as_plain(config),
        inputs=inputs,
        fingerprint=fingerprint(command, version, fingerprinted(config), inputs),
    )
    # A damaged one is replaced, like the files beside it.
    return Record(folder, name, new, read_or_refuse(folder, name, overwrite=True), type(config))
