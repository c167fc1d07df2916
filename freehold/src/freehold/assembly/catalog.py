"""Apps, their functions and images, what they have deployed, where and when it is called."""

from freehold.assembly.foundation import Foundation
from freehold.assembly.resources import Resources
from freehold.assembly.work import Work
from freehold.control.services.apps import Apps
from freehold.control.services.deployments import Deployments
from freehold.control.services.functions import Functions
from freehold.control.services.images import Images
from freehold.control.services.scaling import Scaling
from freehold.control.services.schedules import Schedules
from freehold.control.services.web_routes import WebRoutes


class Catalog:
    def __init__(self, base: Foundation, resources: Resources, work: Work) -> None:
        settings = base.settings
        self.routes = WebRoutes(workspace=settings.workspace, domain=settings.domain, origin=settings.web_origin)
        self.functions = Functions(
            store=base.store,
            routes=self.routes,
            tasks=work.tasks,
            machines=work.machines,
            clock=base.clock,
            demand=work.demand,
            max_inline_bytes=settings.max_inline_bytes,
        )
        self.schedules = Schedules(
            store=base.store,
            functions=self.functions,
            calls=work.calls,
            clock=base.clock,
            changed=work.schedules_changed,
            grace=settings.schedule_grace,
        )
        self.apps = Apps(
            store=base.store,
            environments=resources.environments,
            functions=self.functions,
            calls=work.calls,
            schedules=self.schedules,
            tasks=work.tasks,
            journal=base.journal,
            clock=base.clock,
            changed=work.tasks_changed,
        )
        self.deployments = Deployments(
            store=base.store,
            content=base.content,
            apps=self.apps,
            functions=self.functions,
            tasks=work.tasks,
            clock=base.clock,
            changed=work.tasks_changed,
        )
        self.images = Images(store=base.store, logs=work.logs, machines=work.machines, clock=base.clock, wanted=work.images_wanted)
        self.scaling = Scaling(functions=self.functions, calls=work.calls, tasks=work.tasks, machines=work.machines, clock=base.clock)
