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
        self._preprocess = _step(getattr(pipeline, "preprocess", None))
        self._predict = _step(pipeline.predict)
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
        except Exception as error:  # noqa: BLE001  # whatever a pipeline raises has an answer
            return self._failed(inputs, error)

    def _failed(self, inputs: list[Any], error: Exception) -> list[Outcome]:
        fault = classify(error)
        if fault is Fault.DEVICE:
            raise DeviceFaultError(str(error)) from error
        if len(inputs) == 1:
            return [Failure(problem_of(error, fault))]
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


def _takes_two(method: Any) -> bool:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(method).parameters.values()
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
