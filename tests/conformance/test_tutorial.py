"""The tutorial, to the letter; and apps as they were written for its SDK."""

import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
from modal_proto import api_pb2

from conformance.deployment import Deployment, deployed
from conformance.engine import APPS, Engine, Finished
from conformance.waiting import eventually

TUTORIAL = Path(__file__).parents[2] / "examples" / "tutorial"
MADE = "api-keys"


@pytest.fixture(scope="module")
def folder() -> Path:
    """The example's, with its model trained."""
    if not (TUTORIAL / "iris_model.pkl").exists():
        subprocess.run([sys.executable, TUTORIAL / "train.py"], check=True)
    return TUTORIAL


def deploys(command: list[str | Path], folder: Path, env: dict[str, str]) -> Finished:
    ran = subprocess.run(
        command,
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=600,
    )
    return Finished(ran.returncode, ran.stdout).succeeded()


def verdict_on(engine: Engine) -> str:
    """What the tutorial's script says of it, by a URL that any resolver knows."""
    url = f"{engine.gateway_url}/local--iris-classifier-predict"
    ran = subprocess.run(
        [TUTORIAL / "test_modal.sh", url], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=300
    )
    assert ran.returncode == 0, ran.stdout
    return ran.stdout


def stop(app: Deployment) -> None:
    if app_id := app.app_id:
        app.engine.call("AppStop", api_pb2.AppStopRequest(app_id=app_id))


class TestVerbatim:
    @pytest.fixture(autouse=True)
    def _gone(self, engine: Engine) -> Iterator[None]:
        yield
        stop(Deployment(engine, "iris-classifier", ""))

    def test_it_is_deployed_by_freehold_and_passes_its_own_test(self, engine: Engine, folder: Path) -> None:
        command = [Path(sys.executable).with_name("freehold"), "deploy", "app_modal.py"]
        output = deploys(command, folder, engine.environment).output

        assert "All checks passed." in verdict_on(engine)
        told = " ".join(output.replace("│", " ").split())
        for name, new in (("modal.Mount", "image.add_local_file()"), ("modal.web_endpoint", "modal.fastapi_endpoint")):
            assert told.count(f"`{name}` is an old name. Write `{new}` instead.") == 1

    def test_it_is_deployed_by_plain_modal_once_that_was_asked_for(self, engine: Engine, folder: Path, tmp_path: Path) -> None:
        environment = self._person(engine, tmp_path)
        modal = tmp_path / "env" / "bin" / "modal"
        refused = subprocess.run(
            [modal, "deploy", "app_modal.py"], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert refused.returncode != 0
        assert "has no attribute 'Mount'" in refused.stderr + refused.stdout

        said = engine.freehold("login", "--legacy", env=environment).succeeded().output
        deploys([modal, "deploy", "app_modal.py"], folder, environment)

        assert "knows the names of older SDKs now" in said
        assert "All checks passed." in verdict_on(engine)
        assert "Removed" in engine.freehold("login", "--no-legacy", env=environment).succeeded().output
        assert not list((tmp_path / "env").rglob("modal_compat*"))

    @staticmethod
    def _person(engine: Engine, folder: Path) -> dict[str, str]:
        """Whose `modal` is in an environment of its own, and whose profile nobody else uses."""
        venv.create(folder / "env", with_pip=False, symlinks=True)
        (packages,) = (folder / "env").glob("lib/python*/site-packages")
        ours = Path(sys.executable).parents[1] / packages.relative_to(folder / "env")
        (packages / "ours.pth").write_text(f"import site; site.addsitedir({str(ours)!r})\n")
        program = folder / "env" / "bin" / "modal"
        program.write_text(f"#!{folder / 'env' / 'bin' / 'python'}\nfrom modal.__main__ import main\nmain()\n")
        program.chmod(0o755)
        known = {name: value for name, value in engine.environment.items() if not name.startswith("MODAL_")}
        return {**known, "PATH": f"{program.parent}:{os.environ['PATH']}", "MODAL_CONFIG_PATH": str(folder / "modal.toml")}


@pytest.fixture(scope="module")
def advanced(engine: Engine) -> Iterator[Deployment]:
    with engine.restarted(pretend_gpus="T4"):
        engine.modal("secret", "create", "--force", MADE, "API_KEY=open-sesame").succeeded()
        with deployed(engine, "tutorial_advanced.py") as app:
            yield app
        engine.modal("secret", "delete", "--yes", MADE).succeeded()


class TestAdvanced:
    def test_a_function_on_a_t4_has_one(self, advanced: Deployment) -> None:
        assert tuple(advanced.function("gpu_predict").remote("text")) == ("TEXT", "GPU-pretended-0")

    def test_a_batch_is_predicted(self, advanced: Deployment) -> None:
        assert advanced.function("batch_predict").remote([[1, 2], [3]]) == [3, 3]

    def test_the_update_is_due_every_day_and_can_be_run_now(self, advanced: Deployment, engine: Engine) -> None:
        assert "daily_model_update" in engine.freehold("schedules").succeeded().output
        assert advanced.function("daily_model_update").remote() == "updated"

    def test_the_secret_is_in_the_environment(self, advanced: Deployment) -> None:
        assert advanced.function("secure_predict").remote() == len("open-sesame")


@pytest.fixture(scope="module")
def old_app(engine: Engine) -> Iterator[Deployment]:
    finished = engine.freehold("deploy", APPS / "old_names.py", within=600).succeeded()
    app = Deployment(engine, "old-names", finished.output)
    yield app
    stop(app)


class TestOldApps:
    def test_files_are_where_mounts_and_copies_put_them(self, old_app: Deployment) -> None:
        assert old_app.function("files").remote() == ["/data/here.py", "/copied/old_names.py"]

    def test_inputs_are_worked_on_together(self, old_app: Deployment) -> None:
        spans = list(old_app.function("together").map([1.0] * 3))

        assert max(began for began, _ in spans) < min(ended for _, ended in spans)

    def test_hooks_without_decorator_run_and_containers_can_look_up(self, old_app: Deployment) -> None:
        assert old_app.function("asks_another").remote("hello") == ["entered", "hello"]
        eventually(lambda: "left ['entered'] (None, None, None)" in old_app.logs(), within=60, what="The exit hook's line")

    def test_files_are_shared(self, old_app: Deployment) -> None:
        assert old_app.function("shared").remote("a").endswith("a")

    def test_containers_say_nothing_of_what_the_deploy_has_said(self, old_app: Deployment) -> None:
        old_app.function("files").remote()

        assert "keep_warm=" in old_app.output
        assert "keep_warm=" not in old_app.logs()
