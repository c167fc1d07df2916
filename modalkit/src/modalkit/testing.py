"""The whole app in this process: no engine, no container, nothing deployed.

    from modalkit.testing import TestClient
    import app

    with TestClient(app) as client:
        assert client.post("/predict_sync", json={"features": [5.1, 3.5, 1.4, 0.2]}).json() == {"class_name": "setosa"}
        assert client.call("predict", input_data={"features": [5.1, 3.5, 1.4, 0.2]}).class_name == "setosa"

Models are loaded, batches gathered, faults answered and jobs run by the code that does it in containers.
"""

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import modal
from starlette.testclient import TestClient as _StarletteClient

from modalkit import _sdk, task_queue
from modalkit._local import LocalService
from modalkit._services import stand_in
from modalkit.errors import ModalKitError

__all__ = ["TestClient", "load_module"]


class TestClient(_StarletteClient):
    """An HTTP client of an app's web endpoints, and a caller of its functions.

    `app_module` is the module with the `modal.App`, its import name, or the path of its file. `function` names the web function where the
    module has several.
    """

    __test__ = False  # pytest: this is no test

    def __init__(
        self, app_module: ModuleType | str | Path, *, function: str = "", raise_server_exceptions: bool = False, **options: Any
    ) -> None:
        self.module = load_module(app_module)
        check_queues(self.module)
        self._services = contextlib.ExitStack()
        self._services.enter_context(in_this_process(self.module))
        super().__init__(web_app(self.module, function), raise_server_exceptions=raise_server_exceptions, **options)

    def call(self, name: str, **arguments: Any) -> Any:
        """What the app's function of that name returns."""
        return getattr(self.module, name).local(**arguments)

    def close(self) -> None:
        super().close()
        self._services.close()

    def __exit__(self, *args: object) -> None:
        super().__exit__(*args)
        self._services.close()


@contextlib.contextmanager
def in_this_process(module: ModuleType) -> Iterator[list[LocalService]]:
    """Within the block the models of a module's services are in this process."""
    with contextlib.ExitStack() as stack:
        services = []
        for app_cls in service_classes(module):
            service = LocalService(app_cls)
            stack.callback(service.close)
            stack.enter_context(stand_in(app_cls, service))
            services.append(service)
        yield services


def check_queues(module: ModuleType) -> None:
    """Raises ConfigError: a service of the module could not make its queue. Said here, and not by the first request that needs a model."""
    for app_cls in service_classes(module):
        task_queue.check(app_cls.modal_utils.settings.app_settings.queue_config)


def load_module(given: ModuleType | str | Path) -> ModuleType:
    """A module by itself, by its import name, or by the path of its file, whose folder comes first on the path, as `modal deploy` has it."""
    if isinstance(given, ModuleType):
        return given
    path = Path(given)
    if path.suffix != ".py":
        return importlib.import_module(str(given))
    sys.path.insert(0, str(path.resolve().parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def service_classes(module: ModuleType) -> list[Any]:
    """The model services of a module, as `@app.cls` made them."""
    return [each for each in vars(module).values() if isinstance(each, modal.Cls) and hasattr(each, "user_class")]


def web_functions(module: ModuleType) -> dict[str, Any]:
    """The functions of a module that are served over HTTP, by their names there."""
    return {name: each for name, each in vars(module).items() if isinstance(each, modal.Function) and _sdk.is_web(each)}


def web_app(module: ModuleType, function: str = "") -> Any:
    """The ASGI app of a module's web function. Raises ModalKitError where there is none, or several and none is named."""
    functions = web_functions(module)
    if function and function not in functions:
        msg = f"{module.__name__} has no web function {function!r}{_named(functions)}"
        raise ModalKitError(msg)
    if function:
        functions = {function: functions[function]}
    if not functions:
        msg = f"{module.__name__} has no web function: it is the module with create_web_endpoints under @modal.asgi_app() that is asked for"
        raise ModalKitError(msg)
    if len(functions) != 1:
        msg = f"{module.__name__} has {len(functions)} web functions{_named(functions)}; name one of them as `function`"
        raise ModalKitError(msg)
    return next(iter(functions.values())).local()


def _named(functions: dict[str, Any]) -> str:
    return f" ({', '.join(functions)})" if functions else ""
