"""One outcome for each input, in order, whatever the pipeline does."""

import contextlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modalkit._batches import Batches, Steps
from modalkit._parcels import Failure, Output
from modalkit.errors import DeviceFaultError, InferenceError
from modalkit.inference_pipeline import InferencePipeline


class Doubling:
    def predict(self, items):
        return [2 * item for item in items]


class Picky:
    """Fails a whole batch for one bad item, as models do; remembers what it was given."""

    def __init__(self, bad=(), memory=1000, error=ValueError):
        self.bad, self.memory, self.error, self.seen = set(bad), memory, error, []

    def predict(self, items):
        self.seen.append(list(items))
        if len(items) > self.memory:
            msg = "CUDA out of memory. Tried to allocate 2.00 GiB"
            raise RuntimeError(msg)
        for item in items:
            if item in self.bad:
                raise self.error(item)
        return [2 * item for item in items]


def nothing(name):
    return contextlib.nullcontext()


@contextlib.contextmanager
def batches_of(pipeline, size=64, around=nothing):
    steps = Steps(pipeline)
    try:
        yield Batches(steps, size, around)
    finally:
        steps.close()


def run(pipeline, inputs, size=64):
    with batches_of(pipeline, size) as batches:
        return batches.run(inputs)


def values(outcomes):
    return [outcome.value for outcome in outcomes]


class TestSizes:
    def test_not_more_than_the_size_at_once(self):
        with batches_of(Doubling(), 3) as batches:
            assert values(batches.run(range(7))) == [0, 2, 4, 6, 8, 10, 12]
            assert batches.sizes == [3, 3, 1]

    def test_no_items_are_no_batch(self):
        with batches_of(Doubling()) as batches:
            assert batches.run([]) == []
            assert batches.sizes == []

    def test_the_seconds_of_all_batches_are_counted(self):
        with batches_of(Doubling(), 1) as batches:
            batches.run([1, 2])
            assert batches.seconds > 0


class TestOneBadItem:
    def test_it_fails_alone(self):
        """One bad item failed its batch."""
        outcomes = run(Picky(bad={3}), range(8))
        assert [isinstance(outcome, Failure) for outcome in outcomes] == [False, False, False, True, False, False, False, False]
        assert outcomes[3].problem.detail == "ValueError: 3"
        assert values(outcomes[:3]) == [0, 2, 4]

    def test_finding_it_takes_a_few_batches_and_not_one_an_item(self):
        pipeline = Picky(bad={17})
        run(pipeline, range(64))
        assert len(pipeline.seen) == 1 + 2 * 6

    def test_a_status_that_the_pipeline_raised_for_it_is_its_own(self):
        def refuse(item):
            return InferenceError(f"no {item}", status=422)

        outcomes = run(Picky(bad={1}, error=refuse), [0, 1, 2])
        assert outcomes[1].problem.status == 422
        assert values([outcomes[0], outcomes[2]]) == [0, 4]

    def test_an_inference_error_returned_in_its_place_fails_it_alone_and_at_once(self):
        class Returning:
            calls = 0

            def predict(self, items):
                self.calls += 1
                return [InferenceError("odd", status=422) if item % 2 else item for item in items]

        pipeline = Returning()
        outcomes = run(pipeline, range(4))
        assert [type(outcome) for outcome in outcomes] == [Output, Failure, Output, Failure]
        assert pipeline.calls == 1

    @given(st.lists(st.integers(0, 9), max_size=40), st.sets(st.integers(0, 9)), st.integers(1, 16), st.integers(1, 16))
    def test_outcomes_always_match_their_inputs(self, inputs, bad, size, memory):
        outcomes = run(Picky(bad=bad, memory=memory), inputs, size)
        assert len(outcomes) == len(inputs)
        for item, outcome in zip(inputs, outcomes, strict=True):
            if item in bad:
                assert outcome.problem.detail == f"ValueError: {item}"
            else:
                assert outcome == Output(2 * item)

    @given(st.lists(st.integers(), min_size=1, max_size=40, unique=True), st.data())
    def test_every_good_item_succeeds_in_one_batch(self, inputs, data):
        """Whatever is tried on the way, no item is answered twice."""
        pipeline = Picky(bad=data.draw(st.sets(st.sampled_from(inputs))))
        run(pipeline, inputs)
        answered = Counter(item for batch in pipeline.seen for item in batch if not pipeline.bad & set(batch))
        assert answered == Counter(item for item in inputs if item not in pipeline.bad)


