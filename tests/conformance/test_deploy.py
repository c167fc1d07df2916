"""`modal deploy` and the life of deployments: versions, lists, logs, history, stop."""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

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
    call = app.function("version").spawn(4)
    eventually(lambda: app.function("version").get_current_stats().num_running_inputs == 1, within=60, what="It running")

    deploy(app.engine, versioned("deploy.py", tmp_path, VERSION=2))

    assert app.function("version").remote() == 2
    assert call.get(timeout=60) == 1


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

    eventually(lambda: "version 1 answers" in app.logs(), within=60, what="The printed line in the log")


def test_app_logs_follows_what_is_being_printed(app: Deployment) -> None:
    with app.engine.start_modal("app", "logs", "--follow", "deploy") as following:
        app.function("version").remote()

        following.line("version 1 answers", within=60)


def test_app_logs_can_be_bounded(app: Deployment) -> None:
    list(app.function("version").map([0] * 5))
    eventually(lambda: app.logs().count("version 1 answers") == 5, within=60, what="Five lines in the log")

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
    for identifier in (app_id, "deploy"):
        again = app.engine.modal("app", "stop", "--yes", identifier)
        assert again.code != 0, "it cannot be stopped twice"
        assert "already stopped" in again.output


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
    engine.modal("deploy", "-m", "shop.app", within=600).succeeded()

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


class TestRollback:
    @pytest.fixture
    def twice(self, app: Deployment, tmp_path: Path) -> Deployment:
        deploy(app.engine, versioned("deploy.py", tmp_path, VERSION=2))
        assert answer(app) == 2
        return app

    def test_the_version_before_comes_back(self, twice: Deployment) -> None:
        said = twice.engine.modal("app", "rollback", "deploy").succeeded().output

        assert "rollback successful" in said
        assert answer(twice) == 1
        assert versions(twice) == ["v3", "v2", "v1"]

    def test_a_rollback_is_taken_back_by_another(self, twice: Deployment) -> None:
        answers = []
        for _ in range(3):
            twice.engine.modal("app", "rollback", "deploy").succeeded()
            answers.append(answer(twice))

        assert answers == [1, 2, 1]

    def test_a_version_may_be_named_and_so_may_the_app_by_its_id(self, twice: Deployment, tmp_path: Path) -> None:
        deploy(twice.engine, versioned("deploy.py", tmp_path, VERSION=3))

        twice.engine.modal("app", "rollback", twice.app_id, "v1").succeeded()

        assert answer(twice) == 1

    @pytest.mark.parametrize(
        ("version", "words"), [("v9", "no version v9"), ("v2", "is live"), ("two", "Invalid version"), ("v0", "no version")]
    )
    def test_a_version_that_cannot_come_back_changes_nothing(self, twice: Deployment, version: str, words: str) -> None:
        refused = twice.engine.modal("app", "rollback", "deploy", version)

        assert refused.code != 0
        assert words in refused.output
        assert versions(twice) == ["v2", "v1"]

    def test_a_first_version_has_nothing_before_it(self, app: Deployment) -> None:
        refused = app.engine.modal("app", "rollback", "deploy")

        assert refused.code != 0
        assert "no earlier version" in refused.output

    def test_an_app_that_is_not_deployed_has_no_versions(self, engine: Engine, app: Deployment) -> None:
        assert "No App with name 'no-such-app'" in engine.modal("app", "rollback", "no-such-app").output
        engine.modal("app", "stop", "--yes", "deploy").succeeded()

        assert "is not deployed" in engine.modal("app", "rollback", "deploy").output

    def test_functions_classes_and_addresses_come_back(self, engine: Engine, tmp_path: Path) -> None:
        with deployed(engine, "before.py", name="seasons") as app:
            url = app.function("page").get_web_url()
            deploy(engine, "after.py", name="seasons")
            assert app.function("kept").remote() == "after"
            with pytest.raises(modal.exception.NotFoundError):
                app.function("gone").remote()
            assert fetch(engine, url)[0] == 404

            engine.modal("app", "rollback", "seasons").succeeded()

            assert app.function("kept").remote() == "before"
            assert app.function("gone").remote() == "here again"
            assert app.cls("Basket")(fruit="pear").content.remote() == "pear"
            assert fetch(engine, url) == (200, b'"before"')
            with pytest.raises(modal.exception.NotFoundError):
                app.function("new").remote()

    def test_what_an_old_version_lacks_is_told_before_anything_changes(self, engine: Engine, tmp_path: Path) -> None:
        engine.modal("secret", "create", "--force", "passing", "WORD=1").succeeded()
        with deployed(engine, "with_secret.py", name="lacking") as app:
            assert app.function("word").remote() == "1"
            engine.modal("secret", "create", "--force", "lasting", "WORD=2").succeeded()
            deploy(engine, versioned("with_secret.py", tmp_path, SECRET="lasting"), name="lacking")
            engine.modal("secret", "delete", "--yes", "passing").succeeded()

            refused = engine.modal("app", "rollback", "lacking")

            assert refused.code != 0
            assert "v1 cannot run any more: word needs the secret" in refused.output
            assert app.function("word").remote() == "2"
            assert [item["version"] for item in history(app)] == ["v2", "v1"]


