"""The model's side of a call: parcels in, one reply each, whatever the mixture."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modalkit._handler import Handler, stream_pieces
from modalkit._models import Models
from modalkit._parcels import Failure, Item, JobOrder, Output, Parcel
from modalkit.errors import DeviceFaultError, InferenceError


class Naming:
    """Says which model answered; a negative number is refused."""

    def __init__(self, name):
        self.name, self.sizes = name, []

    def predict(self, items):
        self.sizes.append(len(items))
        return [InferenceError("negative", status=422) if item < 0 else f"{self.name}{item}" for item in items]


def load(name):
    if name == "missing":
        msg = "missing.bin"
        raise FileNotFoundError(msg)
    return Naming(name)


def a_handler(loader=load, size=64, deliver=None):
    return Handler(Models(loader), size, "ta-1", deliver)


def a_parcel(model, *inputs, **options):
    return Parcel(model, tuple(Item(each) for each in inputs), **options)


class TestReplies:
    @given(
        st.lists(st.tuples(st.sampled_from(["a", "b", "missing"]), st.lists(st.integers(-2, 9), max_size=5)), max_size=8), st.integers(1, 8)
    )
    def test_every_parcel_has_its_own_outcomes_in_order(self, given, size):
        replies = a_handler(size=size).handle([a_parcel(model, *inputs) for model, inputs in given])
        assert len(replies) == len(given)
        for (model, inputs), reply in zip(given, replies, strict=True):
            assert len(reply.outcomes) == len(inputs)
            for item, outcome in zip(inputs, reply.outcomes, strict=True):
                if model == "missing":
                    assert outcome.problem.kind == "model_not_ready"
                elif item < 0:
                    assert outcome.problem.status == 422
                else:
                    assert outcome == Output(f"{model}{item}")

    def test_items_of_several_parcels_make_one_batch(self):
        """A list given to a batched method arrived as one element."""
        made = []

        def remember(name):
            made.append(Naming(name))
            return made[-1]

        a_handler(remember).handle([a_parcel("a", 1, 2), a_parcel("a", 3), a_parcel("a", 4, 5)])
        assert made[0].sizes == [5]

    def test_items_and_not_requests_are_counted_against_the_batch_size(self):
        made = []

        def remember(name):
            made.append(Naming(name))
            return made[-1]

        a_handler(remember, size=4).handle([a_parcel("a", *range(6)), a_parcel("a", *range(3))])
        assert made[0].sizes == [4, 4, 1]

    def test_a_device_fault_answers_nobody(self):
        class Broken:
            def __init__(self, name):
                pass

            def predict(self, items):
                msg = "CUDA error: an illegal memory access was encountered"
                raise RuntimeError(msg)

        with pytest.raises(DeviceFaultError):
            a_handler(Broken).handle([a_parcel("a", 1), a_parcel("a", 2)])


class TestReceipts:
    def test_the_batchs_cost_is_told_once_and_the_waits_by_each(self):
        sent = time.time() - 5
        parcels = [Parcel("a", (Item(1, sent=sent), Item(2, sent=sent))), Parcel("a", (Item(3, sent=sent),))]
        first, second = (reply.receipt for reply in a_handler().handle(parcels))
        assert (first.items, second.items) == (3, 0)
        assert first.batches == (3,)
        assert first.seconds > 0
        assert second.seconds == 0
        assert (len(first.waits), len(second.waits)) == (2, 1)
        assert all(5 <= wait < 60 for wait in (*first.waits, *second.waits))
        assert first.container == second.container == "ta-1"

    def test_a_clock_that_is_behind_makes_no_negative_wait(self):
        (reply,) = a_handler().handle([Parcel("a", (Item(1, sent=time.time() + 100),))])
        assert reply.receipt.waits == (0.0,)

    def test_a_load_is_told_to_the_one_who_waited_for_it(self):
        handler = a_handler()
        first, second = (handler.handle([a_parcel("a", 1)])[0].receipt for _ in range(2))
        assert [name for name, _ in first.loads] == ["a"]
        assert second.loads == ()


class TestStatus:
    def test_a_parcel_without_items_asks_whether_the_model_is_ready(self):
        (reply,) = a_handler().handle([a_parcel("a", asks_status=True)])
        assert reply.status.is_ready
        assert reply.status.loaded == ("a",)
        assert reply.outcomes == ()

    def test_a_model_that_cannot_be_loaded_says_why(self):
        (reply,) = a_handler().handle([a_parcel("missing", asks_status=True)])
        assert not reply.status.is_ready
        assert "FileNotFoundError: missing.bin" in reply.status.reason

    def test_who_does_not_ask_is_not_told(self):
        (reply,) = a_handler().handle([a_parcel("a", 1)])
        assert reply.status is None


class TestDelivery:
    def test_jobs_are_delivered_and_requests_are_not(self):
        seen = []

        def deliver(ended, model):
            seen.extend((each.item.input, each.outcome) for each in ended if each.item.order)
            return [each.outcome for each in ended]

        handler = a_handler(deliver=deliver)
        handler.handle([a_parcel("a", 1), Parcel("a", (Item(2, order=JobOrder()),))])
        assert seen == [(2, Output("a2"))]


class TestStreams:
    async def pieces(self, stream, item=3):
        class Streaming:
            def __init__(self, name):
                pass

        Streaming.stream = stream
        return [piece async for piece in stream_pieces(Models(Streaming), "a", Item(item))]

    async def test_a_generator_and_an_async_one_give_their_pieces(self):
        def plain(self, item):
            yield from range(item)

        async def later(self, item):
            for piece in range(item):
                yield piece

        assert await self.pieces(plain) == await self.pieces(later) == [0, 1, 2]

    async def test_a_failure_on_the_way_is_the_pipelines_own(self):
        def refusing(self, item):
            yield 1
            raise InferenceError("enough", status=429)  # noqa: EM101

        with pytest.raises(InferenceError) as raised:
            await self.pieces(refusing)
        assert raised.value.problem.status == 429

    async def test_a_broken_device_is_told_as_one(self):
        def broken(self, item):
            yield 1
            msg = "CUDA error: device-side assert triggered"
            raise RuntimeError(msg)

        with pytest.raises(DeviceFaultError):
            await self.pieces(broken)

    async def test_a_model_that_is_not_ready_says_so(self):
        with pytest.raises(InferenceError, match=r"missing\.bin"):
            async for _ in stream_pieces(Models(load), "missing", Item(1)):
                pass


def test_a_failure_of_one_item_is_a_failure():
    (reply,) = a_handler().handle([a_parcel("a", -1, 1)])
    assert isinstance(reply.outcomes[0], Failure)
    assert reply.outcomes[1] == Output("a1")


class TestPipelines:
    def test_one_that_only_streams_says_so_when_it_is_called(self):
        class Streaming:
            def __init__(self, name):
                pass

            def stream(self, item):
                yield item

        (reply,) = a_handler(Streaming).handle([a_parcel("a", 1)])
        assert (reply.outcomes[0].problem.status, reply.outcomes[0].problem.kind) == (501, "only_streams")

    def test_one_that_can_do_nothing_is_not_ready(self):
        class Idle:
            def __init__(self, name):
                pass

        (reply,) = a_handler(Idle).handle([a_parcel("a", asks_status=True)])
        assert "Idle has neither predict nor stream" in reply.status.reason