class TestMemory:
    def test_a_batch_that_needs_too_much_is_halved(self):
        pipeline = Picky(memory=4)
        with batches_of(pipeline, 16) as batches:
            assert values(batches.run(range(16))) == [2 * item for item in range(16)]
        assert [len(batch) for batch in pipeline.seen] == [16, 8, 4, 4, 8, 4, 4]

    def test_one_item_that_alone_needs_too_much_is_answered(self):
        (outcome,) = run(Picky(memory=0), [1])
        assert (outcome.problem.status, outcome.problem.kind) == (503, "out_of_memory")


class TestDeviceFaults:
    def test_the_batch_is_given_back_whole(self):
        """The batch was lost with its container."""

        def broken(item):
            return RuntimeError("CUDA error: device-side assert triggered")

        with pytest.raises(DeviceFaultError, match="device-side assert"):
            run(Picky(bad={2}, error=broken), range(4))


class TestLengths:
    @pytest.mark.parametrize(
        ("returned", "words"),
        [
            ([1], "1 outputs for 3 inputs"),
            ([1, 2, 3, 4], "4 outputs for 3 inputs"),
            ([], "0 outputs for 3 inputs"),
            (None, "NoneType, which is not a list for 3 inputs"),
            ({"a": 1}, "dict, which is not a list for 3 inputs"),
            ("abc", "str, which is not a list for 3 inputs"),
            (np.array(3), "ndarray, which is not a list for 3 inputs"),
        ],
    )
    def test_a_wrong_length_is_an_error_that_says_so(self, returned, words):
        """`zip` cut the longer one in silence."""

        class Wrong:
            def predict(self, items):
                return returned

        outcomes = run(Wrong(), [1, 2, 3])
        assert [outcome.problem.kind for outcome in outcomes] == ["wrong_output_length"] * 3
        assert words in outcomes[0].problem.detail

    @pytest.mark.parametrize("returned", [np.array([1, 2]), (1, 2), np.array([1.0, 2.0], dtype=np.float32)])
    def test_arrays_and_tuples_are_lists(self, returned):
        class Arrays:
            def predict(self, items):
                return returned

        outcomes = run(Arrays(), "ab")
        assert values(outcomes) == [1, 2]
        assert not any(isinstance(value, np.generic) for value in values(outcomes))

    def test_rows_of_a_matrix_are_outputs(self):
        class Matrix:
            def predict(self, items):
                return np.eye(2)

        assert values(run(Matrix(), "ab")) == [[1, 0], [0, 1]]


class TestSteps:
    def test_three_steps_run_in_their_order(self):
        class Three(InferencePipeline):
            def preprocess(self, inputs):
                return np.array(inputs)

            def predict(self, data):
                return data + 1

            def postprocess(self, raw):
                return [f"<{each}>" for each in raw]

        assert values(run(Three("m", "f", {}), [1, 2])) == ["<2>", "<3>"]

    def test_a_pipeline_needs_predict_alone(self):
        class Least(InferencePipeline):
            def predict(self, data):
                return np.array(data) * 2

        assert values(run(Least("m", "f", {}), [1, 2])) == [2, 4]

    def test_a_step_with_two_parameters_is_given_the_inputs_first(self):
        class Two:
            def preprocess(self, inputs):
                return [item * 10 for item in inputs]

            def predict(self, inputs, data):
                return list(zip(inputs, data, strict=True))

            def postprocess(self, inputs, raw, extra=None):
                return [(item, each) for item, each in zip(inputs, raw, strict=True)]

        assert values(run(Two(), [1, 2])) == [(1, (1, 10)), (2, (2, 20))]

    def test_async_steps_are_awaited_in_one_loop(self):
        import asyncio  # noqa: PLC0415

        class Slow:
            def __init__(self):
                self.loops = set()

            async def preprocess(self, inputs):
                self.loops.add(id(asyncio.get_running_loop()))
                await asyncio.sleep(0)
                return inputs

            async def predict(self, items):
                self.loops.add(id(asyncio.get_running_loop()))
                return [2 * item for item in items]

        pipeline = Slow()
        assert values(run(pipeline, range(4), size=2)) == [0, 2, 4, 6]
        assert len(pipeline.loops) == 1

    def test_a_builtin_that_says_nothing_of_its_parameters_is_given_the_items(self):
        class Opaque:
            predict = staticmethod(iter)  # its signature cannot be read

            def postprocess(self, raw):
                return list(raw)

        assert values(run(Opaque(), [1, 2])) == [1, 2]

    def test_each_step_runs_in_its_own_span(self):
        seen = []

        @contextlib.contextmanager
        def around(name):
            seen.append(name)
            yield

        with batches_of(Doubling(), around=around) as batches:
            batches.run([1])
        assert seen == ["preprocess", "predict", "postprocess"]
