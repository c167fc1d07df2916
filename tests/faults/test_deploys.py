"""The engine killed while a deploy is half done."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from conformance.deployment import deployed, versioned
from conformance.engine import Engine
from conformance.waiting import Running, eventually
from modal_proto import api_pb2

from faults.conftest import APPS
from faults.workload import Workload

Edit = Callable[..., Path]


@pytest.fixture
def edit(tmp_path: Path) -> Edit:
    """`apps/work.py` after an edit of its constants."""
    return lambda **values: versioned(APPS / "work.py", tmp_path, **values)


@pytest.fixture
def half(engine: Engine) -> Iterator[Workload]:
    """A deployment of its own, whose version 1 runs."""
    with deployed(engine, APPS / "work.py", name="half-done"):
        workload = Workload(engine, app="half-done")
        assert workload.function("version").remote() == 1
        yield workload
        workload.close()


def version_that_runs(half: Workload) -> int:
    return int(half.function("version").remote())


def version_that_is_listed(half: Workload) -> int:
    history = half.engine.call("AppDeploymentHistory", api_pb2.AppDeploymentHistoryRequest(app_id=half.app_id)).app_deployment_histories
    return max(entry.version for entry in history)


def start_deploy(half: Workload, script: Path) -> Running:
    return half.engine.start_modal("deploy", "--name", half.app, script)


def test_an_engine_killed_in_a_half_done_deploy_answers_with_the_old_version_and_shows_nothing_of_the_new(
    half: Workload, edit: Edit
) -> None:
    with start_deploy(half, edit(VERSION=2, STEPS=("sleep 60",))) as deploy:
        deploy.line("sleep 60")
        half.engine.kill()
        deploy.process.kill()
    half.engine.start()

    assert version_that_runs(half) == 1
    assert version_that_is_listed(half) == 1
    half.engine.modal("deploy", "--name", half.app, edit(VERSION=3)).succeeded()
    assert version_that_runs(half) == 3
    assert version_that_is_listed(half) == 2


def test_a_deploy_disturbed_at_any_moment_is_done_or_not_done_and_never_half(half: Workload, edit: Edit) -> None:
    live, chance = 1, Random(4)
    for version in range(2, 5):
        listed = version_that_is_listed(half)
        with start_deploy(half, edit(VERSION=version)) as deploy:
            time.sleep(chance.uniform(0.4, 1.0))  # most of it is the client's own start
            half.engine.kill()
            half.engine.start()
            code = deploy.wait(within=60)

        is_published = version_that_is_listed(half) > listed
        assert is_published or code != 0
        live = version if is_published else live
        # Containers of the version before may answer until one of the new version is ready.
        eventually(lambda wanted=live: version_that_runs(half) == wanted, within=60, what=f"Version {live} answering")


def test_inputs_that_were_accepted_before_a_half_done_deploy_are_run_after_it(work: Workload, edit: Edit) -> None:
    for number in range(30):
        work.spawn("alone", f"before-deploy-{number}", 0.2)
    with start_deploy(work, edit(STEPS=("sleep 61",))) as deploy:
        deploy.line("sleep 61")
        work.engine.kill()
        deploy.process.kill()

    work.engine.start()
