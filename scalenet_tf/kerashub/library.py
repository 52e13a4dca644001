"""KerasHub, which is an extra."""

from typing import TYPE_CHECKING

from scalenet_tf.extras import import_extra

if TYPE_CHECKING:
    import keras_hub as keras_hub
else:
    keras_hub = import_extra(
        "keras_hub", "keras-hub", "kerashub", user="scalenet_tf.kerashub"
    )
