"""The guide's own app answers as the guide says."""

from modalkit.testing import TestClient

SETOSA = {"features": [5.1, 3.5, 1.4, 0.2]}


def test_one_input_gives_one_output(client: TestClient) -> None:
    answer = client.post("/predict_sync", json=SETOSA)

    assert (answer.status_code, answer.json()) == (200, {"prediction": 0, "class_name": "setosa"})


def test_items_of_a_batch_are_answered_in_order(client: TestClient) -> None:
    answer = client.post("/predict_batch", json=[SETOSA, {"features": [6.7, 3.0, 5.2, 2.3]}])

    assert [each["output"]["class_name"] for each in answer.json()] == ["setosa", "virginica"]


def test_its_functions_can_be_called(client: TestClient) -> None:
    assert client.call("predict", input_data='{"features": [5.1, 3.5, 1.4, 0.2]}').class_name == "setosa"
    assert client.call("predict_async", input_data={"message": SETOSA}).job_id
