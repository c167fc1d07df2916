"""Where a task goes, as pure decisions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.domain.functions import ResourceRequest
from freehold.domain.gpus import Gpu, GpuRequest, counted
from freehold.domain.placement import Amounts, Booking, Fleet, Machine, NoPlace, Placement, booking_for, choose, fits

ROOM = Amounts(tasks=4, milli_cpu=8000, memory_mib=4096)


def a_machine(name="m-1", **booked):
    return Machine(id=name, total=ROOM, booked=Amounts(**{"tasks": 0, **booked}))


def a_gpu_machine(*names, booked=(), name="m-1"):
    gpus = tuple(Gpu(index=index, name=kind, memory_mib=16_384) for index, kind in enumerate(names))
    total = Amounts(tasks=4, milli_cpu=8000, memory_mib=4096, gpus=counted(gpus))
    return Machine(id=name, total=total, booked=Amounts(tasks=0, gpus=booked), gpus=gpus)


def asks(*gpus, **amounts):
    return Booking(amounts=Amounts(**amounts), gpus=tuple(GpuRequest(type=kind, count=count) for kind, count in gpus))


class TestBooking:
    def test_what_is_not_asked_for_books_nothing(self):
        assert booking_for(ResourceRequest(), ROOM).amounts == Amounts(tasks=1)

    def test_what_is_larger_than_the_machine_books_the_whole_of_it(self):
        huge = booking_for(ResourceRequest(milli_cpu=64_000, memory_mib=10**6), ROOM).amounts
        assert (huge.milli_cpu, huge.memory_mib) == (8000, 4096)


class TestChoice:
    def test_the_fullest_machine_that_takes_it(self):
        machines = [a_machine("empty"), a_machine("half", memory_mib=2048), a_machine("full", memory_mib=4000)]
        assert choose(asks(memory_mib=1024), machines) == Placement(
            machine_id="half", reason="the fullest of 3 that takes it", amounts=Amounts(memory_mib=1024)
        )

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

    def test_what_was_refused_is_taken_once_something_is_free_again(self):
        fleet = Fleet([a_machine(tasks=4)])
        assert isinstance(fleet.choose(asks()), NoPlace)
        fleet.release("m-1", Amounts())
        assert isinstance(fleet.choose(asks()), Placement)


class TestGpus:
    def test_those_are_booked_that_are_asked_for(self):
        found = choose(asks(("A10", 2)), [a_gpu_machine("Tesla T4", "NVIDIA A10", "NVIDIA A10")])
        assert found.amounts == Amounts(gpus=(("NVIDIA A10", 2),))

    def test_they_are_counted_by_kind(self):
        machine = a_gpu_machine("Tesla T4", "NVIDIA A10", booked=(("Tesla T4", 1),))
        assert choose(asks(("T4", 1)), [machine]).reason == "The machine is full: 1 x Tesla T4 are asked for and 0 of 1 are free."
        assert choose(asks(("ANY", 1)), [machine]) == choose(asks(("A10", 1)), [machine])

    def test_several_of_one_container_are_of_one_kind(self):
        assert choose(asks(("ANY", 2)), [a_gpu_machine("Tesla T4", "NVIDIA A10")]).is_for_good

    def test_of_alternatives_the_first_that_is_free_anywhere(self):
        busy = a_gpu_machine("NVIDIA H100 PCIe", booked=(("NVIDIA H100 PCIe", 1),), name="busy")
        free = a_gpu_machine("NVIDIA H100 PCIe", name="free")
        other = a_gpu_machine("Tesla T4", name="other")
        wanted = asks(("H100", 1), ("T4", 1))
        assert choose(wanted, [busy, free, other]).machine_id == "free"
        assert choose(wanted, [busy, other]).machine_id == "other"

    def test_what_no_machine_could_ever_give_is_said_so_with_what_there_is(self):
        assert choose(asks(("H100", 2)), [a_machine()]) == NoPlace(
            reason='It asks for gpu="H100:2", and there is no GPU here.', is_for_good=True
        )
        few = choose(asks(("H100", 1), ("T4", 3)), [a_gpu_machine("Tesla T4", "Tesla T4")])
        assert few == NoPlace(reason='It asks for gpu=["H100", "T4:3"], and what is here is 2 x Tesla T4.', is_for_good=True)

    def test_no_device_is_picked_twice(self):
        machine = a_gpu_machine("Tesla T4", "NVIDIA A10", "Tesla T4", "Tesla T4")
        assert machine.pick((("Tesla T4", 2),), taken={0}) == (2, 3)

    def test_who_wants_none_is_not_in_the_way_of_those_who_do(self):
        machine = a_gpu_machine("Tesla T4", booked=(("Tesla T4", 1),))
        assert fits(machine, asks()) == Amounts()


amounts = st.builds(
    Amounts, tasks=st.just(1), milli_cpu=st.sampled_from([0, 125, 1000, 4000]), memory_mib=st.sampled_from([0, 128, 1024, 3000])
)


class TestWhateverHappens:
    @given(st.lists(amounts, max_size=40))
    def test_no_machine_is_ever_overbooked_and_no_task_refused_that_fits(self, asked):
        fleet = Fleet([a_machine(f"m-{i}") for i in range(5)])
        for item in asked:
            booking = Booking(amounts=item)
            could = any(fits(machine, booking) is not None for machine in fleet.machines)
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
