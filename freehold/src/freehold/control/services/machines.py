"""The machines there are, and what their tasks book. Today: this one."""

import math

from freehold.control.services.tasks import Tasks
from freehold.domain.functions import ResourceRequest
from freehold.domain.placement import Amounts, Booking, Fleet, Machine, booking_for


class Machines:
    def __init__(self, *, tasks: Tasks, machine: Machine, largest_booking: Amounts) -> None:
        """`largest_booking` is what a single task may book at most: the machine itself, not overcommitted."""
        self._tasks = tasks
        self._machine = machine
        self._largest = largest_booking

    def booking(self, resources: ResourceRequest) -> Booking:
        return booking_for(resources, self._largest)

    def fleet(self) -> Fleet:
        """With what all tasks that have not ended book now."""
        fleet = Fleet([self._machine])
        for task in self._tasks.all():
            fleet.book(self._machine.id, task.booked)
        return fleet

    @property
    def most_tasks(self) -> int:
        return self._machine.total.tasks

    def caution(self, resources: ResourceRequest) -> str:
        """What a request asks for and no machine has, in words; empty if there is nothing to say."""
        lacks = []
        if resources.milli_cpu > self._largest.milli_cpu:
            lacks.append(f"cpu={resources.milli_cpu / 1000:g} and gets what {math.ceil(self._largest.milli_cpu / 1000)} CPUs give")
        if resources.memory_mib > self._largest.memory_mib:
            lacks.append(f"memory={resources.memory_mib} and the machine has {self._largest.memory_mib} MiB")
        return " and ".join(lacks)
