"""The machines there are, and what their tasks book. Today: this one."""

import math
from collections.abc import Sequence
from dataclasses import replace

from freehold.control.services.tasks import Tasks
from freehold.domain import gpus
from freehold.domain.errors import InvalidRequest
from freehold.domain.functions import ResourceRequest
from freehold.domain.gpus import GpuFallback
from freehold.domain.placement import Amounts, Booking, Fleet, Machine, Placement, booking_for

_ON_THE_CPU = "it runs on the CPU (gpu_fallback)"
_HOW_TO_FALL_BACK = (
    "To run such functions on the CPU, for development: `freehold down`, then `freehold up --detach --gpu-fallback cpu`; "
    'gpu_fallback = "cpu" in config.toml keeps it so.'
)


class Machines:
    def __init__(self, *, tasks: Tasks, machine: Machine, largest_booking: Amounts, gpu_fallback: GpuFallback = GpuFallback.REFUSE) -> None:
        """`largest_booking` is what a single task may book at most: the machine itself, not overcommitted."""
        self._tasks = tasks
        self._machine = machine
        self._largest = largest_booking
        self._gpu_fallback = gpu_fallback

    def booking(self, resources: ResourceRequest) -> Booking:
        booking = booking_for(resources, self._largest)
        return replace(booking, gpus=()) if self._falls_back(resources) else booking

    def fleet(self) -> Fleet:
        """With what all tasks that have not ended book now."""
        fleet = Fleet([self._machine])
        for task in self._tasks.all():
            fleet.book(self._machine.id, task.booked)
        return fleet

    def devices(self, placement: Placement) -> tuple[int, ...]:
        """The GPUs, by index, that a task which is placed now gets, and no other one has."""
        return self._machine.pick(placement.amounts.gpus, self._taken())

    def devices_to_share(self, resources: ResourceRequest) -> tuple[int, ...]:
        """For a build, which books nothing: devices that no task has, if there are enough, or else some that others use too."""
        wanted = next(self._machine.ways(self.booking(resources)), Amounts()).gpus
        free = self._machine.pick(wanted, self._taken())
        return free if len(free) == sum(count for _, count in wanted) else self._machine.pick(wanted, ())

    def booked(self, resources: ResourceRequest, devices: Sequence[int]) -> Amounts:
        """What a task that has these GPUs books."""
        kinds = gpus.counted(gpu for gpu in self._machine.gpus if gpu.index in devices)
        return replace(self.booking(resources).amounts, gpus=kinds)

    @property
    def most_tasks(self) -> int:
        return self._machine.total.tasks

    def check(self, what: str, resources: ResourceRequest) -> None:
        """Refuse what no machine can ever give. Raises InvalidRequest."""
        lack = gpus.lack(resources.gpus, self._machine.gpus)
        if lack and not self._falls_back(resources):
            msg = f"{what} {lack}. {_HOW_TO_FALL_BACK}"
            raise InvalidRequest(msg)

    def remark(self, resources: ResourceRequest) -> str:
        """What is to be said of each container that runs on the CPU though its function asks for a GPU; empty for others."""
        return f"{gpus.lack(resources.gpus, self._machine.gpus)}: {_ON_THE_CPU}" if self._falls_back(resources) else ""

    def caution(self, resources: ResourceRequest) -> str:
        """What a request asks for and no machine has, in words; empty if there is nothing to say."""
        lacks = []
        if resources.milli_cpu > self._largest.milli_cpu:
            lacks.append(f"cpu={resources.milli_cpu / 1000:g} and gets what {math.ceil(self._largest.milli_cpu / 1000)} CPUs give")
        if resources.memory_mib > self._largest.memory_mib:
            lacks.append(f"memory={resources.memory_mib} and the machine has {self._largest.memory_mib} MiB")
        return " and ".join(lacks)

    def gpus_in_words(self) -> str:
        """What there is and how many of them tasks have, for `freehold status`."""
        found = f"{gpus.inventory(self._machine.gpus)}; {len(self._taken())} in use" if self._machine.gpus else "none"
        return f"{found} (what is not there runs on the CPU)" if self._gpu_fallback is GpuFallback.CPU else found

    def _taken(self) -> set[int]:
        return {index for task in self._tasks.all() for index in task.task.gpus}

    def _falls_back(self, resources: ResourceRequest) -> bool:
        return self._gpu_fallback is GpuFallback.CPU and bool(gpus.lack(resources.gpus, self._machine.gpus))
