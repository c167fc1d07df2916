"""The iris model on Ray Serve: one replica that takes a hundred requests at a time."""

import signal
import sys

import joblib
import ray
from ray import serve
from starlette.requests import Request


@serve.deployment(num_replicas=1, max_ongoing_requests=100, ray_actor_options={"num_cpus": 0.5})
class Flower:
    def __init__(self, path: str) -> None:
        self.model = joblib.load(path)

    async def __call__(self, request: Request) -> dict:
        item = await request.json()
        return {"prediction": int(self.model.predict([item["features"]])[0])}


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ray.init(num_cpus=2, include_dashboard=False, logging_level="error", configure_logging=False)
    serve.start(
        http_options={"host": "127.0.0.1", "port": int(sys.argv[1])}, logging_config=serve.schema.LoggingConfig(enable_access_log=False)
    )
    serve.run(Flower.bind(sys.argv[2]), route_prefix="/")
    signal.pause()
