"""How much memory a process takes. Imports no TensorFlow."""


def peak_mebibytes() -> float:
    """Most memory that this process has had, in MiB; on Linux.

    The kernel's `ru_maxrss` is at least that of the process which started this one.
    """
    with open("/proc/self/status", encoding="utf-8") as file:
        (peak,) = (line.split()[1] for line in file if line.startswith("VmHWM:"))
    return int(peak) / 1024
