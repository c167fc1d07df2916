"""A model whose call costs 5 ms and 0.1 ms an item, on LitServe: batches of up to 64."""

import sys
import time

import litserve


class Doubling(litserve.LitAPI):
    def setup(self, device: str) -> None:
        del device

    def decode_request(self, request: dict) -> float:
        return request["value"]

    def batch(self, inputs: list[float]) -> list[float]:
        return inputs

    def predict(self, values: list[float]) -> list[float]:
        time.sleep(0.005 + 0.0001 * len(values))
        return [2 * value for value in values]

    def unbatch(self, outputs: list[float]) -> list[float]:
        return outputs

    def encode_response(self, value: float) -> dict:
        return {"value": value}


if __name__ == "__main__":
    api = Doubling(api_path="/predict", max_batch_size=64, batch_timeout=float(sys.argv[2]) / 1000)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), log_level="error", generate_client_file=False, access_log=False)
