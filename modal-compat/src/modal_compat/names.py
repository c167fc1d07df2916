"""The old names, each with its successor. The shim, the migration and the reference page all read this table."""

from __future__ import annotations

from dataclasses import dataclass

_DECORATORS = "`@app.function`, `@app.cls`"


@dataclass(frozen=True)
class OldName:
    """One name that a newer SDK has no more."""

    old: str  # as a program has it: `modal.Stub`, `keep_warm=`, `modal.Function.lookup`
    new: str  # what to write instead, likewise
    today: str  # what modal 1.6.4 does with it, without this package
    where: str = ""  # whose it is, where the name does not say it
    successor: str = ""  # the bare new name, where nothing else changes
    note: str = ""  # what is not quite as it was

    @property
    def bare(self) -> str:
        """Without its owner: `Stub`, `keep_warm`, `lookup`."""
        return self.old.rpartition(".")[2].rstrip("=")

    def warning(self, new: str = "") -> str:
        """What a program is told that uses it; `new` is what exactly this use is to be, where that is known."""
        of = f" of {self.where}" if self.where else ""
        note = f" {self.note}" if self.note else ""
        return f"`{self.old}`{of} is an old name. Write {new or self.new} instead.{note}"


STUB = OldName("modal.Stub", "`modal.App`", "AttributeError", successor="App")
STUB_VARIABLE = OldName("stub", "`app`, or deploy `FILE::stub`", "not found by `modal deploy FILE`", "a program, for its app,")
WEB_ENDPOINT = OldName("modal.web_endpoint", "`modal.fastapi_endpoint`", "DeprecationError", successor="fastapi_endpoint")
MOUNT = OldName("modal.Mount", "`image.add_local_file()`, `image.add_local_dir()` or `image.add_local_python_source()`", "AttributeError")
GPU = OldName("modal.gpu", '`gpu="A100-80GB:2"`', "ModuleNotFoundError")
BUILD = OldName(
    "modal.build",
    "`@modal.enter()`, with a `modal.Volume` for what is to be kept",
    "AttributeError",
    note="It runs at the start of each container.",
)
NETWORK_FILE_SYSTEM = OldName(
    "modal.NetworkFileSystem",
    "`modal.Volume`",
    "works with a warning, where the server has it",
    note="It is a volume of that name now; one that modal.com serves stays as it is.",
)

KEEP_WARM = OldName("keep_warm=", "`min_containers=`", "DeprecationError", _DECORATORS, "min_containers")
CONCURRENCY_LIMIT = OldName(
    "concurrency_limit=", "`max_containers=`", "DeprecationError", f"{_DECORATORS}, `with_options`", "max_containers"
)
IDLE_TIMEOUT = OldName(
    "container_idle_timeout=",
    "`scaledown_window=`",
    "DeprecationError",
    f"{_DECORATORS}, `with_options`",
    "scaledown_window",
    "It is 2 seconds at least.",
)
BUFFER_CONTAINERS = OldName("_experimental_buffer_containers=", "`buffer_containers=`", "TypeError", _DECORATORS, "buffer_containers")
CHECKPOINTING = OldName("checkpointing_enabled=", "`enable_memory_snapshot=`", "TypeError", _DECORATORS, "enable_memory_snapshot")
CONCURRENT_INPUTS = OldName(
    "allow_concurrent_inputs=",
    "`@modal.concurrent(max_inputs=…)` below it",
    "DeprecationError",
    f"{_DECORATORS}, `with_options`",
)
MOUNTS = OldName(
    "mounts=",
    "`image=image.add_local_file(…)` or another `add_local_…`",
    "TypeError",
    f"{_DECORATORS}, `modal.App`, `Image.run_function`",
)
NETWORK_FILE_SYSTEMS = OldName(
    "network_file_systems=", "`volumes=`", "works with what it has, where the server has it", _DECORATORS, "volumes"
)
CROSS_REGION = OldName("allow_cross_region_volumes=", "nothing", "TypeError", _DECORATORS)
INTERACTIVE = OldName("interactive=", "nothing, and `modal run --interactive`", "TypeError", _DECORATORS)
WAIT_FOR_RESPONSE = OldName(
    "wait_for_response=",
    "nothing",
    "TypeError",
    "`@modal.web_endpoint`, `@modal.asgi_app`, `@modal.wsgi_app`",
    note="Responses are waited for.",
)

