"""Run by `test_sdk_versions.py` under other versions of `modal`: an app with every setting there is, as far as its decorators."""

import sys
import types
from pathlib import Path

import modal

from modalkit.modal_config import ModalConfig
from modalkit.modal_service import ModalService, create_web_endpoints
from modalkit.settings import Settings
from modalkit.testing import service_classes, web_app

DEPLOYMENT = {
    "region": ["us-east", "us-west-2"],
    "cloud": "aws",
    "gpu": ["T4", "A10G"],
    "cpu": [1.0, 2.0],
    "memory": [512, 1024],
    "ephemeral_disk": 600_000,
    "concurrency_limit": 5,
    "keep_warm": 1,
    "buffer_containers": 2,
    "container_idle_timeout": 180,
    "timeout": 60,
    "startup_timeout": 600,
    "retries": 2,
    "allow_concurrent_inputs": 4,
    "enable_memory_snapshot": True,
    "allow_concurrent_inputs_handler": 10,
    "handler_max_containers": 3,
    "handler_min_containers": 1,
    "handler_cpu": 0.5,
    "handler_memory": 256,
    "handler_timeout": 30,
    "volumes": {"/models": "weights"},
    "cloud_bucket_mounts": {"/data": {"bucket_name": "b", "secret": "keys", "key_prefix": "a/"}},
    "secrets": ["keys"],
}
BUILD = {
    "image": "python",
    "tag": "3.11-slim",
    "python_version": "3.11",
    "apt_packages": ["git"],
    "pip_packages": ["numpy"],
    "requirements": "requirements.txt",
    "extra_run_commands": ["true", "true"],
    "env": {"A": "b"},
    "workdir": "/srv",
    "local_dirs": {".": "/srv/here"},
    "python_sources": [],
}


class Echo:
    def predict(self, items):
        return items


class EchoStream(Echo):
    def stream(self, item):
        yield item


def an_app(pipeline, proxy_auth):
    """Every setting at once."""
    Path("requirements.txt").write_text("numpy\n")
    auth = {"kind": "modal_proxy"} if proxy_auth else {}
    config = ModalConfig(
        Settings(app_settings={"app_name": "all", "deployment_config": DEPLOYMENT, "build_config": BUILD, "auth_config": auth})
    )
    app = modal.App(config.app_name)

    class Service(ModalService):
        inference_implementation = pipeline
        model_name: str = modal.parameter(default="m")
        modal_utils: ModalConfig = config

    service = app.cls(serialized=True, **config.get_app_cls_settings())(Service)

    @app.function(serialized=True, **config.get_handler_settings())
    @modal.asgi_app(**config.get_asgi_app_settings())
    def web():
        return create_web_endpoints(app_cls=service, input_model=str, output_model=str)

    module = types.ModuleType("all_settings")
    module.Service, module.web, module.config = service, web, config
    return module


def main():
    for pipeline in (Echo, EchoStream):
        for proxy_auth in (False, True):
            module = an_app(pipeline, proxy_auth)
            assert service_classes(module) == [module.Service]
            assert web_app(module).title == "all"
            settings = module.config.get_app_cls_settings()
            # Versions without a bound for the start have one timeout for both.
            assert settings.get("startup_timeout", settings["timeout"]) == 600
            assert (settings["max_containers"], settings["min_containers"], settings["scaledown_window"]) == (5, 1, 180)
    sys.stdout.write(f"accepted by {modal.__version__}\n")


if __name__ == "__main__":
    main()
