"""Policies by the names that `--policy` takes: which operations, and how strongly.

Settings read the names from here, so TensorFlow is imported inside the functions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

from typing_extensions import Doc

if TYPE_CHECKING:
    import tensorflow as tf

STRONGEST = 10.0  # the magnitude at which an operation is at the end of its range
_LEVELS = 31  # strengths between which TrivialAugment chooses
_SHARE = 150 / 331  # of the side: AutoAugment moves images of 331 pixels by 150


class PolicyOptions(Protocol):
    """The settings of a policy."""

    @property
    def policy(self) -> str: ...  # noqa: D102

    @property
    def policy_operations(self) -> int: ...  # noqa: D102

    @property
    def policy_magnitude(self) -> float: ...  # noqa: D102

    @property
    def policy_deviation(self) -> float: ...  # noqa: D102

    @property
    def policy_probability(self) -> float: ...  # noqa: D102


@dataclasses.dataclass(frozen=True)
class Range:
    """The amounts of an operation, from strength 0 to strength 1.

    Attributes:
        start: Amount at strength 0.
        end: Amount at strength 1.
        signed: Whether half of the images get an amount as far on the other side of
            the start.
        of_side: Whether amounts are parts of the image's side.
    """

    start: float
    end: float
    signed: bool = False
    of_side: bool = False


@dataclasses.dataclass(frozen=True)
class Policy:
    """How operations are chosen for an image.

    Attributes:
        summary: What it does, for `--help`.
        ranges: The operations, each as likely as the others, and their amounts.
        strengths: From the options and a seed `(2,)`, the strength of each operation
            that is applied, from 0 to 1, float32 `(operations,)`.
    """

    summary: str
    ranges: Mapping[str, Range] = dataclasses.field(default_factory=dict)
    strengths: Callable[[PolicyOptions, tf.Tensor], tf.Tensor] | None = None


def _fixed(options: PolicyOptions, seed: tf.Tensor) -> tf.Tensor:
    """The magnitude of the options, with its deviation."""
    import tensorflow as tf

    noise = tf.random.stateless_normal((options.policy_operations,), seed)
    magnitudes = options.policy_magnitude + options.policy_deviation * noise
    return tf.clip_by_value(magnitudes / STRONGEST, 0.0, 1.0)


def _any(options: PolicyOptions, seed: tf.Tensor) -> tf.Tensor:
    """One operation, of any strength."""
    import tensorflow as tf

    level = tf.random.stateless_uniform((1,), seed, 0, _LEVELS, tf.int32)
    return tf.cast(level, tf.float32) / (_LEVELS - 1)


def _ranges(
    factor: float, bits: int, shear: float, shift: Range, degrees: float
) -> dict[str, Range]:
    """The fourteen operations; enhancements go from 1 - factor to 1 + factor."""
    enhancements = ("brightness", "color", "contrast", "sharpness")
    return {
        "identity": Range(0, 0),
        **dict.fromkeys(enhancements, Range(1, 1 + factor, signed=True)),
        "posterize": Range(8, bits),
        "solarize": Range(256, 0),
        "equalize": Range(0, 0),
        "autocontrast": Range(0, 0),
        **dict.fromkeys(("shear_x", "shear_y"), Range(0, shear, signed=True)),
        **dict.fromkeys(("translate_x", "translate_y"), shift),
        "rotate": Range(0, degrees, signed=True),
    }


POLICIES: Mapping[str, Policy] = MappingProxyType(
    {
        "none": Policy("no policy"),
        "randaugment": Policy(
            "--policy-operations of 14, all of --policy-magnitude (Cubuk et al., 2020)",
            _ranges(0.9, 4, 0.3, Range(0, _SHARE, signed=True, of_side=True), 30),
            _fixed,
        ),
        "trivialaugment": Policy(
            "one of 14 operations, of any strength, with the wide ranges of Müller and "
            "Hutter, 2021",
            _ranges(0.99, 2, 0.99, Range(0, 32, signed=True), 135),
            _any,
        ),
    }
)

_HELP = "; ".join(f"{name}: {row.summary}" for name, row in POLICIES.items())
if TYPE_CHECKING:
    PolicyName = str
else:
    PolicyName = Annotated[Literal[tuple(POLICIES)], Doc(f"{_HELP}.")]


def apply_policy(
    options: PolicyOptions, pixels: tf.Tensor, seed: tf.Tensor
) -> tf.Tensor:
    """Changes pixels, uint8 `(size, size, 3)`, as a seed `(2,)` decides."""
    import tensorflow as tf

    from scalenet_training.data.pixels.operations import apply_operations

    policy = POLICIES[options.policy]
    assert policy.strengths is not None
    fold = tf.random.experimental.stateless_fold_in
    strengths = policy.strengths(options, fold(seed, 0))
    count = strengths.shape[0]
    uniform = tf.random.stateless_uniform((3, count), fold(seed, 1))
    choices = tf.cast(uniform[0] * len(policy.ranges), tf.int32)
    amounts = _amounts(policy, choices, strengths, uniform[1] < 0.5, pixels.shape[0])
    names = [*policy.ranges, "identity"]  # the last is what is not applied
    kept = uniform[2] < options.policy_probability
    choices = tf.where(kept, choices, len(names) - 1)
    return apply_operations(names, choices, pixels, amounts)


def _amounts(
    policy: Policy,
    choices: tf.Tensor,
    strengths: tf.Tensor,
    negative: tf.Tensor,
    side: int,
) -> tf.Tensor:
    import tensorflow as tf

    rows = policy.ranges.values()
    scales = [float(side if row.of_side else 1) for row in rows]
    starts = tf.gather([float(row.start) for row in rows], choices)
    spans = [(r.end - r.start) * s for r, s in zip(rows, scales, strict=True)]
    offsets = strengths * tf.gather(spans, choices)
    mirrored = negative & tf.gather([row.signed for row in rows], choices)
    return starts + tf.where(mirrored, -offsets, offsets)
