"""A model whose call costs 5 ms and 0.1 ms an item, on BentoML: adaptive batches of up to 64."""

import os
import time

import bentoml


@bentoml.service(workers=1, logging={"access": {"enabled": False}}, metrics={"enabled": False}, traffic={"timeout": 30})
class Doubling:
    @bentoml.api(route="/predict", batchable=True, max_batch_size=64, max_latency_ms=int(os.environ["LATENCY_MS"]))
    def predict(self, values: list[float]) -> list[float]:
        time.sleep(0.005 + 0.0001 * len(values))
        return [2 * value for value in values]
