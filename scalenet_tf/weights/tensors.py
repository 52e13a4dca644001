"""Tensors that become weights: what is accepted, and what is said of a load."""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import keras
import ml_dtypes
import numpy as np

_ACCEPTED = ("float16", "bfloat16", "float32", "float64")
# What PyTorch counts beside the weights: batches by batch norms, models in an average.
COUNTERS = ("num_batches_tracked", "n_averaged")
_VARIANCES = ("running_var", "moving_variance")  # PyTorch's name, Keras' name


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What came of loading weights into a model.

    Attributes:
        source: Where they came from, as messages name it.
        found: Tensors in the source.
        loaded: Tensors that were loaded.
        ignored: Names of tensors that were passed over on purpose.
        cast: Data types that were not the model's and were cast to it.
        new_classes: Classes of a classifier that was made anew; None where there is
            none.
    """

    source: str
    found: int
    loaded: int
    ignored: tuple[str, ...] = ()
    cast: tuple[str, ...] = ()
    new_classes: int | None = None

    def __str__(self) -> str:
        """One line: `317 of 319 tensors of 'a.keras', new classifier for 3 classes`."""
        parts = [f"{self.loaded} of {self.found} tensors of {self.source}"]
        if self.ignored:
            parts.append(f"ignored: {_summary(self.ignored)}")
        if self.cast:
            parts.append(f"cast from {', '.join(self.cast)}")
        if self.new_classes is not None:
            parts.append(f"new classifier for {self.new_classes} classes")
        return "; ".join(parts)


def _summary(names: Sequence[str]) -> str:
    """Names that end alike in different modules as a number and that ending."""
    counters = Counter(
        name.rpartition(".")[2] if name.endswith(COUNTERS) else name for name in names
    )
    return ", ".join(
        f"{count} {name}" if name in COUNTERS else name
        for name, count in counters.items()
    )


def float_array(source: str, name: str, tensor: Any) -> np.ndarray:
    """The array of a tensor of numpy, PyTorch or TensorFlow.

    Args:
        source: Where the tensor came from, as messages name it.
        name: Its name there.
        tensor: Dense, of float16, bfloat16, float32 or float64.

    Returns:
        An array of the tensor's shape and data type.

    Raises:
        ValueError: It is of another kind; the message names it.
    """
    try:
        array = _from_torch(tensor) if is_torch(tensor) else np.asarray(tensor)
    except (TypeError, ValueError, RuntimeError) as error:
        raise unfit_tensor(source, name, str(error)) from error
    if array.dtype.name not in _ACCEPTED:
        named = type(tensor).__name__ if array.dtype == object else array.dtype.name
        raise unfit_tensor(source, name, named)
    return array


def unfit_tensor(source: str, name: str, kind: str) -> ValueError:
    """The error for a tensor of a kind that cannot be a weight."""
    return ValueError(
        f"tensor {name!r} of {source} must be a dense tensor of "
        f"{', '.join(_ACCEPTED[:-1])} or {_ACCEPTED[-1]}. Received: {kind}. Save the "
        "weights of the model in floating point, as it was trained."
    )


def cast_values(source: str, name: str, array: np.ndarray, dtype: str) -> np.ndarray:
    """Casts an array to the data type of its variable and checks what it holds.

    Raises:
        ValueError: A value is NaN or infinite, or a variance negative.
    """
    with np.errstate(over="ignore"):  # what is too large is found below
        values = array.astype(dtype, copy=False)
    check_values(source, name, values)
    return values


def check_values(source: str, name: str, array: np.ndarray) -> None:
    """Checks the numbers of a weight of any file.

    Args:
        source: Where the weight came from, as messages name it.
        name: Its name there; one that ends in `running_var` or `moving_variance`
            is a variance.
        array: Floating-point numbers.

    Raises:
        ValueError: One is NaN or infinite, or a variance negative.
    """
    finite = np.isfinite(array)
    if not finite.all():
        raise ValueError(
            f"tensor {name!r} of {source} must hold finite numbers. Received: "
            f"{array.size - np.count_nonzero(finite)} of {array.size} are NaN or "
            f"infinite in {array.dtype.name}. Take a file from before the training "
            "diverged."
        )
    if name.endswith(_VARIANCES) and array.size and array.min() < 0:
        raise ValueError(
            f"tensor {name!r} of {source} is a variance and must hold no negative "
            f"number. Received: {np.count_nonzero(array < 0)} of {array.size} are "
            f"negative, the lowest {float(array.min()):.3g}. The file is damaged, or "
            "its tensors are in another order than their names."
        )


def check_model(source: str, model: keras.Model) -> None:
    """Checks the numbers of all floating-point weights of a model, by their paths.

    Raises:
        ValueError: One is NaN or infinite, or a moving variance negative.
    """
    for weight in model.weights:
        if keras.backend.is_float_dtype(weight.dtype):
            array = keras.ops.convert_to_numpy(weight)
            check_values(source, weight.path, array)


def is_torch(tensor: Any) -> bool:
    """Whether it is a tensor of PyTorch, which is not imported for that."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.is_tensor(tensor)


def _from_torch(tensor: Any) -> np.ndarray:
    torch = sys.modules["torch"]
    if tensor.is_meta:
        raise TypeError("a meta tensor, which has no values")
    if tensor.is_quantized:
        raise TypeError(f"a quantised tensor ({tensor.dtype})")
    if tensor.layout != torch.strided:
        raise TypeError(f"a sparse tensor ({tensor.layout})")
    kind = str(tensor.dtype).removeprefix("torch.")
    if kind not in _ACCEPTED:
        raise TypeError(kind)
    tensor = tensor.detach().cpu()
    if kind == "bfloat16":  # PyTorch hands over its bits alone
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()
