"""GPUs as a machine would give them that has some. The tests' pretend to: containers see device files, of /dev/null."""

import re
from collections.abc import Iterator
from pathlib import Path

import modal
import pytest

from conformance.deployment import Deployment, Place, deployed, versioned
from conformance.engine import APPS, Engine
from conformance.waiting import eventually


class TestWithout:
    def test_a_deploy_is_refused_with_what_to_do(self, engine: Engine) -> None:
        refused = engine.modal("deploy", APPS / "gpus.py")

        assert refused.code != 0
        assert "and there is no GPU here" in refused.output
        assert "freehold up --detach --gpu-fallback cpu" in refused.output

    def test_a_setting_runs_them_on_the_cpu_and_everybody_is_told(self, engine: Engine, tmp_path: Path) -> None:
        with engine.restarted(gpu_fallback="cpu"):
            with deployed(engine, "gpus.py") as app:
                assert tuple(app.function("two").remote()) == ("", [], "")
                assert 'two asks for gpu="T4:2", and there is no GPU here: it runs on the CPU (gpu_fallback).' in app.logs()
            assert 'whichever asks for gpu=["H100", "A100", "T4"], and there is no GPU here' in app.output
            with deployed(engine, "too_large_a_gpu.py"):
                pass
            with deployed(engine, versioned("gpu_image.py", tmp_path, SALT="without"), name="gpu-image") as app:
                assert tuple(app.function("seen").remote()) == ("none", "")
                assert "It asks for gpu" in app.output


@pytest.fixture(scope="module")
def machine(engine: Engine) -> Iterator[Engine]:
    with engine.restarted(pretend_gpus="T4, T4, A100-80GB"):
        yield engine


@pytest.fixture(scope="module")
def app(machine: Engine) -> Iterator[Deployment]:
    with deployed(machine, "gpus.py") as app:
        yield app


class TestPlaces:
    @pytest.fixture(autouse=True)
    def _quiet(self, app: Deployment) -> None:
        app.rest()  # no container still holds a GPU

    def test_two_containers_have_two_devices_and_neither_sees_the_others(self, app: Deployment, place: Place) -> None:
        calls = [app.function("one").spawn(place.name, 2) for _ in range(2)]

        seen = sorted(tuple(call.get(timeout=60)) for call in calls)

        assert seen == [("GPU-pretended-0", ["/dev/nvidia0"], "0"), ("GPU-pretended-1", ["/dev/nvidia1"], "0")]

    def test_a_third_waits_until_one_is_free(self, app: Deployment, place: Place) -> None:
        seen = list(app.function("one").map([place.name] * 3, kwargs={"count": 2}))

        assert {uuid for uuid, _, _ in seen} == {"GPU-pretended-0", "GPU-pretended-1"}

    def test_one_container_can_have_several(self, app: Deployment) -> None:
        assert tuple(app.function("two").remote()) == ("GPU-pretended-0,GPU-pretended-1", ["/dev/nvidia0", "/dev/nvidia1"], "0,1")

    def test_of_a_list_the_first_that_is_there_and_free(self, app: Deployment, place: Place) -> None:
        calls = [app.function("whichever").spawn(place.name, 2) for _ in range(2)]

        assert sorted(call.get(timeout=60)[0] for call in calls) == ["GPU-pretended-0", "GPU-pretended-2"]

    def test_who_asks_for_none_sees_none(self, app: Deployment) -> None:
        assert tuple(app.function("none").remote()) == ("", [], "")

    def test_a_variant_can_ask_for_one(self, app: Deployment) -> None:
        model = app.cls("Model").with_options(gpu="A100-40GB")()

        assert model.devices.remote()[0] == "GPU-pretended-2", "40 GB are the least that will do"
        with pytest.raises(modal.exception.InvalidError, match='asks for gpu="H100", and what is here is 1 x A100-80GB, 2 x T4'):
            app.cls("Model").with_options(gpu="H100")().devices.remote()

    def test_what_the_machine_can_never_give_is_refused_with_what_it_has(self, machine: Engine) -> None:
        refused = machine.modal("deploy", APPS / "too_large_a_gpu.py")

        assert refused.code != 0
        assert "'never' asks for gpu=\"B200:8\", and what is here is 1 x A100-80GB, 2 x T4." in refused.output

    def test_the_clients_commands_show_them(self, machine: Engine, app: Deployment) -> None:
        assert re.search(r"1 . H100 GPU \(1 . A100 GPU, 1 . T4 GPU\)", machine.modal("app", "info", app.name).succeeded().output)
        assert "2 x T4" in machine.freehold("status").succeeded().output
        assert "1 x A100-80GB, 2 x T4" in machine.freehold("doctor").output

    def test_devices_stay_with_their_container_when_the_engine_dies(self, machine: Engine, app: Deployment, place: Place) -> None:
        one = app.function("one")
        held = one.spawn(place.name)
        eventually(lambda: one.get_current_stats().num_running_inputs == 1, within=60, what="A container that holds one")

        machine.kill_engine()
        machine.await_answer()

        assert one.remote()[0] == "GPU-pretended-1"
        place.go()
        assert held.get(timeout=60)[0] == "GPU-pretended-0"

    def test_steps_of_an_image_have_them_too(self, machine: Engine, tmp_path: Path) -> None:
        with deployed(machine, versioned("gpu_image.py", tmp_path, SALT="with"), name="gpu-image") as app:
            assert tuple(app.function("seen").remote()) == ("/dev/nvidia0", "/dev/nvidia0")

    def test_a_call_of_what_was_deployed_while_there_were_some_fails_at_once(self, machine: Engine, app: Deployment) -> None:
        with machine.restarted(pretend_gpus="A100"):
            with pytest.raises(modal.exception.RemoteError, match='asks for gpu="T4", and what is here is 1 x A100'):
                app.function("one").remote()
            assert "what is here is 1 x A100" in machine.freehold("why", "gpus.one").succeeded().output
