"""What the CPU has instructions for, and whose kernels run on it. No TensorFlow."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping, MutableMapping
from types import MappingProxyType

ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
_CPUINFO = "/proc/cpuinfo"

# Any of them multiplies numbers of that kind; without, each is widened one by one.
HALF_PRECISIONS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "bfloat16": frozenset({"avx512_bf16", "amx_bf16"}),
        "float16": frozenset({"avx512_fp16", "amx_fp16"}),
    }
)


def processor_flags(path: str = _CPUINFO) -> frozenset[str]:
    """The names of what an x86 processor can do; none where they are not known."""
    return frozenset(_entry("flags", path).split())


def processor_name(path: str = _CPUINFO) -> str:
    """What the processor is called; its architecture where that is not known."""
    return _entry("model name", path) or platform.processor() or platform.machine()


def _entry(name: str, path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key.strip() == name:
                    return value.strip()
    except OSError:
        pass
    return ""


def lacks_instructions(kind: str, flags: frozenset[str]) -> bool:
    """Whether the processor is known to have no instructions for numbers of a kind.

    Args:
        kind: `"bfloat16"` or `"float16"`; of others none are known to be missing.
        flags: Of the processor, as `processor_flags` gives them.
    """
    return bool(flags) and kind in HALF_PRECISIONS and not flags & HALF_PRECISIONS[kind]


def use_onednn(batch_size: int, environment: MutableMapping[str, str]) -> None:
    """Has TensorFlow compute by oneDNN's kernels, unless the user decided.

    Where the processor has AVX-512 VNNI or AMX, TensorFlow does so by itself. Elsewhere
    a training step takes 0.47 to 0.71 of its time with them, and inference of a single
    image by a network that is not folded up to 16 times its time
    (docs/performance.md, "Processors without AVX-512").

    Args:
        batch_size: Images of the global batches that will be computed.
        environment: Of this process, which TensorFlow reads when it is imported; after
            that, nothing is changed.
    """
    if _is_x86() and batch_size > 1 and "tensorflow" not in sys.modules:
        environment.setdefault(ONEDNN, "1")


def onednn_state(environment: Mapping[str, str], training: bool = False) -> str:
    """What decides about oneDNN's kernels: the variable, or TensorFlow itself.

    Args:
        environment: Of this process.
        training: Whether it is about what `use_onednn` leaves.
    """
    default = "1" if training and _is_x86() else None
    value = environment.get(ONEDNN, default)
    return "by TensorFlow's default" if value is None else f"{ONEDNN}={value}"


def _is_x86() -> bool:
    return platform.machine().lower() in ("x86_64", "amd64")
