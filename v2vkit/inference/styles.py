"""Styles: a feature vector for each region of a video, drawn from the Gaussian mixture of its class (vid2vid paper,
multimodal synthesis), and the file of the mixtures. Vectors have d dimensions.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import read_verified
from v2vkit.checkpoint.model_file import ModelInfo
from v2vkit.conditions.region_features import Feature
from v2vkit.conditions.regions import Regions, label_and_instance
from v2vkit.errors import V2VError

STYLES = "styles.json"
PREVIEW = "preview.png"
MAX_COMPONENTS = 32
MAX_STYLES = 1024
_MAX_BYTES = 64 << 20

Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=1 << 32)]
Component = Annotated[int, Field(ge=0, lt=MAX_COMPONENTS)]
Label = Annotated[int, Field(ge=0, lt=256)]


class Mixture(BaseModel):
    """A Gaussian mixture of k components.

    Attributes:
        weights: k, which sum to 1.
        means: k x d.
        covariances: k x d x d, symmetric and positive definite.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: tuple[Share, ...] = Field(min_length=1, max_length=MAX_COMPONENTS)
    means: tuple[tuple[Feature, ...], ...]
    covariances: tuple[tuple[tuple[Finite, ...], ...], ...]

    @property
    def dims(self) -> int:
        """Dimensions d of the vectors."""
        return len(self.means[0])

    @model_validator(mode="after")
    def _fits(self) -> "Mixture":
        components = len(self.weights)
        if len(self.means) != components or len(self.covariances) != components:
            raise ValueError("weights, means and covariances are of different numbers of components")
        rows = [*self.means, *(row for covariance in self.covariances for row in covariance)]
        dims = self.dims
        if not dims or any(len(row) != dims for row in rows) or any(len(c) != dims for c in self.covariances):
            raise ValueError("means and covariances have different dimensions")
        if abs(sum(self.weights) - 1) > 1e-3:
            raise ValueError("the weights do not sum to 1")
        covariances = np.asarray(self.covariances)
        if not np.allclose(covariances, covariances.transpose(0, 2, 1), atol=1e-6):
            raise ValueError("a covariance is not symmetric")
        try:
            np.linalg.cholesky(covariances)
        except np.linalg.LinAlgError:
            raise ValueError("a covariance is not positive definite") from None
        return self

    def draw(self, rng: np.random.Generator, component: int | None = None) -> NDArray[np.float32]:
        """One vector, float32 [d] in [-1, 1], the range of E.

        Args:
            component: draw from this component; None = by the weights.
        """
        shares = np.asarray(self.weights) / sum(self.weights)
        drawn = int(rng.choice(len(shares), p=shares))
        component = drawn if component is None else component
        factor = np.linalg.cholesky(np.asarray(self.covariances[component]))
        vector = np.asarray(self.means[component]) + factor @ rng.standard_normal(self.dims)
        return np.clip(vector, -1, 1).astype(np.float32)


