"""Where a task goes, as pure decisions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.domain.functions import ResourceRequest
from freehold.domain.placement import Amounts, Booking, Fleet, Machine, NoPlace, Placement, booking_for, choose, fits

ROOM = Amounts(tasks=4, milli_cpu=8000, memory_mib=4096)


def a_machine(name="m-1", **booked):
    return Machine(id=name, total=ROOM, booked=Amounts(**{"tasks": 0, **booked}))


def asks(gpu_type="", **amounts):
    return Booking(amounts=Amounts(**amounts), gpu_type=gpu_type)


class TestBooking:
    def test_what_is_not_asked_for_books_nothing(self):
        assert booking_for(ResourceRequest(), ROOM).amounts == Amounts(tasks=1)

    def test_what_is_larger_than_the_machine_books_the_whole_of_it(self):
        huge = booking_for(ResourceRequest(milli_cpu=64_000, memory_mib=10**6), ROOM).amounts
        assert (huge.milli_cpu, huge.memory_mib) == (8000, 4096)


class TestChoice:
    def test_the_fullest_machine_that_takes_it(self):
        machines = [a_machine("empty"), a_machine("half", memory_mib=2048), a_machine("full", memory_mib=4000)]
        assert choose(asks(memory_mib=1024), machines) == Placement(machine_id="half", reason="the fullest of 3 that takes it")

    def test_a_machine_that_has_much_of_what_is_asked_takes_it_though_it_is_short_of_something_else(self):
        """It is not among those that the order is certain of."""
        assert choose(asks(memory_mib=4000), [a_machine(milli_cpu=8000)]).machine_id == "m-1"

    @pytest.mark.parametrize(
        ("booked", "asked", "words"),
        [
            ({"tasks": 4}, {}, "The machine is full: 4 of 4 tasks run."),
            ({"memory_mib": 4000}, {"memory_mib": 512}, "512 MiB of memory are asked for and 96 of 4096 MiB are not booked"),
            ({"milli_cpu": 7500}, {"milli_cpu": 1000}, "1 CPUs are asked for and 0.5 of 8 are not booked"),
        ],
    )
    def test_what_is_short_is_said(self, booked, asked, words):
        no_place = choose(asks(**asked), [a_machine(**booked)])
        assert words in no_place.reason
        assert not no_place.is_for_good

    def test_what_no_machine_could_ever_take_is_said_so(self):
        assert choose(asks(gpus=2, gpu_type="H100"), [a_machine()]) == NoPlace(
            reason="No machine has 2 GPUs of type H100.", is_for_good=True
        )

    def test_gpus_go_by_type(self):
        total = Amounts(tasks=4, milli_cpu=8000, memory_mib=4096, gpus=2)
        machines = [Machine(id="a10", total=total, gpu_type="A10"), Machine(id="t4", total=total, gpu_type="T4")]
        assert choose(asks(gpus=1, gpu_type="t4"), machines).machine_id == "t4"
        assert choose(asks(gpus=3, gpu_type="t4"), machines).is_for_good

    def test_what_was_refused_is_taken_once_something_is_free_again(self):
        fleet = Fleet([a_machine(tasks=4)])
        assert isinstance(fleet.choose(asks()), NoPlace)
        fleet.release("m-1", Amounts())
        assert isinstance(fleet.choose(asks()), Placement)


amounts = st.builds(
    Amounts, tasks=st.just(1), milli_cpu=st.sampled_from([0, 125, 1000, 4000]), memory_mib=st.sampled_from([0, 128, 1024, 3000])
)


class TestWhateverHappens:
    @given(st.lists(amounts, max_size=40))
    def test_no_machine_is_ever_overbooked_and_no_task_refused_that_fits(self, asked):
        fleet = Fleet([a_machine(f"m-{i}") for i in range(5)])
        for item in asked:
            booking = Booking(amounts=item)
            could = any(fits(machine, booking) for machine in fleet.machines)
            found = fleet.choose(booking)
            assert isinstance(found, Placement) == could
            if isinstance(found, Placement):
                fleet.book(found.machine_id, item)
        assert all(machine.free.covers(Amounts(tasks=0)) for machine in fleet.machines)

    @given(st.lists(amounts, max_size=20))
    def test_what_is_booked_and_released_leaves_nothing(self, asked):
        fleet = Fleet([a_machine(f"m-{i}") for i in range(3)])
        placed = []
        for item in asked:
            if isinstance(found := fleet.choose(Booking(amounts=item)), Placement):
                fleet.book(found.machine_id, item)
                placed.append((found.machine_id, item))
        for machine_id, item in placed:
            fleet.release(machine_id, item)
        assert all(machine.booked == Amounts(tasks=0) for machine in fleet.machines)
