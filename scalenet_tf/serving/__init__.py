"""Client for models of this package behind TensorFlow Serving, Triton and others.

Needs `pip install 'scalenet_tf[serving]'`. Nothing else of the package imports it.
"""

from scalenet_tf.serving.client import Client
from scalenet_tf.serving.endpoint import Endpoint, parse_url
from scalenet_tf.serving.errors import (
    ClientUnusableError,
    InvalidImageError,
    ModelNotFoundError,
    RequestRefusedError,
    ServerFaultError,
    ServerTimeoutError,
    ServerUnavailableError,
    ServingError,
    SignatureNotFoundError,
    TopKError,
)
from scalenet_tf.serving.messages import (
    ModelMetadata,
    Prediction,
    Signature,
    TensorSpec,
    VersionStatus,
)

__all__ = [
    "Client",
    "ClientUnusableError",
    "Endpoint",
    "InvalidImageError",
    "ModelMetadata",
    "ModelNotFoundError",
    "Prediction",
    "RequestRefusedError",
    "ServerFaultError",
    "ServerTimeoutError",
    "ServerUnavailableError",
    "ServingError",
    "Signature",
    "SignatureNotFoundError",
    "TensorSpec",
    "TopKError",
    "VersionStatus",
    "parse_url",
]