class Styles(BaseModel):
    """The mixtures and seeds of styles; the content of `styles.json`.

    Attributes:
        model: `ModelInfo.identity` of the model whose encoder made the vectors; no other model can use them.
        dims: d.
        seeds: one for each style.
        classes: label (of a face: part) -> mixture of its vectors.
        any_class: mixture of all vectors, for classes that the training footage did not show.
        components: label -> number of the component that its vectors are drawn from; others are drawn by the weights.
        keep: labels that look in every style as in style 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    model: str
    dims: int = Field(ge=1, le=64)
    seeds: tuple[Seed, ...] = Field(min_length=1, max_length=MAX_STYLES)
    classes: dict[Label, Mixture]
    any_class: Mixture
    components: dict[Label, Component] = {}
    keep: tuple[Label, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> "Styles":
        if any(mixture.dims != self.dims for mixture in (self.any_class, *self.classes.values())):
            raise ValueError(f"a mixture is not of vectors of {self.dims} numbers")
        for label, number in self.components.items():
            if label not in self.classes or number >= len(self.classes[label].weights):
                raise ValueError(f"the mixture of the class {label} has no component {number}")
        return self


@dataclass(frozen=True)
class Style:
    """One style: a vector for every region, the same in all frames of a shot and independent of the order of drawing.

    Attributes:
        styles: the mixtures.
        seed: the style's own seed.
    """

    styles: Styles
    seed: int
    _drawn: dict[tuple[int, int], NDArray[np.float32]] = field(default_factory=dict, repr=False)

    def vector(self, region: int, shot: int = 0) -> NDArray[np.float32]:
        """The vector of a region, float32 [d]; depends only on the seed, the label, and the object with its shot.

        Object ids begin at 1 in every shot, so object 1 of two shots gets two vectors; areas without an object (the
        road) have the same one in all shots. An object that appears late changes no other one.
        """
        label, instance = label_and_instance(region)
        key = region, shot if instance else 0
        if key not in self._drawn:
            mixture = self.styles.classes.get(label, self.styles.any_class)
            seed = self.styles.seeds[0] if label in self.styles.keep else self.seed
            rng = np.random.default_rng([seed, label, instance, *([shot] if key[1] else [])])
            self._drawn[key] = mixture.draw(rng, self.styles.components.get(label))
        return self._drawn[key]

    def paint(self, regions: Regions, shot: int = 0) -> NDArray[np.float32]:
        """The feature channels of a frame: int32 [H, W] -> float32 [d, H, W].

        Args:
            shot: number of its shot, from 0.
        """
        flat = regions.ravel()
        # A region is a few runs of equal pixels in each row, so runs are looked up instead of pixels.
        begins = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
        found, which = np.unique(flat[begins], return_inverse=True)
        vectors = np.stack([self.vector(int(region), shot) for region in found])  # [regions, d]
        lengths = np.diff(np.append(begins, flat.size))
        painted = np.repeat(vectors.T[:, which.ravel()], lengths, axis=1)
        return painted.reshape(self.styles.dims, *regions.shape)


def load_styles(folder: Folder) -> Styles:
    """The mixtures and seeds in an artifact that `v2v sample-style` wrote.

    Raises:
        V2VError: the file is missing, too large, damaged (or not what its manifest says), or not a file of styles.
    """
    return _read_styles(folder, STYLES, read_verified)


def _read_styles(folder: Folder, name: str, read: Callable[[Folder, str], bytes]) -> Styles:
    where = f"{folder.url}/{name}"
    hint = "Run `v2v encode-features`, then `v2v sample-style`."
    try:
        size = folder.size(name)
        if size > _MAX_BYTES:
            raise V2VError("styles-damaged", f"{where} has {size} bytes; at most {_MAX_BYTES} are allowed.", hint)
        return Styles.model_validate_json(read(folder, name))
    except FileNotFoundError:
        raise V2VError("styles-missing", f"There are no styles {where}.", hint) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][:3])
        raise V2VError(
            "styles-damaged",
            f"{where} is not a file of styles ({': '.join(part for part in (place, first['msg']) if part)}).",
            hint,
        ) from None


def find_style(work: Folder, folder: str | None, style: int | str, info: ModelInfo) -> Style | None:
    """The style to render in; None if the model takes no features.

    Args:
        work: workspace whose `styles` are taken when no folder is named.
        folder: of an artifact of styles, or None.
        style: its number, also as text, or a file (a `styles.json`) or folder of styles, whose first style is taken.
        info: of the model.

    Raises:
        V2VError: there are no styles, none of that number, or they were made with another model; styles were asked of
            a model that takes no features.
    """
    if info.encoder is None:
        if str(style) != "0" or folder is not None:
            raise V2VError(
                "encoder-missing",
                "This model was trained without features and has no styles.",
                "Leave out --style, --styles.",
            )
        return None
    file = None if str(style).isdecimal() else str(style)
    if file is not None and folder is not None:
        raise V2VError("setting-conflict", f"--style {file} and --styles both name styles.", "Give one of them.")
    number = 0 if file is not None else int(style)
    named = file or folder
    place = work / "styles" if named is None else Folder(named)
    if file is not None and place.is_file:
        parent, _, name = file.rpartition("/")
        styles = _read_styles(Folder(parent or "."), name, Folder.read)
    else:
        styles = load_styles(place)
    if styles.model != info.identity or styles.dims != info.encoder.out_channels:
        raise V2VError(
            "styles-mismatch",
            f"The styles in {place.url} were made with another model than the one to render.",
            "Run `v2v encode-features --overwrite`, then `v2v sample-style --overwrite`, or name other --styles.",
        )
    if number >= len(styles.seeds):
        raise V2VError(
            "style-unknown",
            f"There is no style {number} in {place.url}: they are numbered 0 to {len(styles.seeds) - 1}.",
            "Give one of these with --style, or make more with `v2v sample-style --num-styles N`.",
        )
    return Style(styles, styles.seeds[number])
