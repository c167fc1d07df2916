"""Runs items through a pipeline: in batches of at most `max_batch_size`, halved where memory or one item's fault asks for it.

Decides nothing about when: items that are here run now. What leaves here is one outcome an item, in order, or a `DeviceFaultError`.
"""

import asyncio
import inspect
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from modalkit._faults import Fault, classify, problem_of
from modalkit._parcels import Failure, Outcome, Output
from modalkit.errors import DeviceFaultError, InferenceError, Problem, new_error_id

log = logging.getLogger("modalkit")


class Steps:
    """The three steps of one pipeline, whatever their form: sync or async, with the inputs or without."""

    def __init__(self, pipeline: Any) -> None:
        """Raises TypeError: the pipeline can do nothing."""
        if not hasattr(pipeline, "predict") and not hasattr(pipeline, "stream"):
            msg = f"{type(pipeline).__name__} has neither predict nor stream"
            raise TypeError(msg)
        self._preprocess = _step(getattr(pipeline, "preprocess", None))
        self._predict = _step(getattr(pipeline, "predict", _only_streams))
        self._postprocess = _step(getattr(pipeline, "postprocess", None))
        self._loop: asyncio.AbstractEventLoop | None = None

    def __call__(self, inputs: list[Any], around: Callable[[str], Any]) -> Any:
        """Runs them over one batch; `around(name)` is a context manager that each step runs in."""
        with around("preprocess"):
            data = self._run(self._preprocess, inputs, inputs)
        with around("predict"):
            raw = self._run(self._predict, inputs, data)
        with around("postprocess"):
            return self._run(self._postprocess, inputs, raw)

    def close(self) -> None:
        """Ends the loop of async steps."""
        if self._loop is not None:
            self._loop.close()

    def _run(self, step: Callable[[list[Any], Any], Any] | None, inputs: list[Any], data: Any) -> Any:
        if step is None:
            return data
        result = step(inputs, data)
        return self._awaited(result) if inspect.isawaitable(result) else result

    def _awaited(self, result: Any) -> Any:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        return self._loop.run_until_complete(_await(result))


class Batches:
    """Runs what is given to it through `steps`, and counts the batches and the seconds."""

    def __init__(self, steps: Steps, max_batch_size: int, around: Callable[[str], Any]) -> None:
        self._steps = steps
        self._max_batch_size = max_batch_size
        self._around = around
        self.sizes: list[int] = []
        self.seconds = 0.0

    def run(self, inputs: Sequence[Any]) -> list[Outcome]:
        """One outcome for each input. Raises DeviceFaultError: none of them is answered, all may run elsewhere."""
        size = self._max_batch_size
        began = time.perf_counter()
        try:
            return [outcome for start in range(0, len(inputs), size) for outcome in self._batch(list(inputs[start : start + size]))]
        finally:
            self.seconds += time.perf_counter() - began

    def _batch(self, inputs: list[Any]) -> list[Outcome]:
        self.sizes.append(len(inputs))
        try:
            return _matched(self._steps(inputs, self._around), len(inputs))
        except Exception as error:
            fault = classify(error)
            if fault is Fault.DEVICE:
                raise DeviceFaultError(str(error)) from error
            if len(inputs) == 1:
                return [Failure(problem_of(error, fault))]
        # Out of the handler, since the error's frames hold what the batch used, and would be the context of the halves' own errors.
        return self._halves(inputs, fault)

    def _halves(self, inputs: list[Any], fault: Fault) -> list[Outcome]:
        if fault is Fault.OUT_OF_MEMORY:
            log.warning("Out of memory with a batch of %d: trying halves", len(inputs))
            _free_device_memory()
        half = len(inputs) // 2
        return self._batch(inputs[:half]) + self._batch(inputs[half:])


def _matched(outputs: Any, count: int) -> list[Outcome]:
    """Each output for its input; outputs that cannot be matched fail the batch, with words that say why."""
    values = _listed(outputs)
    if values is not None and len(values) == count:
        return [Failure(value.problem) if isinstance(value, InferenceError) else Output(value) for value in values]
    got = f"{type(outputs).__name__}, which is not a list" if values is None else f"{len(values)} outputs"
    problem = Problem(500, f"The pipeline returned {got} for {count} inputs.", "wrong_output_length", new_error_id())
    log.error("%s: %s", problem.error_id, problem.detail)
    return [Failure(problem)] * count


def _listed(outputs: Any) -> list[Any] | None:
    if isinstance(outputs, (list, tuple)):
        return list(outputs)
    if hasattr(outputs, "tolist") and getattr(outputs, "ndim", 0) > 0:  # numpy's and torch's arrays
        return list(outputs.tolist())
    return None


def _step(method: Any) -> Callable[[list[Any], Any], Any] | None:
    """A step as a function of the batch's inputs and the last step's result."""
    if method is None:
        return None
    if _takes_two(method):
        return method  # type: ignore[no-any-return]
    return lambda _, data: method(data)


def _only_streams(_: Any) -> Any:
    raise InferenceError("This model answers piece by piece alone: POST /predict_stream.", status=501, kind="only_streams")  # noqa: EM101


def _takes_two(method: Any) -> bool:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        parameters = inspect.signature(method).parameters.values()
    except ValueError:  # written in C, without a word about its parameters
        return False
    return len([each for each in parameters if each.kind in kinds and each.default is inspect.Parameter.empty]) >= 2  # noqa: PLR2004


async def _await(awaitable: Any) -> Any:
    return await awaitable


def _free_device_memory() -> None:
    """What the failed batch left in torch's cache is memory that the halves can use."""
    import sys  # noqa: PLC0415

    if torch := sys.modules.get("torch"):
        try:
            torch.cuda.empty_cache()
        except Exception:  # no device, or one that is gone: the halves will show it
            log.debug("torch.cuda.empty_cache failed", exc_info=True)
