"""Resumes the last snapshot with changed settings (`--continue`), and decides which settings may change.

Weights, moments, EMA and the position in the schedule are kept; the new schedule applies from there.
"""

from collections.abc import Mapping

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import Manifest
from v2vkit.checkpoint.snapshot import TrainingPosition, verified_progress
from v2vkit.config import as_plain
from v2vkit.errors import V2VError, counted
from v2vkit.training.config import TrainConfig
from v2vkit.training.methods.registry import method_spec
from v2vkit.training.terms import may_change

_FREE = ("epochs", "budget", "decay", "learning_rate", "double_every", "max_frames")
"""Settings that may change, besides loss weights."""


def fixed_changes(config: TrainConfig, old: Manifest, changed: Mapping[str, str]) -> list[str]:
    """The descriptions of those changes that `--continue` does not allow: they would not fit the snapshot."""
    terms = method_spec(config.method).losses(config)

    def free(name: str) -> bool:
        return name in _FREE or (
            name in old.config and may_change(terms, name, old.config[name], as_plain(config)[name])
        )

    return [phrase for name, phrase in changed.items() if not free(name)]


def continued_snapshot(config: TrainConfig, old: Manifest, changed: Mapping[str, str], folder: Folder) -> str:
    """The checksum of the snapshot that is resumed with these settings.

    Args:
        old: manifest of the existing training, finished or not.
        changed: setting or input that differs from `old` -> description of the change.

    Raises:
        V2VError: a change is not allowed; the snapshot is missing or damaged, or at the end of the schedule.
    """
    if fixed := fixed_changes(config, old, changed):
        free = ", ".join(config.flag(name) for name in _FREE)
        raise V2VError(
            "setting-fixed",
            f"--continue cannot resume the training in {folder.url} with these changes: {', '.join(fixed)}.",
            f"It allows changes of {free}, and of the weights of losses that are on. {another_start(config)}",
        )
    progress = verified_progress(folder)
    if progress is None or not _belongs(progress, old):
        raise V2VError(
            "snapshot-missing",
            f"The training in {folder.url} has no snapshot to resume.",
            "Give --overwrite instead of --continue.",
        )
    refuse_finished(config, progress, folder, epochs=fitted_epochs(config, progress) or config.schedule.epochs)
    return progress.sha256


def fitted_epochs(config: TrainConfig, progress: TrainingPosition) -> int | None:
    """The epochs that this budget was found to leave of this schedule when the training of the snapshot began.

    None = it was another budget or another number of epochs, or no budget.
    """
    asked, fitted = config.schedule, progress.fitted
    same = fitted is not None and (fitted.budget, fitted.full_epochs) == (str(asked.budget), asked.epochs)
    return fitted.epochs if same and fitted is not None else None


def refuse_finished(config: TrainConfig, progress: TrainingPosition, folder: Folder, *, epochs: int) -> None:
    """Whether epochs are left after a snapshot.

    Raises:
        V2VError: none are.
    """
    if progress.epoch >= epochs:
        raise V2VError(
            "training-finished",
            f"The training in {folder.url} has finished {counted(progress.epoch, 'epoch')}; with these settings there "
            f"are {epochs}, so nothing is left to train.",
            "Raise --epochs." if config.schedule.budget is None else "Raise --budget or --epochs.",
        )


def _belongs(progress: TrainingPosition, old: Manifest) -> bool:
    """Whether a snapshot is of that training, or the one that the training continued from."""
    return progress.fingerprint == old.fingerprint or progress.sha256 in old.inputs.values()


def advice(config: TrainConfig, old: Manifest, changed: Mapping[str, str]) -> str:
    """The hint for an existing training with other settings."""
    if not fixed_changes(config, old, changed):
        return (
            "Add --continue to resume it with the new settings, or --overwrite to train from scratch; with the old "
            "settings nothing is changed."
        )
    return f"{another_start(config)} With the old settings nothing is changed."


def another_start(config: TrainConfig) -> str:
    """The hint on replacing the existing training, with or without its weights as a start."""
    if config.start_from:
        return f"Add --overwrite to replace it by a training that starts from {config.start_from}."
    return (
        "Add --overwrite to replace it by a training from scratch; to start from its weights, copy its folder and add "
        "`--start-from COPY --overwrite`."
    )
