"""The machine of the engine as a place for tasks: what it has, and how much of that may be booked."""

from collections.abc import Sequence

import psutil

from freehold.config import Settings
from freehold.domain.gpus import Gpu, counted
from freehold.domain.placement import Amounts, Machine

_MIB = 1024 * 1024


def capacity(settings: Settings) -> Amounts:
    """CPUs and memory as the settings say, or all that the machine has."""
    cpus = settings.machine_cpus or psutil.cpu_count() or 1
    memory_mib = settings.machine_memory_mib or psutil.virtual_memory().total // _MIB
    return Amounts(tasks=settings.max_tasks, milli_cpu=round(cpus * 1000), memory_mib=memory_mib)


def this_machine(settings: Settings, gpus: Sequence[Gpu]) -> Machine:
    """What may be booked of it: its CPU time several times over, as requests are rarely used in full."""
    has = capacity(settings)
    return Machine(
        id="local",
        total=Amounts(
            tasks=has.tasks,
            milli_cpu=round(has.milli_cpu * settings.cpu_overcommit),
            memory_mib=has.memory_mib,
            gpus=counted(gpus),
        ),
        gpus=tuple(gpus),
    )
