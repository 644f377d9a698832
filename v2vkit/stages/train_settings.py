"""Completes and checks the settings of `v2v train`: conditions, classes, tracks, the stages of `--stage all`."""

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import MANIFEST
from v2vkit.classes.remap import final_table
from v2vkit.classes.table import ids_of
from v2vkit.conditions.domains import DOMAINS
from v2vkit.config import SPATIAL_STAGES
from v2vkit.errors import V2VError
from v2vkit.pipeline.stage import load_input
from v2vkit.training.config import TrainConfig
from v2vkit.training.methods.registry import METHODS, method_spec
from v2vkit.training.perceptual import renew_perceptual, require_perceptual


def resolve(config: TrainConfig, work: Folder) -> TrainConfig:
    """Fill in the domain from the artifacts of the workspace, and what the method leaves open."""
    from v2vkit.training.check import refuse_unused

    spec = method_spec(config.method)
    refuse_unused(config, spec)
    return _with_tracks(_with_conditions(spec.resolve(_with_label_ids(config, work), work), work), work)


def renew(config: TrainConfig) -> TrainConfig:
    """With --overwrite, `--perceptual auto` sees weights that came after the training that it replaces."""
    return config if "perceptual" in method_spec(config.method).unused else renew_perceptual(config)


def _with_tracks(config: TrainConfig, work: Folder) -> TrainConfig:
    """Tracks are read where the workspace has some, and conditions and method take them.

    Raises:
        V2VError: they are asked for, and nothing takes them.
    """
    from v2vkit.conditions.clips import tracks_beside
    from v2vkit.conditions.labels import TRACKS
    from v2vkit.conditions.registry import condition_class

    classes = [condition_class(name) for name in config.conditions]
    takes = method_spec(config.method).tracks and any(TRACKS in of.replaced.values() for of in classes)
    if config.model.tracks and not takes:
        raise V2VError("setting-unused", "--tracks is for models conditioned on labels.", "Leave it out.")
    if config.model.tracks is None and takes and tracks_beside(work, [of.artifact for of in classes]):
        return config.model_copy(update={"tracks": True})
    return config


def _with_conditions(config: TrainConfig, work: Folder) -> TrainConfig:
    """The domain from the artifacts of the workspace, where no conditions are given."""
    if config.condition:  # one spelling of one list
        return config.model_copy(update={"domain": None, "condition": config.conditions})
    if config.conditions:
        return config
    domains = {
        name: row.artifacts
        for name, row in DOMAINS.items()
        if all((work / kind).exists(MANIFEST) for kind in row.artifacts)
    }
    found = list(domains)
    if len(found) == 1:
        return config.model_copy(update={"domain": found[0]})
    if found:
        raise V2VError(
            "setting-required",
            f"{work.url} holds maps of several domains ({', '.join(map(' and '.join, domains.values()))}).",
            f"Choose one: --domain {' or '.join(found)}.",
        )
    wanted = {found.artifact: found.making() for row in DOMAINS.values() for found in row.classes}
    raise V2VError(
        "artifact-missing",
        f"There are no source maps in {work.url}: neither {' nor '.join(wanted)}.",
        f"Make some with {', '.join(wanted.values())}.",
    )


def _with_label_ids(config: TrainConfig, work: Folder) -> TrainConfig:
    """Names of classes in --foreground as ids, by the class table of the labels.

    Raises:
        V2VError: the labels have no class table, or it has no such class.
    """
    if all(isinstance(label, int) for label in config.model.foreground):
        return config
    labels = load_input(work, "labels")
    return config.model_copy(
        update={"foreground": ids_of(config.model.foreground, final_table(labels.config), "--foreground")}
    )


def parts(config: TrainConfig) -> tuple[TrainConfig, ...]:
    """The stages of `--stage all`, coarse to fine."""
    if config.stage != "all" or not METHODS[config.method].staged:
        return (config,)
    total = config.num_scales
    if total is None:
        raise V2VError(
            "setting-required",
            "--stage all needs the number of scales.",
            f"Give --num-scales 2 or 3, or --stage {SPATIAL_STAGES[0]}.",
        )
    stages = [config.model_copy(update={"stage": name, "num_scales": total}) for name in SPATIAL_STAGES[:total]]
    # The first stage has no coarser generator to freeze; the others start from the stage before, not from start_from.
    return (
        stages[0].model_copy(update={"fix_epochs": 0}),
        *(stage.model_copy(update={"start_from": None}) for stage in stages[1:]),
    )


def precheck(config: TrainConfig) -> None:
    """Refuse what can be seen from the settings alone."""
    from v2vkit.training.check import refuse_unused

    for part in parts(config):
        refuse_unused(part, method_spec(part.method))
        require_perceptual(part)
