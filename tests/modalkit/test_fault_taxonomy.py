"""What an exception of a model means. The texts are those that the libraries write."""

import logging

import pytest

from modalkit._faults import Fault, classify, problem_of
from modalkit.errors import InferenceError


def of(library, name, base=Exception):
    """An exception type as that library has it."""
    return type(name, (base,), {"__module__": library})


ACCELERATOR = of("torch", "AcceleratorError", RuntimeError)
BACKEND = of("torch.distributed", "DistBackendError", RuntimeError)
ONNX = of("onnxruntime.capi.onnxruntime_pybind11_state", "Fail")
ONNX_RUNTIME = of("onnxruntime.capi.onnxruntime_pybind11_state", "RuntimeException")
CUPY = of("cupy_backends.cuda.api.runtime", "CUDARuntimeError", RuntimeError)
XLA = of("jaxlib.xla_extension", "XlaRuntimeError", RuntimeError)
TENSORFLOW = of("tensorflow.python.framework.errors_impl", "InternalError")
NUMBA = of("numba.cuda.cudadrv.driver", "CudaAPIError")
NVML = of("pynvml", "NVMLError_GpuIsLost")
ASYNC = "\nCUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be incorrect."

STICKY = [
    RuntimeError("CUDA error: device-side assert triggered" + ASYNC),
    RuntimeError("CUDA error: an illegal memory access was encountered" + ASYNC),
    RuntimeError("CUDA error: unspecified launch failure" + ASYNC),
    RuntimeError("CUDA error: misaligned address"),
    RuntimeError("CUDA error: an illegal instruction was encountered"),
    RuntimeError("CUDA error: operation not supported on global/shared address space"),
    RuntimeError("CUDA error: invalid program counter"),
    RuntimeError("CUDA error: hardware stack error"),
    RuntimeError("CUDA error: the launch timed out and was terminated"),
    RuntimeError("CUDA error: uncorrectable ECC error encountered"),
    RuntimeError("CUDA error: uncorrectable NVLink error detected during the execution"),
    RuntimeError("CUDA error: unknown error"),
    RuntimeError("CUDA error: initialization error"),
    RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable"),
    RuntimeError("CUDA error: no CUDA-capable device is detected"),
    RuntimeError(
        "CUDA unknown error - this may be due to an incorrectly set up environment, e.g. changing env variable CUDA_VISIBLE_DEVICES"
    ),
    RuntimeError(
        "Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions before? Error 802: system not yet initialized"
    ),
    RuntimeError("cuda runtime error (59) : device-side assert triggered at /pytorch/aten/src/THC/generic/THCTensorMath.cu:26"),
    RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    RuntimeError(
        "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm( handle, opa, opb, m, n, k, &alpha, a, lda, b, ldb)`"
    ),
    RuntimeError("CUDA error: CUBLAS_STATUS_INTERNAL_ERROR when calling `cublasGemmEx( handle, opa, opb, m, n, k)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"),
    RuntimeError("cuDNN error: CUDNN_STATUS_MAPPING_ERROR"),
    RuntimeError("[Rank 0] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=12, OpType=ALLREDUCE) ran for 600000 ms"),
    BACKEND("NCCL error in: ../torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp:1970, unhandled cuda error, NCCL version 2.20.5"),
    BACKEND("ncclSystemError: System call (e.g. socket, malloc) or external library call failed or device error."),
    RuntimeError(
        "NCCL error in: NCCLUtils.hpp:219, remote process exited or there was a network error\nncclRemoteError: A call failed possibly"
    ),
    RuntimeError("NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus."),
    RuntimeError("Xid 48: double bit ECC error"),
    RuntimeError("Unable to determine the device handle for GPU0000:3B:00.0: GPU is lost. Reboot the system to recover this GPU"),
    RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"),
    RuntimeError("HIP error: an illegal memory access was encountered"),
    RuntimeError("CUDA driver error: unknown error"),
    ACCELERATOR("CUDA error: device-side assert triggered" + ASYNC),
    ONNX(
        "[ONNXRuntimeError] : 1 : FAIL : CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; hostname=a ; expr=cudaStreamSync"
    ),
    ONNX("[ONNXRuntimeError] : 1 : FAIL : CUDNN failure 4: CUDNN_STATUS_INTERNAL_ERROR ; GPU=0 ; hostname=a"),
    CUPY("cudaErrorIllegalAddress: an illegal memory access was encountered"),
    XLA("INTERNAL: Failed to synchronize the stop event: CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered"),
    TENSORFLOW("Could not synchronize CUDA stream: CUDA_ERROR_LAUNCH_FAILED: unspecified launch failure"),
    NUMBA("[700] Call to cuMemcpyDtoH results in CUDA_ERROR_ILLEGAL_ADDRESS"),
    NVML("GPU is lost"),
]
MEMORY = [
    of("torch", "OutOfMemoryError", RuntimeError)(
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 14.58 GiB"
    ),
    RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 14.76 GiB total capacity; 13.44 GiB already allocated)"),
    RuntimeError("CUDA error: out of memory" + ASYNC),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("HIP out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB, other allocations: 1.00 GB, max allowed: 9.07 GB)"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:75] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 400000000000 bytes"
    ),
    XLA("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 17179869184 bytes."),
    of("tensorflow.python.framework.errors_impl", "ResourceExhaustedError")("OOM when allocating tensor with shape[512,512,3,3]"),
    of("cupy.cuda.memory", "OutOfMemoryError", MemoryError)("Out of memory allocating 8,000,000,000 bytes (allocated so far: 0 bytes)."),
    ONNX_RUNTIME("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory for requested buffer of size 4294967296"),
    MemoryError("Unable to allocate 745. GiB for an array with shape (100000, 1000000) and data type float64"),
]
LOOK_ALIKES = [
    RuntimeError("Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"),
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (1x3 and 4x3)"),
    RuntimeError("Input type (torch.cuda.FloatTensor) and weight type (torch.FloatTensor) should be the same"),
    RuntimeError("Attempting to deserialize object on a CUDA device but torch.cuda.is_available() is False."),
    RuntimeError("CUDA error: no kernel image is available for execution on the device" + ASYNC),
    RuntimeError("CUDA error: invalid argument"),
    RuntimeError("CUDA error: invalid device ordinal"),
    RuntimeError("CUDA error: invalid configuration argument"),
    RuntimeError("CUDA error: CUBLAS_STATUS_INVALID_VALUE when calling `cublasSgemm( handle, opa, opb, m, n, k)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in a non-contiguous input."),
    RuntimeError("No text could be made of 'CUDA error: device-side assert triggered'"),
    RuntimeError("the ticket says the GPU ran out of memory"),
    RuntimeError("the proxy id 79 is unknown"),
    RuntimeError("The oxide layer has an illegal memory access"),
    ValueError("CUDA error: device-side assert triggered"),
    ValueError("the label 'out of memory' is unknown"),
    KeyError("CUDA error"),
    AssertionError("Torch not compiled with CUDA enabled"),
    OSError("CUDA_HOME environment variable is not set. Please set it to your CUDA install root."),
    IndexError("index out of range in self"),
]


