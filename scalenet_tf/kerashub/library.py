"""KerasHub, which is an extra."""

from scalenet_tf.extras import import_extra

keras_hub = import_extra(
    "keras_hub", "keras-hub", "kerashub", user="scalenet_tf.kerashub"
)
