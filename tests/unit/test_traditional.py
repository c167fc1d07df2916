"""The traditional example is real: it serves the model, and its image and manifests fit it and each other."""

import re
import runpy
from pathlib import Path

import joblib
import pytest
import yaml
from sklearn.datasets import load_iris
from sklearn.neighbors import KNeighborsClassifier
from starlette.testclient import TestClient

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "traditional"


@pytest.fixture(scope="module")
def iris():
    return load_iris(return_X_y=True)


@pytest.fixture(scope="module")
def application(iris, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "iris_model.pkl"
    joblib.dump(KNeighborsClassifier(1).fit(*iris), path)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MODEL_PATH", str(path))
        return runpy.run_path(str(EXAMPLE / "app.py"))["app"]


@pytest.fixture(scope="module")
def client(application):
    with TestClient(application) as client:
        yield client


class TestApplication:
    def test_it_predicts_what_the_flowers_are(self, client, iris):
        answers = [client.post("/predict", json={"features": features}).json() for features in iris[0][::10].tolist()]

        assert [answer["prediction"] for answer in answers] == iris[1][::10].tolist()
        assert answers[0] == {"prediction": 0, "class_name": "setosa"}

    @pytest.mark.parametrize("body", [{}, {"features": [1, 2, 3]}, {"features": ["a", "b", "c", "d"]}])
    def test_what_is_no_flower_is_refused(self, client, body):
        assert client.post("/predict", json=body).status_code == 422

    def test_it_does_not_start_without_its_model(self, monkeypatch, tmp_path):
        monkeypatch.setenv("MODEL_PATH", str(tmp_path / "none.pkl"))
        application = runpy.run_path(str(EXAMPLE / "app.py"))["app"]

        with pytest.raises(FileNotFoundError), TestClient(application):
            pass


class TestImage:
    lines = (EXAMPLE / "Dockerfile").read_text().splitlines()

    def test_it_copies_what_is_there_and_what_the_ignore_file_lets_in(self):
        copied = {word for line in self.lines if line.startswith("COPY") for word in line.split()[1:-1]}
        allowed = {line[1:] for line in (EXAMPLE / ".dockerignore").read_text().splitlines() if line.startswith("!")}

        assert copied == allowed == {"app.py", "iris_model.pkl", "requirements.txt"}
        assert all((EXAMPLE / name).exists() for name in copied - {"iris_model.pkl"})

    def test_it_starts_the_application_on_the_port_that_it_names(self):
        command = next(line for line in self.lines if line.startswith("CMD"))
        port = next(line.split()[1] for line in self.lines if line.startswith("EXPOSE"))

        assert yaml.safe_load(command.removeprefix("CMD ")) == ["uvicorn", "app:app", "--host", "0.0.0.0", "--port", port]
        assert int(port) == container()["ports"][0]["containerPort"]

    def test_it_has_the_versions_that_the_tests_here_run_with(self):
        lock = (ROOT / "requirements.lock").read_text()

        for requirement in (EXAMPLE / "requirements.txt").read_text().split():
            assert re.search(rf"^{requirement.split('==')[0]}==\S+", lock, re.MULTILINE)[0] == requirement


class TestManifests:
    def test_each_is_named_as_the_others_name_it(self):
        everything = [manifest(name) for name in ("deployment", "service", "ingress", "autoscaler")]
        backend = everything[2]["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]

        assert {item["metadata"]["name"] for item in everything} == {"iris-classifier"}
        assert everything[3]["spec"]["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "iris-classifier"}
        assert backend == {"name": "iris-classifier", "port": {"name": everything[1]["spec"]["ports"][0]["name"]}}

    def test_the_service_finds_the_pods_and_their_port(self):
        deployment, service = manifest("deployment")["spec"], manifest("service")["spec"]

        assert service["selector"] == deployment["selector"]["matchLabels"] == deployment["template"]["metadata"]["labels"]
        assert service["ports"][0]["targetPort"] == container()["ports"][0]["name"]

    def test_the_probes_ask_for_what_the_application_answers(self, client):
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            asked = container()[probe]["httpGet"]

            assert client.get(asked["path"]).status_code == 200
            assert asked["port"] == container()["ports"][0]["name"]

    def test_the_certificate_is_for_the_host_that_is_routed(self):
        spec = manifest("ingress")["spec"]

        assert spec["tls"][0]["hosts"] == [rule["host"] for rule in spec["rules"]]

    def test_there_are_at_least_as_many_replicas_as_the_autoscaler_keeps(self):
        assert manifest("deployment")["spec"]["replicas"] == manifest("autoscaler")["spec"]["minReplicas"]


def manifest(name):
    return yaml.safe_load((EXAMPLE / "k8s" / f"{name}.yaml").read_text())


def container():
    return manifest("deployment")["spec"]["template"]["spec"]["containers"][0]