FUNCTION_LOOKUP = OldName("modal.Function.lookup", "`modal.Function.from_name`", "AttributeError", successor="from_name")
CLS_LOOKUP = OldName("modal.Cls.lookup", "`modal.Cls.from_name`", "AttributeError", successor="from_name")
DICT_LOOKUP = OldName("modal.Dict.lookup", "`modal.Dict.from_name`", "AttributeError", successor="from_name")
QUEUE_LOOKUP = OldName("modal.Queue.lookup", "`modal.Queue.from_name`", "AttributeError", successor="from_name")
SECRET_LOOKUP = OldName("modal.Secret.lookup", "`modal.Secret.from_name`", "AttributeError", successor="from_name")
VOLUME_LOOKUP = OldName("modal.Volume.lookup", "`modal.Volume.from_name`", "AttributeError", successor="from_name")
WEB_URL = OldName("modal.Function.web_url", "`.get_web_url()`", "AttributeError")
KEEP_WARM_METHOD = OldName("modal.Function.keep_warm", "`.autoscaler.update(min_containers=…)`", "AttributeError")
COPY_LOCAL_FILE = OldName("modal.Image.copy_local_file", "`image.add_local_file(…, copy=True)`", "AttributeError")
COPY_LOCAL_DIR = OldName("modal.Image.copy_local_dir", "`image.add_local_dir(…, copy=True)`", "AttributeError")
COPY_MOUNT = OldName(
    "modal.Image.copy_mount", "`image.add_local_file(…, copy=True)` or `image.add_local_dir(…, copy=True)`", "AttributeError"
)

ENTER = OldName("__enter__", "`@modal.enter()` above a method", "not run in containers", "classes under `@app.cls`")
AENTER = OldName("__aenter__", "`@modal.enter()` above an async method", "not run in containers", "classes under `@app.cls`")
EXIT = OldName("__exit__", "`@modal.exit()` above a method without parameters", "not run in containers", "classes under `@app.cls`")
AEXIT = OldName(
    "__aexit__", "`@modal.exit()` above an async method without parameters", "not run in containers", "classes under `@app.cls`"
)

# In the order of the reference page.
NAMES = (
    MOUNT, MOUNTS, WEB_ENDPOINT, WAIT_FOR_RESPONSE, STUB, STUB_VARIABLE,
    KEEP_WARM, CONCURRENCY_LIMIT, IDLE_TIMEOUT, CONCURRENT_INPUTS, BUFFER_CONTAINERS, CHECKPOINTING, CROSS_REGION, INTERACTIVE,
    FUNCTION_LOOKUP, CLS_LOOKUP, DICT_LOOKUP, QUEUE_LOOKUP, SECRET_LOOKUP, VOLUME_LOOKUP, WEB_URL, KEEP_WARM_METHOD,
    COPY_LOCAL_FILE, COPY_LOCAL_DIR, COPY_MOUNT, GPU, ENTER, AENTER, EXIT, AEXIT, BUILD, NETWORK_FILE_SYSTEM, NETWORK_FILE_SYSTEMS,
)  # fmt: skip

# Parameters of @app.function and @app.cls of which only the name has changed, and those that mean nothing any more.
RENAMED = {name.bare: name for name in (KEEP_WARM, CONCURRENCY_LIMIT, IDLE_TIMEOUT, BUFFER_CONTAINERS, CHECKPOINTING)}
DROPPED = {name.bare: name for name in (CROSS_REGION, INTERACTIVE)}
LOOKUPS = (FUNCTION_LOOKUP, CLS_LOOKUP, DICT_LOOKUP, QUEUE_LOOKUP, SECRET_LOOKUP, VOLUME_LOOKUP)
GPU_TYPES = ("T4", "L4", "A10G", "A100", "H100", "L40S", "Any")
LEAST_WINDOW = 2  # seconds; what scaledown_window may be


def gpu(kind: str, count: int = 1, size: str | None = None) -> str:
    """What `gpu=` takes instead of `modal.gpu.KIND(count=…, size=…)`."""
    name = "any" if kind == "Any" else kind
    return name + (f"-{size}" if size else "") + (f":{count}" if count > 1 else "")
