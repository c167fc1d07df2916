"""The worker of this machine, and what it works with."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freehold.assembly.control import ControlPlane
from freehold.domain.ids import LayerId
from freehold.domain.seams import Zygotes
from freehold.placement.local import LocalReports
from freehold.wire.worker import WorkerControl
from freehold.worker.builds.parts import make_builder
from freehold.worker.bundles import Bundles
from freehold.worker.network.veth import VethNetworks
from freehold.worker.runtimes.runc import RuncRuntime
from freehold.worker.snapshots.overlay import OverlaySnapshots
from freehold.worker.trees import Trees
from freehold.worker.worker import Worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the engine asks of a machine; `running` has to be entered before `worker` does anything."""

    worker: WorkerControl
    running: AbstractAsyncContextManager[Any]
    layer_path: Callable[[LayerId], Path]
    zygotes: Callable[[], str]  # in words, for `freehold status`


def this_machine(control: ControlPlane) -> Machine:
    settings, base, work = control.settings, control.base, control.work
    home = settings.root
    runtime, snapshots, networks = RuncRuntime(home=home), OverlaySnapshots(home=home), VethNetworks(home=home)
    trees = Trees(home, base.content)
    bundles = Bundles(home=home, snapshots=snapshots, runtime=runtime, networks=networks, clock=base.clock)
    reports = LocalReports(
        tasks=work.tasks,
        usage=work.usage,
        logs=work.logs,
        images=control.catalog.images,
        build_functions=control.serving.build_functions,
    )
    builder = make_builder(
        home=home,
        runtime=runtime,
        snapshots=snapshots,
        networks=networks,
        content=base.content,
        trees=trees,
        bundles=bundles,
        reports=reports,
        gpus=work.gpus,
        clock=base.clock,
        base_image_source=settings.base_image_source,
    )
    worker = Worker(
        home=home,
        runtime=runtime,
        snapshots=snapshots,
        networks=networks,
        trees=trees,
        bundles=bundles,
        builder=builder,
        reports=reports,
        gpus=work.gpus,
        gateway=(settings.host, settings.gateway_port),
        clock=base.clock,
        modules=base.import_lists,
        zygotes=settings.zygotes,
        zygote_memory_mib=settings.zygote_memory_mib,
        spare_containers=settings.spare_containers if settings.zygotes is Zygotes.AUTO else 0,
    )
    return Machine(worker=worker, running=worker, layer_path=snapshots.path, zygotes=worker.zygotes.summary)