def named(errors):
    return pytest.mark.parametrize("error", errors, ids=lambda error: f"{type(error).__name__}: {str(error)[:60]}")


class TestTaxonomy:
    @named(STICKY)
    def test_a_fault_that_the_process_cannot_recover_from_is_the_devices(self, error):
        assert classify(error) is Fault.DEVICE

    @named(MEMORY)
    def test_memory_that_ran_out_is_no_broken_device(self, error):
        assert classify(error) is Fault.OUT_OF_MEMORY

    @named(LOOK_ALIKES)
    def test_words_alone_are_no_fault(self, error):
        """Faults were found by a substring, so that a caller's text could end a container."""
        assert classify(error) is Fault.BUG


class TestChains:
    def test_a_fault_is_found_behind_what_the_pipeline_made_of_it(self):
        assert classify(raised(lambda: raise_from(ValueError("embedding failed"), STICKY[0]))) is Fault.DEVICE

    def test_a_status_does_not_hide_a_broken_device(self):
        """The guide's own pattern: an HTTPException made of a CUDA error."""
        assert classify(raised(lambda: raise_from(InferenceError("failed", status=500), STICKY[0]))) is Fault.DEVICE

    def test_a_status_stands_for_memory_that_ran_out(self):
        assert classify(raised(lambda: raise_from(InferenceError("too long", status=413), MEMORY[0]))) is Fault.INPUT

    def test_what_was_raised_from_none_is_taken_at_its_word(self):
        assert classify(raised(lambda: raise_from(ValueError("plain"), None, context=STICKY[0]))) is Fault.BUG

    def test_a_chain_that_ends_in_itself_ends(self):
        error = ValueError("a")
        error.__cause__ = KeyError("b")
        error.__cause__.__cause__ = error
        assert classify(error) is Fault.BUG


def raise_from(error, cause, context=None):
    if context is not None:
        error.__context__ = context
    raise error from cause


def raised(function):
    with pytest.raises(Exception) as info:  # noqa: PT011  # whichever it is, is classified
        function()
    return info.value


class HTTPException(Exception):
    """As Starlette's, FastAPI's and LitServe's."""

    def __init__(self, status_code, detail):
        super().__init__(detail)
        self.status_code, self.detail = status_code, detail


class TestProblems:
    def test_a_pipelines_own_status_and_words_are_the_answer(self):
        problem = problem_of(InferenceError("no face in the picture", status=422, kind="no_face"), Fault.INPUT)
        assert (problem.status, problem.detail, problem.kind) == (422, "no face in the picture", "no_face")

    def test_an_http_exception_of_any_framework_is_one(self):
        error = HTTPException(418, "short and stout")
        problem = problem_of(error, classify(error))
        assert (problem.status, problem.detail) == (418, "short and stout")

    @pytest.mark.parametrize("status", [200, 99, 600, "404", None])
    def test_a_number_that_is_no_error_status_is_none(self, status):
        assert classify(HTTPException(status, "odd")) is Fault.BUG

    def test_a_bug_is_answered_with_an_id_that_the_log_has(self, caplog):
        with caplog.at_level(logging.ERROR, "modalkit"):
            problem = problem_of(ZeroDivisionError("division by zero"), Fault.BUG)
        assert (problem.status, problem.detail) == (500, "ZeroDivisionError: division by zero")
        assert problem.error_id in caplog.text

    def test_one_item_that_needs_more_memory_than_there_is_says_so(self):
        problem = problem_of(MemoryError("745 GiB"), Fault.OUT_OF_MEMORY)
        assert (problem.status, problem.kind) == (503, "out_of_memory")
