"""Does the target depend on what its map marks? Measured by changing the image, cell by cell.

A measure turns a map into a few changed images (`changes`), a scorer says how probable the target
is with each of them, and the measure turns those numbers into a value. The scorer belongs to
others: `images -> scores`, where the scores are those of the SAME denoising step with the same
partly masked answer, so that nothing but the image differs (`diffcam_core.evaluation.faithfulness`
connects a model). Scores should be probabilities, which all ranges below assume.

Equal changes are scored once: maps of equal cell order share all their images, all maps share the
untouched image and the fully changed one, and every image is scored for every target at once.

Cells of equal value are taken in a fixed random order, the same for all maps: many refined maps
are zero on most of the image, and an order by position would give them a shape they do not have.

Sources
-------
Insertion and deletion: Petsiuk et al., RISE, BMVC 2018, section 4.2. Here cells of the map's own
grid go, not pixels; deletion leaves the mean colour, insertion starts from a blur of a tenth of
the shorter side (see `imputation`).
ROAD: Rong et al., ICML 2022: most and least relevant first, at 20, 40, 60 and 80 %, removed cells
filled by noisy linear imputation. The value is least minus most, averaged.
Average drop and increase: Chattopadhay et al., Grad-CAM++, WACV 2018, section 4.1: the image is
multiplied by the map.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from diffcam_core.errors import InputError
from diffcam_core.metrics.cells import Cells
from diffcam_core.metrics.imputation import blurred, impute, mean_colour
from diffcam_core.metrics.info import MetricInfo, by_name

ByteImage = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]
Scores = npt.NDArray[np.float64]

Scorer = Callable[[Iterable[ByteImage]], Scores]
"""Images (H, W, 3), read lazily -> scores (B, K) of K targets."""

Kind = Literal["delete", "insert", "road", "blend"]

POINTS: Final = 20
"""Changed images of a curve beside the untouched one."""

ROAD_SHARES: Final = (0.2, 0.4, 0.6, 0.8)
"""Shares of the cells that ROAD removes."""


@dataclass(frozen=True)
class Change:
    """One changed image; two changes are equal if their images are.

    Attributes
    ----------
    kind : {"delete", "insert", "road", "blend"}
        What stands in the changed cells: mean colour, blur, imputation; or the image times a map.
    key : bytes
        Packed bits of the changed cells, or the scaled map (float32), row-major.
    """

    kind: Kind
    key: bytes


@dataclass(frozen=True, eq=False)
class Canvas:
    """The image that is changed, and the cells in which it is changed.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, 3)
    cells : Cells
        Of the grid on which the maps lie.
    seed : int
        Of the order of equal cells and of ROAD's noise.
    """

    image: ByteImage
    cells: Cells
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse an image that the cells do not belong to."""
        image = np.asarray(self.image)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[:2] != self.cells.image_shape:
            raise InputError(
                f"an image of shape {image.shape} and type {image.dtype} does not fit cells of an "
                f"image of {self.cells.image_shape}",
                "Give the uint8 image that the grid belongs to.",
            )

    @cached_property
    def grey(self) -> ByteImage:
        """What deletion leaves."""
        return mean_colour(self.image)

    @cached_property
    def blur(self) -> ByteImage:
        """What insertion starts from."""
        return blurred(self.image)

    @cached_property
    def _lots(self) -> npt.NDArray[np.float64]:
        return np.random.default_rng(self.seed).random(int(np.prod(self.cells.shape)))

    def order(self, values: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
        """Flat indices of the cells that have pixels, from the largest value to the smallest.

        Raises
        ------
        InputError
            If the map does not lie on the cells, or is not finite.
        """
        flat = _checked(values, self.cells.shape).ravel()
        used = self.cells.used
        return np.asarray(used[np.lexsort((self._lots[used], -flat[used]))], np.intp)

    def change(self, kind: Kind, changed: npt.NDArray[np.intp]) -> Change:
        """Name the image in which some cells are changed; no cell: the untouched image."""
        mask = np.zeros(int(np.prod(self.cells.shape)), np.bool_)
        mask[changed] = True
        # Whatever would have stood in no cell at all is the same image.
        return Change(kind if len(changed) else "delete", np.packbits(mask).tobytes())

    def render(self, change: Change) -> ByteImage:
        """Make the changed image, uint8 (H, W, 3)."""
        if change.kind == "blend":
            values = np.frombuffer(change.key, np.float32)
            weight = np.clip(self.cells.interpolate(values), 0.0, 1.0)
            return np.asarray(np.rint(self.image * weight[..., None]), np.uint8)
        bits = np.unpackbits(np.frombuffer(change.key, np.uint8))[: int(np.prod(self.cells.shape))]
        mask = np.asarray(self.cells.spread(bits), np.bool_)
        if change.kind == "road":
            return impute(self.image, mask, zlib.crc32(change.key) ^ self.seed)
        fill = self.grey if change.kind == "delete" else self.blur
        return np.where(mask[..., None], fill, self.image)


@dataclass(frozen=True, eq=False)
class Curve:
    """Scores along a row of changed images.

    Attributes
    ----------
    shares : ndarray of float64, shape (n,)
        Share of the cells that are deleted, or shown, ascending from 0 to 1.
    scores : ndarray of float64, shape (n,)
    """

    shares: npt.NDArray[np.float64]
    scores: Scores

    @property
    def auc(self) -> float:
        """Area under the curve by the trapezoid rule."""
        return float(np.trapezoid(self.scores, self.shares))


@dataclass(frozen=True)
class Measure:
    """A faithfulness measure: which images it asks for, and what it makes of their scores.

    Attributes
    ----------
    changes : callable
        (map, canvas) -> tuple of Change, in the order in which `value` wants their scores.
    value : callable
        (scores (n,), number of cells) -> float.
    """

    changes: Callable[[npt.NDArray[Any], Canvas], tuple[Change, ...]]
    value: Callable[[Scores, int], float]


def deletion_changes(
    values: npt.NDArray[Any], canvas: Canvas, points: int = POINTS
) -> tuple[Change, ...]:
    """Images from which more and more cells are deleted, the most relevant first."""
    order = canvas.order(values)
    return tuple(canvas.change("delete", order[:n]) for n in _counts(len(order), points))


def insertion_changes(
    values: npt.NDArray[Any], canvas: Canvas, points: int = POINTS
) -> tuple[Change, ...]:
    """Images in which more and more cells are shown, the most relevant first, the rest a blur."""
    order = canvas.order(values)
    return tuple(canvas.change("insert", order[n:]) for n in _counts(len(order), points))


def road_changes(
    values: npt.NDArray[Any], canvas: Canvas, shares: Sequence[float] = ROAD_SHARES
) -> tuple[Change, ...]:
    """Images without their most relevant cells, then without their least relevant ones."""
    order = canvas.order(values)
    counts = [round(share * len(order)) for share in shares]
    most = [canvas.change("road", order[:n]) for n in counts]
    least = [canvas.change("road", order[len(order) - n :]) for n in counts]
    return (*most, *least)


def drop_changes(values: npt.NDArray[Any], canvas: Canvas) -> tuple[Change, ...]:
    """The untouched image, and the image times its map (scaled to [0, 1] by its own range)."""
    fine = _checked(values, canvas.cells.shape)
    low, high = float(fine.min()), float(fine.max())
    scaled = (fine - low) / (high - low) if high > low else np.zeros_like(fine)
    nothing = np.zeros(0, np.intp)
    return canvas.change("delete", nothing), Change("blend", scaled.astype(np.float32).tobytes())


def road_value(scores: Scores) -> float:
    """Mean over the shares of: score without the least relevant, less without the most."""
    most, least = np.split(scores, 2)
    return float(np.mean(least - most))


def average_drop(scores: Scores) -> float:
    """Share of the score that is lost when only what the map marks is shown; 0 if none is.

    Parameters
    ----------
    scores : ndarray, shape (2,)
        Of the untouched image and of the image times its map.
    """
    whole, shown = float(scores[0]), float(scores[1])
    return max(0.0, whole - shown) / whole if whole > 0 else 0.0


def increase(scores: Scores) -> float:
    """1 if the score rises when only what the map marks is shown, else 0; same scores as above."""
    return float(scores[1] > scores[0])


def curve(scores: Scores, cells: int) -> Curve:
    """Put the scores of a deletion or insertion against the share of changed cells."""
    return Curve(np.asarray(_counts(cells, len(scores) - 1)) / cells, scores)


MEASURES: Final[Mapping[str, Measure]] = {
    "deletion": Measure(deletion_changes, lambda scores, cells: curve(scores, cells).auc),
    "insertion": Measure(insertion_changes, lambda scores, cells: curve(scores, cells).auc),
    "road": Measure(road_changes, lambda scores, _: road_value(scores)),
    "average_drop": Measure(drop_changes, lambda scores, _: average_drop(scores)),
    "increase": Measure(drop_changes, lambda scores, _: increase(scores)),
}
"""Measures by name; `METRICS` says what they mean."""


def deletion(
    values: npt.NDArray[Any], canvas: Canvas, scorer: Scorer, points: int = POINTS
) -> tuple[Curve, ...]:
    """Deletion curve of one map.

    Parameters
    ----------
    values : ndarray, shape (rows, cols)
        The map, on the canvas's cells.
    canvas : Canvas
    scorer : callable
        See :data:`Scorer`.
    points : int
        Changed images; at most one for each cell.

    Returns
    -------
    tuple of Curve
        One for each of the scorer's K targets.
    """
    return _curves(deletion_changes(values, canvas, points), canvas, scorer)


def insertion(
    values: npt.NDArray[Any], canvas: Canvas, scorer: Scorer, points: int = POINTS
) -> tuple[Curve, ...]:
    """Insertion curve of one map; parameters and result as in :func:`deletion`."""
    return _curves(insertion_changes(values, canvas, points), canvas, scorer)


def road(
    values: npt.NDArray[Any],
    canvas: Canvas,
    scorer: Scorer,
    shares: Sequence[float] = ROAD_SHARES,
) -> Scores:
    """ROAD of one map for each of the scorer's targets, float64 (K,)."""
    scores = score_changes([road_changes(values, canvas, shares)], canvas, scorer)[0]
    return np.asarray([road_value(column) for column in scores.T])


def drop_and_increase(
    values: npt.NDArray[Any], canvas: Canvas, scorer: Scorer
) -> tuple[Scores, Scores]:
    """Average drop and increase of one map for each of the scorer's targets, float64 (K,) each."""
    scores = score_changes([drop_changes(values, canvas)], canvas, scorer)[0]
    return (
        np.asarray([average_drop(column) for column in scores.T]),
        np.asarray([increase(column) for column in scores.T]),
    )


def score_changes(
    wanted: Sequence[Sequence[Change]], canvas: Canvas, scorer: Scorer
) -> tuple[Scores, ...]:
    """Score rows of changes; a change that is wanted twice is drawn and scored once.

    Parameters
    ----------
    wanted : sequence of sequences of Change
        One row for each map and measure.
    canvas : Canvas
    scorer : callable
        Called once, with every different image.

    Returns
    -------
    tuple of ndarray
        For each row its scores, float64 (changes, K).

    Raises
    ------
    InputError
        If the scorer does not return one finite row for each image.
    """
    row_of = {change: row for row, change in enumerate(distinct(wanted))}
    scores = np.asarray(scorer(_rendered(row_of, canvas)), np.float64)
    if scores.ndim != 2 or len(scores) != len(row_of) or not np.isfinite(scores).all():
        raise InputError(
            f"the scorer gave scores of shape {scores.shape} for {len(row_of)} images",
            "Return one row of finite scores for each image.",
        )
    return tuple(scores[[row_of[change] for change in row]] for row in wanted)


def distinct(wanted: Iterable[Iterable[Change]]) -> tuple[Change, ...]:
    """Every different change, in the order of its first appearance."""
    return tuple(dict.fromkeys(change for row in wanted for change in row))


def _rendered(changes: Iterable[Change], canvas: Canvas) -> Iterator[ByteImage]:
    return (canvas.render(change) for change in changes)


def _curves(changes: Sequence[Change], canvas: Canvas, scorer: Scorer) -> tuple[Curve, ...]:
    scores = score_changes([changes], canvas, scorer)[0]
    cells = len(canvas.cells.used)
    return tuple(curve(column, cells) for column in scores.T)


def _counts(cells: int, points: int) -> tuple[int, ...]:
    """How many cells are changed in each image, from none to all."""
    if points < 1:
        raise InputError(f"a curve of {points} points was asked for", "Ask for 1 or more.")
    steps = min(points, cells)
    return tuple(int(n) for n in np.rint(np.linspace(0, cells, steps + 1)))


def _checked(values: npt.NDArray[Any], shape: tuple[int, int]) -> npt.NDArray[np.float64]:
    fine = np.asarray(values, np.float64)
    if fine.shape != shape:
        raise InputError(
            f"a map of shape {fine.shape} does not lie on {shape[0]} x {shape[1]} cells"
        )
    if not np.isfinite(fine).all():
        raise InputError("the map is not finite", "Leave out steps and layers without a map.")
    return fine


_ANY_TOKEN = "any token; needs forward passes of the model at the map's own step"
_RISE = "Petsiuk et al., RISE, BMVC 2018, section 4.2"
_GRADCAM_PP = "Chattopadhay et al., Grad-CAM++, WACV 2018, section 4.1"

METRICS: Final[Mapping[str, MetricInfo]] = by_name(
    (
        MetricInfo(
            "deletion",
            "Deletion AUC",
            "lower",
            (0.0, 1.0),
            f"{_ANY_TOKEN}; compare maps of the same token only, since it grows with the "
            "token's probability without the image",
            _RISE,
            needs="scorer",
        ),
        MetricInfo(
            "insertion",
            "Insertion AUC",
            "higher",
            (0.0, 1.0),
            f"{_ANY_TOKEN}; compare maps of the same token only",
            _RISE,
            needs="scorer",
        ),
        MetricInfo(
            "road",
            "ROAD",
            "higher",
            (-1.0, 1.0),
            f"{_ANY_TOKEN}; 0 for a map that says nothing",
            "Rong et al., ROAD, ICML 2022",
            needs="scorer",
        ),
        MetricInfo(
            "average_drop",
            "Average drop",
            "lower",
            (0.0, 1.0),
            f"{_ANY_TOKEN}; a map that marks everything has none, so never read it alone",
            _GRADCAM_PP,
            needs="scorer",
        ),
        MetricInfo(
            "increase",
            "Increase in confidence",
            "higher",
            (0.0, 1.0),
            f"{_ANY_TOKEN}; a share of maps, 0 or 1 for one map",
            _GRADCAM_PP,
            needs="scorer",
        ),
    )
)
"""Faithfulness measures by name."""
