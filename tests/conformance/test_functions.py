"""Calling functions: one value or many, waiting or not, and what comes back when they fail."""

import os
import traceback
from collections.abc import Iterator

import modal
import pytest

from conformance.deployment import Deployment, deployed
from conformance.engine import APPS, Engine
from conformance.waiting import eventually

SIX_MB = 6 * 1024 * 1024  # above what travels inside a message


@pytest.fixture(scope="module")
def app(engine: Engine) -> Iterator[Deployment]:
    with deployed(engine, "functions.py") as app:
        yield app


class TestRemote:
    def test_a_value_goes_in_and_one_comes_out(self, app: Deployment) -> None:
        assert app.function("square").remote(7) == 49

    async def test_the_async_form_gives_the_same(self, app: Deployment) -> None:
        assert await app.function("add").remote.aio(40, y=2) == 42

    def test_functions_call_each_other(self, app: Deployment) -> None:
        assert app.function("square_plus").remote(3) == 12

    def test_another_process_calls_it_by_name(self, app: Deployment) -> None:
        ran = app.engine.python(APPS / "call_by_name.py", app.name, "square", "9").succeeded()

        assert ran.output.strip() == "81"

    def test_a_name_that_is_not_there_is_said_so(self, app: Deployment) -> None:
        with pytest.raises(modal.exception.NotFoundError, match="cuboid"):
            app.function("cuboid").remote(1)

    def test_a_serialized_function_needs_no_source(self, engine: Engine) -> None:
        ran = engine.python(APPS / "serialized.py", "6").succeeded()

        assert "scaled: 42" in ran.output

    def test_a_function_over_its_time_is_ended(self, app: Deployment) -> None:
        with pytest.raises(modal.exception.FunctionTimeoutError):
            app.function("sleep").remote(600)

        assert app.function("sleep").remote(0) == 0, "the next call works"

    def test_retries_hide_what_passes(self, app: Deployment) -> None:
        assert app.function("third_time_lucky").remote() == 3


class TestMap:
    def test_results_come_in_the_order_of_the_inputs(self, app: Deployment) -> None:
        naps = [1.5, 0, 0.2, 0]

        assert list(app.function("nap").map(naps)) == naps

    def test_or_as_they_are_ready(self, app: Deployment) -> None:
        results = list(app.function("nap").map([4, 0, 0.2, 0], order_outputs=False))

        assert results[-1] == 4
        assert sorted(results) == [0, 0, 0.2, 4]

    def test_many_inputs_are_all_answered_once(self, app: Deployment) -> None:
        assert list(app.function("square").map(range(300))) == [x * x for x in range(300)]

    def test_the_first_error_ends_it(self, app: Deployment) -> None:
        with pytest.raises(ZeroDivisionError):
            list(app.function("invert").map([1, 0, 2]))

    def test_errors_may_come_as_values(self, app: Deployment) -> None:
        half, error, quarter = app.function("invert").map([2, 0, 4], return_exceptions=True)

        assert (half, quarter) == (0.5, 0.25)
        assert isinstance(error, ZeroDivisionError)

    def test_starmap_spreads_tuples_over_parameters(self, app: Deployment) -> None:
        assert list(app.function("add").starmap([(1, 2), (3, 4)])) == [3, 7]

    def test_for_each_runs_all_and_gives_nothing(self, app: Deployment) -> None:
        assert app.function("invert").for_each([101, 102]) is None

        eventually(lambda: {"inverting 101", "inverting 102"} <= set(app.logs().splitlines()), within=60, what="Both lines in the log")

    async def test_the_async_form_of_map_works(self, app: Deployment) -> None:
        assert [result async for result in app.function("square").map.aio([1, 2, 3])] == [1, 4, 9]


