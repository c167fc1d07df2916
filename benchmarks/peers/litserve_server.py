"""The iris model on LitServe. Of one or two workers, its fast queue, async and batching, this was the fastest for so small a model."""

import sys

import joblib
import litserve


class Flower(litserve.LitAPI):
    def setup(self, device: str) -> None:
        del device
        self.model = joblib.load(sys.argv[2])

    def decode_request(self, request: dict) -> list[float]:
        return request["features"]

    def predict(self, features: list[float]) -> int:
        return int(self.model.predict([features])[0])

    def encode_response(self, prediction: int) -> dict:
        return {"prediction": prediction}


if __name__ == "__main__":
    server = litserve.LitServer(Flower(api_path="/"), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), log_level="error", generate_client_file=False, access_log=False)