class TestRollover:
    def test_the_same_code_runs_in_new_containers(self, app: Deployment) -> None:
        assert answer(app) == 1
        old = {task.task_id for task in app.containers()}

        app.engine.modal("app", "rollover", "deploy").succeeded()

        eventually(lambda: not old & {task.task_id for task in app.containers()}, within=60, what="Only new containers")
        assert answer(app) == 1
        assert versions(app) == ["v2", "v1"]

    def test_an_app_that_is_not_deployed_cannot_be_rolled_over(self, app: Deployment) -> None:
        app.engine.modal("app", "stop", "--yes", "deploy").succeeded()

        assert "is not deployed" in app.engine.modal("app", "rollover", "deploy").output


class TestStaged:
    def test_a_staged_version_waits_until_it_is_promoted(self, app: Deployment, tmp_path: Path) -> None:
        assert answer(app) == 1
        app.engine.modal("deploy", "--staged", "--name", "deploy", versioned("deploy.py", tmp_path, VERSION=2)).succeeded()
        assert answer(app) == 1
        assert versions(app) == ["v2", "v1"]

        app.engine.modal("app", "promote", "deploy", "v2").succeeded()

        assert answer(app) == 2
        assert versions(app) == ["v3", "v2", "v1"]

    def test_a_first_deployment_may_be_staged_too(self, engine: Engine) -> None:
        engine.modal("deploy", "--staged", "--name", "first-staged", APPS / "deploy.py").succeeded()
        with pytest.raises(modal.exception.NotFoundError):
            modal.Function.from_name("first-staged", "version").remote()

        engine.modal("app", "promote", "first-staged", "1").succeeded()

        assert modal.Function.from_name("first-staged", "version").remote() == 1
        engine.modal("app", "stop", "--yes", "first-staged").succeeded()

    def test_only_a_staged_version_is_promoted(self, app: Deployment) -> None:
        refused = app.engine.modal("app", "promote", "deploy", "v1")

        assert refused.code != 0
        assert "was not staged" in refused.output


def answer(app: Deployment) -> int:
    return app.function("version").remote()


def history(app: Deployment) -> list[dict[str, str]]:
    return json.loads(app.engine.modal("app", "history", app.app_id, "--json").succeeded().output)


def versions(app: Deployment) -> list[str]:
    return [item["version"] for item in history(app)]


def fetch(engine: Engine, url: str) -> tuple[int, bytes]:
    """The answer to a GET, by the Host that the address names."""
    request = urllib.request.Request(engine.gateway_url, headers={"Host": urllib.parse.urlsplit(url).netloc})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
