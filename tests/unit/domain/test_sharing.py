"""Who gets the room there is, and who makes room."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from freehold.domain.gpus import Gpu, GpuRequest, counted
from freehold.domain.ids import FunctionId, TaskId
from freehold.domain.placement import Amounts, Booking, Fleet, Machine
from freehold.domain.sharing import Holder, Owner, Wish, make_room, share_out

ONE = Booking(amounts=Amounts())


def a_fleet(free, taken=0):
    return Fleet([Machine(id="m", total=Amounts(tasks=free + taken, milli_cpu=1000, memory_mib=1000), booked=Amounts(tasks=taken))])


def a_wish(name, start=1, tasks=0, waited=1.0, booking=ONE):
    return Wish(
        function_id=FunctionId(name),
        booking=booking,
        start=start,
        tasks=tasks,
        waited=timedelta(seconds=waited),
        is_waiting=waited > 0,
    )


def a_holder(name, function, idle=None, **changes):
    idle_for = None if idle is None else timedelta(seconds=idle)
    given = {"task_id": TaskId(name), "function_id": FunctionId(function), "machine_id": "m", "amounts": Amounts(), "idle_for": idle_for}
    return Holder(**{**given, **changes})


def granted(wishes, fleet):
    return [grant.function_id for grant in share_out(wishes, fleet)[0]]


def room_for(wish, holders, least=0):
    fleet = a_fleet(0, taken=len(holders))
    _, shortages = share_out([wish], fleet)
    owners = {}
    for holder in holders:
        had = owners.get(holder.function_id, Owner(tasks=0, min_containers=least))
        owners[holder.function_id] = Owner(tasks=had.tasks + (not holder.is_leaving), min_containers=least)
    return [release.task_id for _, release in make_room(shortages, holders, owners, fleet)]


class TestSharing:
    def test_who_has_nothing_comes_before_who_has_waited_longer(self):
        assert granted([a_wish("fu-many", start=3, tasks=2, waited=60), a_wish("fu-none", waited=0.1)], a_fleet(2)) == [
            "fu-none",
            "fu-many",
        ]

    def test_among_those_with_tasks_it_goes_by_waiting_over_tasks(self):
        wishes = [a_wish("fu-a", start=4, tasks=1, waited=4), a_wish("fu-b", start=4, tasks=1, waited=9)]
        assert granted(wishes, a_fleet(4)) == ["fu-b", "fu-b", "fu-a", "fu-b"]

    def test_who_waits_comes_before_who_only_wants_its_minimum(self):
        assert granted([a_wish("fu-min", waited=0), a_wish("fu-waits", tasks=5)], a_fleet(1)) == ["fu-waits"]

    def test_what_is_not_given_is_said_with_its_reason(self):
        _, (shortage,) = share_out([a_wish("fu-a", start=3)], a_fleet(1))
        assert (shortage.granted, shortage.missing) == (1, 2)
        assert "1 of 1 tasks run" in shortage.no_place.reason


class TestRoom:
    def test_the_longest_idle_task_of_another_function_goes(self):
        holders = [a_holder("ta-1", "fu-a", idle=3), a_holder("ta-2", "fu-b", idle=9), a_holder("ta-3", "fu-b")]
        assert room_for(a_wish("fu-new", waited=0.01), holders) == ["ta-2"]

    def test_what_a_minimum_keeps_stays(self):
        assert room_for(a_wish("fu-new", waited=60), [a_holder("ta-1", "fu-a", idle=9)], least=1) == []

    def test_a_busy_task_goes_only_after_a_while_and_not_the_only_one(self):
        several = [a_holder("ta-1", "fu-a"), a_holder("ta-2", "fu-a")]
        assert room_for(a_wish("fu-new", waited=0.5), several) == []
        assert room_for(a_wish("fu-new", waited=1), several) == ["ta-1"]
        assert room_for(a_wish("fu-new", waited=5), [a_holder("ta-1", "fu-a")]) == []

    def test_in_the_end_functions_take_turns(self):
        assert room_for(a_wish("fu-new", waited=10), [a_holder("ta-1", "fu-a")]) == ["ta-1"]

    def test_nobody_goes_while_another_leaves_already(self):
        holders = [a_holder("ta-1", "fu-a", is_leaving=True), a_holder("ta-2", "fu-b", idle=9)]
        assert room_for(a_wish("fu-new"), holders) == []

    def test_as_many_go_as_the_request_needs(self):
        room = {"tasks": 1, "memory_mib": 400}
        holders = [a_holder(f"ta-{i}", "fu-a", idle=9 - i, amounts=Amounts(**room)) for i in range(2)]
        fleet = Fleet([Machine(id="m", total=Amounts(tasks=8, milli_cpu=1, memory_mib=800), booked=Amounts(tasks=2, memory_mib=800))])
        wish = a_wish("fu-new", booking=Booking(amounts=Amounts(memory_mib=800)))
        _, shortages = share_out([wish], fleet)
        owners = {FunctionId("fu-a"): Owner(tasks=2, min_containers=0)}
        assert [release.task_id for _, release in make_room(shortages, holders, owners, fleet)] == ["ta-0", "ta-1"]

    def test_for_a_gpu_only_those_go_that_have_one(self):
        gpus = (Gpu(index=0, name="Tesla T4", memory_mib=16_384),)
        machine = Machine(
            id="m",
            total=Amounts(tasks=8, milli_cpu=1, memory_mib=1, gpus=counted(gpus)),
            booked=Amounts(tasks=2, gpus=counted(gpus)),
            gpus=gpus,
        )
        fleet = Fleet([machine])
        longest = a_holder("ta-none", "fu-a", idle=60)
        has_it = a_holder("ta-gpu", "fu-b", idle=3, amounts=Amounts(gpus=counted(gpus)))
        wish = a_wish("fu-new", booking=Booking(amounts=Amounts(), gpus=(GpuRequest(type="T4"),)))
        _, shortages = share_out([wish], fleet)
        owners = {FunctionId(name): Owner(tasks=1, min_containers=0) for name in ("fu-a", "fu-b")}
        assert [release.task_id for _, release in make_room(shortages, [longest, has_it], owners, fleet)] == ["ta-gpu"]

    def test_a_function_that_has_tasks_gets_only_what_others_left_idle(self):
        assert room_for(a_wish("fu-new", tasks=1, waited=60), [a_holder("ta-1", "fu-a"), a_holder("ta-2", "fu-a", idle=1)]) == []
        assert room_for(a_wish("fu-new", tasks=1, waited=60), [a_holder("ta-1", "fu-a"), a_holder("ta-2", "fu-a", idle=3)]) == ["ta-2"]


class TestWhoeverWants:
    @given(st.integers(0, 6), st.lists(st.tuples(st.integers(1, 5), st.integers(0, 5), st.floats(0, 100)), max_size=6))
    def test_room_is_used_up_before_anyone_is_refused(self, free, wanted):
        wishes = [a_wish(f"fu-{i}", start=start, tasks=tasks, waited=waited) for i, (start, tasks, waited) in enumerate(wanted)]
        grants, shortages = share_out(wishes, a_fleet(free))
        assert len(grants) + sum(shortage.missing for shortage in shortages) == sum(wish.start for wish in wishes)
        assert not shortages or len(grants) == free
