"""Who compares what is wanted with what is: what wakes each controller, and how often it looks anyway (seconds)."""

from freehold.assembly.control import ControlPlane
from freehold.control.controllers.autoscaler import Autoscaler
from freehold.control.controllers.builds import Builds
from freehold.control.controllers.farewell import Farewell
from freehold.control.controllers.foresight import Foresight
from freehold.control.controllers.liveness import Liveness
from freehold.control.controllers.loop import Controller
from freehold.control.controllers.metrics import Historian
from freehold.control.controllers.restart import Restart
from freehold.control.controllers.retention import Retention
from freehold.control.controllers.scheduler import Scheduler
from freehold.control.controllers.schedules import Clockwork
from freehold.control.wakeups import Wakeup
from freehold.wire.worker import WorkerControl

_FORESIGHT_REST = 0.5  # seconds: what was deployed just now may be called just now, which comes first
_USAGE_REST = 1.0  # seconds: containers that end together are written together
_AUTOSCALER_REST = 0.02  # seconds; under load every call is a hint, and a look costs as much as a call


def controllers(control: ControlPlane, worker: WorkerControl) -> list[Controller]:
    return [*_of_tasks(control, worker), *_of_time(control)]


def restart(control: ControlPlane, worker: WorkerControl) -> Restart:
    """What an engine does first."""
    base, work, catalog = control.base, control.work, control.catalog
    return Restart(
        store=base.store,
        apps=catalog.apps,
        functions=catalog.functions,
        calls=work.calls,
        tasks=work.tasks,
        machines=work.machines,
        journal=base.journal,
        worker=worker,
        clock=base.clock,
    )


def farewell(control: ControlPlane, worker: WorkerControl) -> Farewell:
    """What an engine does last."""
    work = control.work
    return Farewell(tasks=work.tasks, claims=work.claims, worker=worker, changed=work.tasks_changed, clock=control.base.clock)


def _of_tasks(control: ControlPlane, worker: WorkerControl) -> list[Controller]:
    """What should run, where, and whether it still does."""
    settings, work, catalog, serving = control.settings, control.work, control.catalog, control.serving
    autoscaler = Autoscaler(
        functions=catalog.functions,
        calls=work.calls,
        tasks=work.tasks,
        claims=work.claims,
        machines=work.machines,
        decisions=work.decisions,
        clock=control.base.clock,
        default_maximum=settings.default_max_containers,
    )
    scheduler = Scheduler(tasks=work.tasks, launches=serving.launches, worker=worker)
    foresight = Foresight(apps=catalog.apps, launches=serving.launches, worker=worker)
    builds = Builds(
        images=catalog.images,
        mounts=control.resources.mounts,
        secrets=control.resources.secrets,
        functions=serving.build_functions,
        machines=work.machines,
        worker=worker,
        pids_limit=settings.pids_limit,
    )
    liveness = Liveness(
        apps=catalog.apps,
        functions=catalog.functions,
        calls=work.calls,
        claims=work.claims,
        tasks=work.tasks,
        logs=work.logs,
        clock=control.base.clock,
        heartbeat_timeout=settings.heartbeat_timeout,
    )
    return [
        Controller("autoscaler", autoscaler.step, changed=work.demand, every=0.5, rest=_AUTOSCALER_REST),
        Controller("scheduler", scheduler.step, changed=work.tasks_changed, every=5.0),
        Controller("foresight", foresight.step, changed=work.tasks_changed, every=60.0, rest=_FORESIGHT_REST),
        Controller("builds", builds.step, changed=work.images_wanted, every=30.0),
        Controller("liveness", liveness.step, changed=work.tasks_changed, every=1.0),
    ]


def _of_time(control: ControlPlane) -> list[Controller]:
    """What is due, what is to be written down, and what has been kept long enough."""
    settings, clock, work, resources = control.settings, control.base.clock, control.work, control.resources
    clockwork = Clockwork(schedules=control.catalog.schedules, clock=clock)
    historian = Historian(metrics=work.metrics, clock=clock)
    retention = Retention(store=control.base.store, blobs=resources.blobs, logs=work.logs, volumes=resources.volumes, settings=settings)
    history = [Controller("metrics", historian.step, changed=Wakeup(), every=2.0)] if settings.metrics else []
    return [
        # How long a machine may have slept, or a clock been set ahead, before that is noticed.
        Controller("schedules", clockwork.step, changed=work.schedules_changed, every=30.0),
        Controller("tokens", resources.tokens.step, changed=Wakeup(), every=60.0),
        Controller("usage", work.usage.step, changed=work.usage.changed, every=60.0, rest=_USAGE_REST),
        *history,
        Controller("retention", lambda: retention.step(clock.now()), changed=Wakeup(), every=600.0),
    ]
