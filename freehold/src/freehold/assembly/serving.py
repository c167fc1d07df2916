"""How calls and requests come in, and what is started for them."""

from importlib.metadata import version

from freehold.assembly.catalog import Catalog
from freehold.assembly.foundation import Foundation
from freehold.assembly.resources import Resources
from freehold.assembly.work import Work
from freehold.control.services.build_functions import BuildFunctions
from freehold.control.services.json_calls import JsonCalls
from freehold.control.services.lanes import Lanes
from freehold.control.services.launches import Launches
from freehold.control.services.web_calls import WebCalls
from freehold.worker.launch import TASKS_FOLDER


class Serving:
    def __init__(self, base: Foundation, resources: Resources, work: Work, catalog: Catalog) -> None:
        settings = base.settings
        self.web_calls = WebCalls(
            routes=catalog.routes, functions=catalog.functions, apps=catalog.apps, calls=work.calls, blobs=resources.blobs
        )
        self.json_calls = JsonCalls(
            apps=catalog.apps,
            functions=catalog.functions,
            calls=work.calls,
            blobs=resources.blobs,
            clock=base.clock,
            max_inline_bytes=settings.max_inline_bytes,
            result_ttl=settings.result_ttl,
        )
        self.launches = Launches(
            store=base.store,
            settings=settings,
            apps=catalog.apps,
            functions=catalog.functions,
            images=catalog.images,
            mounts=resources.mounts,
            secrets=resources.secrets,
            machines=work.machines,
            volumes=resources.volumes,
            default_client=version("modal"),
        )
        self.lanes = Lanes(
            routes=catalog.routes,
            functions=catalog.functions,
            apps=catalog.apps,
            calls=work.calls,
            tasks=work.tasks,
            clock=base.clock,
            demand=work.demand,
            tasks_folder=settings.root / TASKS_FOLDER,
            max_waiting=settings.max_waiting_requests,
            seams_of=self.launches.seams_of,
        )
        self.build_functions = BuildFunctions(
            images=catalog.images,
            apps=catalog.apps,
            functions=catalog.functions,
            calls=work.calls,
            tasks=work.tasks,
            launches=self.launches,
        )
