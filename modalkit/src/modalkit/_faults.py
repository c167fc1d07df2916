"""What an exception from a model means for the batch, the container and the caller.

Told by type first, then by the words that CUDA's libraries use; never by one substring. Sources: the CUDA runtime's error table
(`cudaError_t`: which errors leave the context unusable), NVIDIA's Xid list, torch's `OutOfMemoryError` and `AcceleratorError`.
"""

import logging
import re
from enum import Enum
from typing import Any

from modalkit.errors import InferenceError, Problem, new_error_id

log = logging.getLogger("modalkit")


class Fault(Enum):
    """What to do about an exception."""

    DEVICE = "device"  # the process cannot use its device again: leave, and run the batch elsewhere
    OUT_OF_MEMORY = "out_of_memory"  # the batch was too big: halve it
    INPUT = "input"  # the pipeline said what is wrong with an input, with a status
    BUG = "bug"  # everything else: one input, or the pipeline


# Each leaves the CUDA context of the process unusable (`cudaError_t`: "the process must be terminated and relaunched").
_STICKY = re.compile(
    r"device-side assert|illegal memory access|illegal instruction|misaligned address|invalid address space|invalid program counter"
    r"|launch (?:timed out|failure)|unspecified launch failure|hardware stack error|uncorrectable (?:ecc|nvlink) error|ecc error"
    r"|\bxid\b|fallen off the bus|cuda(?:_| )?error_(?:assert|illegal_address|launch_failed|launch_timeout|ecc_uncorrectable)"
    r"|cublas_status_(?:not_initialized|alloc_failed|execution_failed|internal_error)"
    r"|cudnn_status_(?:not_initialized|internal_error|execution_failed)|nccl (?:error|wn)|ncclunhandledcudaerror|ncclsystemerror|ncclinternalerror"
    r"|cuda driver (?:error|is in an error state)|cuda initialization|no cuda-capable device",
    re.IGNORECASE,
)
_MEMORY = re.compile(r"\bout of memory\b|cuda_error_out_of_memory|cudaerrormemoryallocation|\bfailed to allocate memory\b", re.IGNORECASE)
_OF_A_DEVICE = re.compile(r"cuda|cublas|cudnn|nccl|\bhip\b|\bgpu\b|\bxid\b|device-side", re.IGNORECASE)
_ERRORS = range(400, 600)  # HTTP's
_TYPES_OF_DEVICES = ("torch", "cupy", "jax", "jaxlib", "tensorflow", "numba", "pycuda", "onnxruntime", "tensorrt")


def classify(error: BaseException) -> Fault:
    """The fault behind an exception, its causes included."""
    if isinstance(error, InferenceError) or _status_of(error):
        return Fault.INPUT
    chain = list(_chain(error))
    if any(map(_is_out_of_memory, chain)):
        return Fault.OUT_OF_MEMORY
    if any(map(_is_device_fault, chain)):
        return Fault.DEVICE
    return Fault.BUG


def problem_of(error: BaseException, fault: Fault) -> Problem:
    """The answer to the item that an exception is about; logs what only the log should have."""
    if isinstance(error, InferenceError):
        return error.problem
    error_id = new_error_id()
    if fault is Fault.INPUT:
        return Problem(_status_of(error), str(getattr(error, "detail", error)), "inference_failed", error_id)
    log.error("%s: %s of one input", error_id, fault.value, exc_info=error)
    if fault is Fault.OUT_OF_MEMORY:
        return Problem(503, f"One input alone needs more memory than there is: {error}", "out_of_memory", error_id)
    return Problem(500, f"{type(error).__name__}: {error}", "inference_failed", error_id)


def _chain(error: BaseException) -> Any:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    names = {base.__name__ for base in type(error).__mro__}
    if names & {"OutOfMemoryError", "ResourceExhaustedError", "CudaAPIOutOfMemory"}:
        return True
    return isinstance(error, RuntimeError) and bool(_MEMORY.search(str(error)))


def _is_device_fault(error: BaseException) -> bool:
    module = type(error).__module__.partition(".")[0]
    if not isinstance(error, RuntimeError) and module not in _TYPES_OF_DEVICES:
        return False  # a ValueError that speaks of CUDA is a message, not a fault
    words = str(error)
    return bool(_STICKY.search(words)) and (module in _TYPES_OF_DEVICES or bool(_OF_A_DEVICE.search(words)))


def _status_of(error: BaseException) -> int:
    """The status of an HTTPException of any framework; 0 for what is none."""
    status = getattr(error, "status_code", 0)
    return status if isinstance(status, int) and status in _ERRORS else 0
