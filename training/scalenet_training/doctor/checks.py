"""Versions, devices, extras, and combinations that are known to fail."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Callable

from packaging.requirements import Requirement
from packaging.version import Version

from scalenet_tf.export.runtime import available_cores
from scalenet_training.devices.processor import (
    HALF_PRECISIONS,
    lacks_instructions,
    onednn_state,
    processor_flags,
)

PACKAGE = "scalenet_tf"
_SHOWN = ("scalenet_tf", "tensorflow", "keras", "numpy", "torch")
# The first PyTorch whose convolutions end the process where TensorFlow is loaded.
_FIRST_BAD_TORCH = Version("2.14")


def versions() -> dict[str, str]:
    """Versions of Python and of what computes; of packages that are there alone."""
    found = {name: version(name) for name in _SHOWN}
    return {
        "python": platform.python_version(),
        **{name: text for name, text in found.items() if text is not None},
    }


def version(package: str) -> str | None:
    """The version of an installed package, `None` where there is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def devices() -> dict[str, str]:
    """What TensorFlow can compute on: name -> kind."""
    import tensorflow as tf

    physical = tf.config.list_physical_devices()
    listed = {device.name: device.device_type for device in physical}
    flags = processor_flags()
    slow = [kind for kind in HALF_PRECISIONS if lacks_instructions(kind, flags)]
    return listed | {
        "cores": str(available_cores()),
        "oneDNN in training": onednn_state(os.environ, training=True),
        "processor without instructions for": ", ".join(slow) or "none known",
    }


def extras() -> dict[str, str]:
    """For each extra of the package, whether all that it needs is installed."""
    if version(PACKAGE) is None:
        return {}
    metadata = importlib.metadata.metadata(PACKAGE)
    return {
        extra: _state(extra, missing_of(PACKAGE, extra))
        for extra in metadata.get_all("Provides-Extra") or ()
    }


def missing_of(package: str, extra: str) -> list[str]:
    """What an extra of a package needs that is missing or of another version.

    The extras of what it needs are followed.
    """
    missing: list[str] = []
    for requirement in map(Requirement, importlib.metadata.requires(package) or ()):
        if not (requirement.marker and requirement.marker.evaluate({"extra": extra})):
            continue
        if not _is_met(requirement):
            missing.append(f"{requirement.name}{requirement.specifier}")
            continue
        for further in sorted(requirement.extras):
            missing += missing_of(requirement.name, further)
    return list(dict.fromkeys(missing))


def problems() -> list[str]:
    """What will fail here, a line each; none where all is well."""
    return [text for check in _CHECKS if (text := check())]


def _state(extra: str, missing: list[str]) -> str:
    if not missing:
        return "installed"
    return f"missing {', '.join(missing)}: pip install '{PACKAGE}[{extra}]'"


def _is_met(requirement: Requirement) -> bool:
    installed = version(requirement.name)
    return installed is not None and requirement.specifier.contains(
        installed, prereleases=True
    )


def _unmet_requirements() -> str | None:
    if version(PACKAGE) is None:
        return f"{PACKAGE} is not installed: pip install -e . in its folder."
    unmet = [
        f"{requirement.name} {version(requirement.name) or 'missing'}, needs "
        f"{requirement.specifier}"
        for requirement in map(Requirement, importlib.metadata.requires(PACKAGE) or ())
        if not requirement.marker and not _is_met(requirement)
    ]
    return f"required packages: {'; '.join(unmet)}" if unmet else None


def _torch_crashes() -> str | None:
    installed = version("torch")
    if installed is None or Version(installed) < _FIRST_BAD_TORCH:
        return None
    return (
        f"PyTorch {installed} beside TensorFlow: a convolution in PyTorch ends the "
        f"process. Install torch<{_FIRST_BAD_TORCH}, or use two processes. Reading "
        ".pth files works."
    )


def _other_backend() -> str | None:
    import keras

    backend = keras.config.backend()
    if backend == "tensorflow":
        return None
    return (
        f"Keras' backend is {backend!r}, and commands and exports need TensorFlow's: "
        "set KERAS_BACKEND=tensorflow, or mend ~/.keras/keras.json."
    )


def _channels_first() -> str | None:
    import keras

    if keras.config.image_data_format() == "channels_last":
        return None
    return "Keras puts channels first: mend image_data_format in ~/.keras/keras.json."


def _gpu_without_cuda() -> str | None:
    import tensorflow as tf

    if not os.path.exists("/proc/driver/nvidia/version"):
        return None
    if tf.config.list_physical_devices("GPU"):
        return None
    return (
        "there is an NVIDIA driver, but TensorFlow sees no GPU, so XLA and training "
        f"use the CPU: pip install '{PACKAGE}[gpu]'."
    )


_CHECKS: tuple[Callable[[], str | None], ...] = (
    _unmet_requirements,
    _torch_crashes,
    _other_backend,
    _channels_first,
    _gpu_without_cuda,
)
