"""What an exception from a model means for the batch, the container and the caller.

Told by type first, then by the words that CUDA's libraries use, where they use them; never by one substring. Sources: the CUDA runtime's error table
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
    r"device-side assert|illegal memory access|illegal instruction|misaligned address|(?:invalid|global/shared) address space"
    r"|invalid program counter|launch (?:timed out|failure)|hardware stack error|uncorrectable (?:ecc|nvlink) error|\becc error"
    r"|\bxid\b|fallen off the bus|gpu is lost|cuda_error_(?:assert|illegal_address|illegal_instruction|launch_failed|launch_timeout)"
    r"|cuda_error_(?:misaligned_address|ecc_uncorrectable|not_initialized|deinitialized|system_not_ready|unknown)|unknown_cuda_error"
    r"|cublas_status_(?:not_initialized|execution_failed|internal_error|mapping_error)"
    r"|cudnn_status_(?:not_initialized|internal_error|execution_failed|mapping_error)"
    r"|nccl error|nccl(?:unhandledcuda|system|internal|remote)error|collective operation timeout"
    r"|cuda (?:error: )?unknown error|cuda driver (?:error|is in an error state)|cuda initialization|initialization error|system not yet initialized"
    r"|no cuda-capable device|device\(s\) is/are busy or unavailable|failure (?:700|710|715|716|717|718|719|702|214)\b",
    re.IGNORECASE,
)
_MEMORY = re.compile(
    r"\bout of memory\b|cuda_error_out_of_memory|cudaerrormemoryallocation|_status_alloc_failed|device_allocation_failed|resource_exhausted"
    r"|\bfailed to allocate memory\b|\bcan(?:'|no)t allocate memory\b|\boom when allocating\b",
    re.IGNORECASE,
)
# How the libraries' own messages begin. A plain RuntimeError that only quotes such words (a text that a caller sent, say) is no fault:
# otherwise a caller could end containers.
_SAID_BY_A_DEVICE = re.compile(
    r"\W*(?:rank ?\d+\W+)?(?:cu(?:da|blas|dnn|fft|sparse|solver)|nccl|rccl|hip|miopen|rocblas|nvrm|nvml|gpu|xid|no cuda|device-side|triton error"
    r"|unexpected error from cuda|thcudacheck|process ?group|watchdog|unable to determine the device handle)",
    re.IGNORECASE,
)
_SAID_BY_AN_ALLOCATOR = re.compile(
    r"\W*(?:enforce fail at alloc|defaultcpuallocator|mps backend|resource_exhausted|out of memory|failed to allocate)", re.IGNORECASE
)
_ERRORS = range(400, 600)  # HTTP's
_LIBRARIES_OF_DEVICES = frozenset(
    [
        "torch",
        "triton",
        "cupy",
        "cupy_backends",
        "jax",
        "jaxlib",
        "tensorflow",
        "numba",
        "pycuda",
        "pynvml",
        "onnxruntime",
        "tensorrt",
        "tensorrt_llm",
        "vllm",
        "ctranslate2",
    ]
)


def classify(error: BaseException) -> Fault:
    """The fault behind an exception, its causes included. A broken device comes first, whatever the pipeline made of it."""
    chain = list(_chain(error))
    if any(_is_device_fault(each) and not _is_out_of_memory(each) for each in chain):
        return Fault.DEVICE
    if isinstance(error, InferenceError) or _status_of(error):
        return Fault.INPUT
    return Fault.OUT_OF_MEMORY if any(map(_is_out_of_memory, chain)) else Fault.BUG


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
    return bool(_MEMORY.search(str(error))) and (_is_of_a_library(error) or _begins(error, _SAID_BY_A_DEVICE, _SAID_BY_AN_ALLOCATOR))


def _is_device_fault(error: BaseException) -> bool:
    return bool(_STICKY.search(str(error))) and (_is_of_a_library(error) or _begins(error, _SAID_BY_A_DEVICE))


def _is_of_a_library(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0] in _LIBRARIES_OF_DEVICES


def _begins(error: BaseException, *words: re.Pattern[str]) -> bool:
    """Whether a plain RuntimeError begins like that: a ValueError that speaks of CUDA is a message, not a fault."""
    return isinstance(error, RuntimeError) and any(each.match(str(error)) for each in words)


def _status_of(error: BaseException) -> int:
    """The status of an HTTPException of any framework; 0 for what is none."""
    status = getattr(error, "status_code", 0)
    return status if isinstance(status, int) and status in _ERRORS else 0
