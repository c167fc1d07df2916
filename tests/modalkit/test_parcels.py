"""What travels arrives as it was, by whichever pickler takes it."""

import io
import pickle
import threading

import cloudpickle
import pytest

from modalkit._parcels import Failure, Item, ModelStatus, Output, Parcel, Receipt, Reply
from modalkit.errors import Problem
from modalkit.iomodel import InputModel


class Number(InputModel):
    value: float


class Counting(cloudpickle.Pickler):
    """A pickler that asks about every object, as the SDK's does."""

    asked = 0

    def persistent_id(self, _):
        type(self).asked += 1


def travelled(thing):
    return pickle.loads(cloudpickle.dumps(thing))


class TestParcels:
    def test_a_parcel_arrives_as_it_was(self):
        parcel = Parcel("m", (Item(Number(value=1.5), {"traceparent": "00-1"}, sent=2.0), Item("text")), asks_status=True)
        assert travelled(parcel) == parcel

    def test_a_reply_arrives_as_it_was(self):
        reply = Reply((Output([1]), Failure(Problem(422, "no", "k"))), Receipt("c", 0.5, 2, (2,), (0.1,)), ModelStatus("m", is_ready=True))
        assert travelled(reply) == reply

    def test_what_the_plain_pickler_cannot_take_is_left_to_the_other(self):
        made = travelled(Parcel("m", (Item(lambda x: x + 1),)))
        assert made.items[0].input(1) == 2

    def test_classes_of_a_script_travel_by_value(self):
        Scripted = type("Scripted", (), {"__module__": "__main__", "word": "here"})  # noqa: N806
        import __main__  # noqa: PLC0415

        __main__.Scripted = Scripted
        try:
            sent = cloudpickle.dumps(Parcel("m", (Item(Scripted()),)))
        finally:
            del __main__.Scripted
        assert pickle.loads(sent).items[0].input.word == "here"

    def test_what_nobody_can_pickle_is_an_error(self):
        with pytest.raises(TypeError):
            cloudpickle.dumps(Parcel("m", (Item(threading.Lock()),)))

    def test_the_number_of_objects_that_the_sdk_looks_at_does_not_grow_with_the_items(self):
        def asked(count):
            Counting.asked = 0
            Counting(io.BytesIO()).dump(Parcel("m", tuple(Item(Number(value=each)) for each in range(count))))
            return Counting.asked

        assert asked(64) == asked(1)
