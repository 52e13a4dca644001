"""The architecture and the weights that a command starts from.

Imports no TensorFlow by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scalenet_tf.architectures import (
    Architecture,
    get_architecture,
    load_architecture,
)
from scalenet_tf.names import HEAD
from scalenet_training.errors import SettingError
from scalenet_training.settings.inputs import NETWORK, SEED, WEIGHTS, split_network

if TYPE_CHECKING:
    import keras

    from scalenet_tf.weights import LoadReport


def resolve_architecture(model: str, option: str = "`model`") -> Architecture:
    """The architecture of a public name, of a JSON file, or of file.json:Name.

    With `seed:` before it, that of its seed network, to learn an allocation with.

    Args:
        model: The name or the file.
        option: The option that it came by, for messages.

    Raises:
        SettingError: There is no such network or file.
        ValueError: The architecture is not valid.
    """
    NETWORK.check(option, model)
    file, name = split_network(model.removeprefix(SEED))
    if file is None:
        architecture = get_architecture(name)
    else:
        architecture = load_architecture(file, name or None)
    if not model.startswith(SEED):
        return architecture

    from scalenet_tf.allocation import seed_architecture

    return seed_architecture(architecture)


def start_from(model: keras.Model, path: str) -> LoadReport:
    """Loads the weights of a file; the classifier only where it has as many classes.

    Raises:
        SettingError: It is no such file, of another network, or has weights that are
            NaN or infinite, or negative variances. The model is left as it was.
    """
    import keras

    from scalenet_tf.weights import LoadReport, open_weights

    WEIGHTS.check("`weights`", path)
    try:
        file = open_weights(path)
        file.check(classes=None, channels=model.input_shape[-1])
        new_classifier = file.classes != model.output_shape[-1]
        part = model
        if new_classifier:
            body = model.get_layer(HEAD).input
            part = keras.Model(model.inputs, body, name=model.name)
        file.load(part)
    except ValueError as error:
        raise SettingError(f"`weights` {path!r}: {error}") from error
    return LoadReport(
        source=repr(path),
        found=file.arrays,
        loaded=len(part.weights),
        new_classes=model.output_shape[-1] if new_classifier else None,
    )