class TestSpawn:
    def test_the_result_is_fetched_later(self, app: Deployment) -> None:
        call = app.function("square").spawn(5)

        assert call.get(timeout=60) == 25
        assert call.get(timeout=60) == 25, "it can be fetched again"

    def test_a_result_that_is_not_ready_is_a_timeout(self, app: Deployment) -> None:
        call = app.function("nap").spawn(3)

        with pytest.raises(TimeoutError):
            call.get(timeout=0)
        assert call.get(timeout=60) == 3

    def test_its_id_finds_it_from_anywhere(self, app: Deployment) -> None:
        call_id = app.function("square").spawn(6).object_id

        assert modal.FunctionCall.from_id(call_id).get(timeout=60) == 36

    def test_gather_waits_for_several(self, app: Deployment) -> None:
        calls = [app.function("square").spawn(x) for x in (1, 2, 3)]

        assert list(modal.FunctionCall.gather(*calls)) == [1, 4, 9]

    def test_a_spawned_map_is_read_by_position(self, app: Deployment) -> None:
        call = app.function("square").experimental_spawn_map([3, 4, 5])

        assert modal.FunctionCall.from_id(call.object_id).num_inputs() == 3
        assert [call.get(timeout=60, index=position) for position in range(3)] == [9, 16, 25]

    def test_an_error_waits_for_its_reader(self, app: Deployment) -> None:
        call = app.function("invert").spawn(0)

        with pytest.raises(ZeroDivisionError):
            call.get(timeout=60)

    def test_a_cancelled_call_ends(self, app: Deployment) -> None:
        call = app.function("nap").spawn(60)

        call.cancel()

        with pytest.raises((modal.exception.RemoteError, modal.exception.InputCancellation)):
            call.get(timeout=60)


class TestGenerators:
    def test_values_come_one_by_one(self, app: Deployment) -> None:
        assert list(app.function("count_to").remote_gen(4)) == [1, 2, 3, 4]

    async def test_a_value_arrives_before_the_next_is_made(self, app: Deployment) -> None:
        """Which is made only when another call has told the generator to."""
        count = app.function("count_when_told").remote_gen
        numbers = count.aio(3)

        for number in (1, 2, 3):
            assert await anext(numbers) == number
            assert [told async for told in count.aio(0)] == ["go on"]

        with pytest.raises(StopAsyncIteration):
            await anext(numbers)

    def test_what_was_yielded_before_an_error_arrives(self, app: Deployment) -> None:
        count = app.function("count_and_fall").remote_gen
        numbers = count(2)

        assert [next(numbers), next(numbers)] == [1, 2]
        assert list(count(0)) == ["fall"]
        with pytest.raises(RuntimeError, match="fell at 2"):
            next(numbers)


class TestErrors:
    def test_the_traceback_shows_the_lines_in_the_container(self, app: Deployment) -> None:
        with pytest.raises(ZeroDivisionError) as caught:
            app.function("invert").remote(0)

        shown = "".join(traceback.format_exception(caught.value))
        assert "functions.py" in shown
        assert "in invert" in shown

    def test_a_users_own_error_keeps_its_type_and_values(self, engine: Engine) -> None:
        ran = engine.python(APPS / "own_errors.py").succeeded()

        assert "caught: ('apples', 12)" in ran.output

    def test_a_type_that_is_unknown_here_comes_as_text(self, app: Deployment) -> None:
        with pytest.raises(modal.exception.ExecutionError, match="OutOfStock"):
            app.function("order").remote("pears", 1)


class TestPayloads:
    def test_large_arguments_and_results_pass(self, app: Deployment) -> None:
        data = os.urandom(SIX_MB)

        _, reversed_data = app.function("digest_and_reverse").remote(data)

        assert reversed_data == data[::-1]

    def test_large_values_pass_through_spawn_and_map(self, app: Deployment) -> None:
        pieces = [os.urandom(3 * 1024 * 1024) for _ in range(3)]

        call = app.function("digest_and_reverse").spawn(pieces[0])
        mapped = list(app.function("digest_and_reverse").map(pieces))

        assert [piece[::-1] for piece in pieces] == [result for _, result in mapped]
        assert call.get(timeout=60) == mapped[0]

    def test_a_spawned_call_takes_more_than_8_kib(self, app: Deployment) -> None:
        data = os.urandom(100 * 1024)

        assert app.function("digest_and_reverse").spawn(data).get(timeout=60)[1] == data[::-1]

    def test_cbor_travels_both_ways(self, app: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MODAL_PAYLOAD_FORMAT", "cbor")

        answer = app.function("echo").remote((1, 2), {"pi": 3.5}, name="ada", raw=b"\x00\xff")

        # CBOR knows no tuples: that they come back as lists shows that nothing was pickled.
        assert answer == [[1, 2], {"pi": 3.5}, ["name", "ada"], ["raw", b"\x00\xff"]]
