"""Styles: a feature vector for each region of a video, drawn from the Gaussian mixture of its class (vid2vid paper,
multimodal synthesis), and the file of the mixtures. Vectors have d dimensions.
"""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import read_proven
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

    def draw(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """One vector, float32 [d] in [-1, 1], the range of E."""
        shares = np.asarray(self.weights) / sum(self.weights)
        component = int(rng.choice(len(shares), p=shares))
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
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    model: str
    dims: int = Field(ge=1, le=64)
    seeds: tuple[Seed, ...] = Field(min_length=1, max_length=MAX_STYLES)
    classes: dict[Label, Mixture]
    any_class: Mixture

    @model_validator(mode="after")
    def _fits(self) -> "Styles":
        if any(mixture.dims != self.dims for mixture in (self.any_class, *self.classes.values())):
            raise ValueError(f"a mixture is not of vectors of {self.dims} numbers")
        return self


@dataclass(frozen=True)
class Style:
    """One style: a vector for every region, the same in all frames and independent of the order of drawing.

    Attributes:
        styles: the mixtures.
        seed: the style's own seed.
    """

    styles: Styles
    seed: int
    _drawn: dict[int, NDArray[np.float32]] = field(default_factory=dict, repr=False)

    def vector(self, region: int) -> NDArray[np.float32]:
        """The vector of a region, float32 [d]; depends only on seed, label and instance."""
        if region not in self._drawn:
            label, instance = label_and_instance(region)
            mixture = self.styles.classes.get(label, self.styles.any_class)
            self._drawn[region] = mixture.draw(np.random.default_rng([self.seed, label, instance]))
        return self._drawn[region]

    def paint(self, regions: Regions) -> NDArray[np.float32]:
        """The feature channels of a frame: int32 [H, W] -> float32 [d, H, W]."""
        flat = regions.ravel()
        # A region is a few runs of equal pixels in each row, so runs are looked up instead of pixels.
        begins = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
        found, which = np.unique(flat[begins], return_inverse=True)
        vectors = np.stack([self.vector(int(region)) for region in found])  # [regions, d]
        lengths = np.diff(np.append(begins, flat.size))
        painted = np.repeat(vectors.T[:, which.ravel()], lengths, axis=1)
        return painted.reshape(self.styles.dims, *regions.shape)


def load_styles(folder: Folder) -> Styles:
    """The mixtures and seeds in an artifact that `v2v sample-style` wrote.

    Raises:
        V2VError: the file is missing, too large, damaged (or not what its manifest says), or not a file of styles.
    """
    where = f"{folder.url}/{STYLES}"
    hint = "Run `v2v encode-features`, then `v2v sample-style`."
    try:
        size = folder.size(STYLES)
        if size > _MAX_BYTES:
            raise V2VError("styles-damaged", f"{where} has {size} bytes; at most {_MAX_BYTES} are allowed.", hint)
        return Styles.model_validate_json(read_proven(folder, STYLES))
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


def find_style(work: Folder, folder: str | None, number: int, info: ModelInfo) -> Style | None:
    """The style to render in; None if the model takes no features.

    Args:
        work: workspace whose `styles` are taken when no folder is named.
        folder: of an artifact of styles, or None.
        number: of the style.
        info: of the model.

    Raises:
        V2VError: there are no styles, none of that number, or they were made with another model; styles were asked of
            a model that takes no features.
    """
    if info.encoder is None:
        if number or folder is not None:
            raise V2VError(
                "encoder-missing",
                "This model was trained without features and has no styles.",
                "Leave out --style, --styles.",
            )
        return None
    place = work / "styles" if folder is None else Folder(folder)
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
