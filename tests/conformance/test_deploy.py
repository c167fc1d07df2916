"""`modal deploy` and the life of deployments: versions, lists, logs, history, stop."""

import json
from collections.abc import Iterator

import modal
import pytest
from modal_proto import api_pb2

from conformance.deployment import Deployment, deploy, deployed, versioned
from conformance.engine import APPS, Engine
from conformance.waiting import eventually


@pytest.fixture
def app(engine: Engine) -> Iterator[Deployment]:
    with deployed(engine, "deploy.py") as app:
        yield app


def test_a_deployed_function_answers_by_name(app: Deployment) -> None:
    assert app.function("version").remote() == 1


def test_a_new_deployment_replaces_the_code(app: Deployment, tmp_path) -> None:
    assert app.function("version").remote() == 1

    deploy(app.engine, versioned("deploy.py", tmp_path, VERSION=2))

    assert app.function("version").remote() == 2


def test_a_redeployment_lets_a_running_call_finish_on_the_old_code(app: Deployment, tmp_path) -> None:
    app.function("version").remote()  # its container is up
    call = app.function("version").spawn(6)

    deploy(app.engine, versioned("deploy.py", tmp_path, VERSION=2))

    assert app.function("version").remote() == 2
    assert call.get(timeout=30) == 1


def test_app_list_shows_what_is_deployed(app: Deployment) -> None:
    apps = json.loads(app.engine.modal("app", "list", "--json").succeeded().output)

    [listed] = [item for item in apps if item["app_id"] == app.app_id]
    assert (listed["description"], listed["state"]) == ("deploy", "deployed")


def test_app_history_counts_the_versions(app: Deployment, tmp_path) -> None:
    deploy(app.engine, versioned("deploy.py", tmp_path, VERSION=2))

    versions = json.loads(app.engine.modal("app", "history", "deploy", "--json").succeeded().output)

    assert [version["version"] for version in versions][:2] == ["v2", "v1"]
    assert versions[0]["client"] == modal.__version__


def test_app_logs_shows_what_was_printed(app: Deployment) -> None:
    app.function("version").remote()

    eventually(lambda: "version 1 answers" in app.logs(), within=20, what="The printed line in the log")


def test_app_logs_follows_what_is_being_printed(app: Deployment) -> None:
    with app.engine.start_modal("app", "logs", "--follow", "deploy") as following:
        app.function("version").remote()

        following.line("version 1 answers", within=30)


def test_app_logs_can_be_bounded(app: Deployment) -> None:
    list(app.function("version").map([0] * 5))
    eventually(lambda: app.logs().count("version 1 answers") == 5, within=20, what="Five lines in the log")

    bounded = app.engine.modal("app", "logs", "--since", "10m", "--tail", "2", app.app_id).succeeded()

    assert bounded.output.count("version 1 answers") == 2


def test_app_info_names_its_functions(app: Deployment) -> None:
    info = json.loads(app.engine.modal("app", "info", "--json", "deploy").succeeded().output)

    assert info["app_id"] == app.app_id
    assert list(info["functions"]) == ["version"]


def test_tags_stay_with_the_app(app: Deployment) -> None:
    modal.App.lookup("deploy").set_tags({"team": "fruit"})

    assert modal.App.lookup("deploy").get_tags() == {"team": "fruit"}


def test_older_clients_find_an_app_in_their_way(app: Deployment) -> None:
    assert app.engine.call("AppLookup", api_pb2.AppLookupRequest(app_name="deploy")).app_id == app.app_id


def test_a_stopped_app_is_gone_with_its_containers(app: Deployment) -> None:
    app.function("version").remote()
    app_id = app.app_id

    app.engine.modal("app", "stop", "--yes", "deploy").succeeded()

    with pytest.raises(modal.exception.NotFoundError, match="deploy"):
        app.function("version").remote()
    assert app.engine.modal("app", "stop", "--yes", app_id).code != 0, "it cannot be stopped twice"


def test_a_name_can_be_deployed_again_after_a_stop(app: Deployment) -> None:
    app.engine.modal("app", "stop", "--yes", "deploy").succeeded()

    deploy(app.engine, "deploy.py")

    assert app.function("version").remote() == 1


def test_lookup_finds_an_app_or_makes_it(app: Deployment) -> None:
    assert modal.App.lookup("deploy").app_id == app.app_id
    with pytest.raises(modal.exception.NotFoundError):
        modal.App.lookup("never-deployed")

    made = modal.App.lookup("made-by-lookup", create_if_missing=True)

    assert modal.App.lookup("made-by-lookup").app_id == made.app_id
    app.engine.modal("app", "stop", "--yes", "made-by-lookup").succeeded()


def test_two_apps_with_the_same_function_do_not_mix(app: Deployment, tmp_path) -> None:
    with deployed(app.engine, versioned("deploy.py", tmp_path, VERSION=7), name="another") as another:
        assert another.function("version").remote() == 7
        assert app.function("version").remote() == 1


def test_an_app_may_be_split_over_modules(engine: Engine) -> None:
    engine.modal("deploy", "-m", "shop.app", within=300).succeeded()

    assert modal.Function.from_name("shop", "price").remote("pear") == 4
    assert modal.Function.from_name("shop", "fruits").remote() == ["apple", "pear"]
    engine.modal("app", "stop", "--yes", "shop").succeeded()


def test_a_script_brings_the_module_beside_it(engine: Engine) -> None:
    with deployed(engine, "with_tools.py") as app:
        assert app.function("greet").remote("ada") == "HELLO ADA!"


def test_an_app_is_deployed_from_python_too(engine: Engine, tmp_path) -> None:
    script = tmp_path / "deployer.py"
    script.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(APPS)!r})\n"
        "from deploy import app\n"
        "app.deploy(name='from-python', tag='first')\n"
        "print('deployed as', app.app_id)\n"
    )

    ran = engine.python(script).succeeded()

    assert "deployed as ap-" in ran.output
    assert modal.Function.from_name("from-python", "version").remote() == 1
    engine.modal("app", "stop", "--yes", "from-python").succeeded()
