"""Images, built for real, and kept."""

from collections.abc import Iterator

import modal
import pytest

from conformance.deployment import Deployment, deploy, deployed, versioned
from conformance.engine import APPS, Engine


@pytest.fixture(scope="module")
def app(engine: Engine) -> Iterator[Deployment]:
    with deployed(engine, "images.py") as app:
        yield app


class TestCommands:
    def test_run_commands_run_in_order(self, app: Deployment) -> None:
        assert app.function("run_commands").remote() == "first\nsecond"

    def test_pip_install_installs(self, app: Deployment) -> None:
        assert app.function("pip_install").remote() == "2.0.0"

    def test_uv_pip_install_installs(self, app: Deployment) -> None:
        assert app.function("uv_pip_install").remote() == "2.1.0"

    def test_apt_install_installs(self, app: Deployment) -> None:
        assert "tree v" in app.function("apt_install").remote()

    def test_env_holds_while_building_and_running(self, app: Deployment) -> None:
        assert app.function("env").remote() == ("here", "/a:/b", "here")

    def test_workdir_holds_while_building_and_running(self, app: Deployment) -> None:
        assert app.function("workdir").remote() == ("/srv/place", "made here")

    def test_dockerfile_commands_mean_what_they_mean_elsewhere(self, app: Deployment) -> None:
        assert app.function("dockerfile_commands").remote() == {
            "arg": "plain",
            "env": "sweet",
            "copy": "two",
            "add": "one",
            "user": "baker",
            "entrypoint": "yes",
        }

    def test_a_dockerfile_is_built_with_its_arguments_and_context(self, app: Deployment) -> None:
        assert app.function("from_dockerfile").remote() == ("good day from /opt/place", "a file from the machine", "yes")

    def test_run_function_leaves_its_files_in_the_image(self, app: Deployment) -> None:
        assert app.function("run_function").remote() == "0 1 2 3"

    def test_a_secret_is_there_while_building_and_not_after(self, app: Deployment) -> None:
        assert app.function("build_secret").remote() == ("11", False)

    def test_the_container_has_the_callers_client_compiled(self, app: Deployment) -> None:
        assert app.function("client_inside").remote() == (modal.__version__, True)


class TestLocalFiles:
    EXPECTED = ("a file from the machine", "two", 6)

    def test_files_are_mounted_over_the_image(self, app: Deployment) -> None:
        assert app.function("files_mounted").remote() == self.EXPECTED

    def test_files_are_copied_into_the_image(self, app: Deployment) -> None:
        assert app.function("files_copied").remote() == (*self.EXPECTED, "a file from the machine\none")


class TestCache:
    def test_an_unchanged_app_builds_nothing(self, app: Deployment) -> None:
        again = app.engine.modal("deploy", "--name", app.name, APPS / "images.py").succeeded()

        assert "Building image" not in again.output

    def test_only_force_build_builds_a_step_anew(self, engine: Engine, tmp_path) -> None:
        def stamp(**values: object) -> str:
            with deployed(engine, versioned("one_image.py", tmp_path, **values)) as app:
                return app.function("stamp").remote()

        first = stamp()

        assert stamp() == first
        forced = stamp(FORCE=True)
        assert forced != first

    def test_a_changed_step_is_built(self, engine: Engine, tmp_path) -> None:
        with deployed(engine, versioned("one_image.py", tmp_path, COMMAND="echo another > /stamp")) as app:
            assert app.function("stamp").remote() == "another"

    def test_an_image_that_is_built_is_found_by_its_id(self, app: Deployment) -> None:
        image = modal.Image.debian_slim().run_commands("echo first > /lines.txt").build(modal.App.lookup(app.name))

        ran = app.engine.python(APPS / "image_by_id.py", image.object_id).succeeded()

        assert "lines: ['first']" in ran.output


class TestFailures:
    def test_a_failing_step_fails_the_deploy_with_its_log(self, engine: Engine, tmp_path) -> None:
        script = versioned("one_image.py", tmp_path, COMMAND="echo before the fall; echo and its reason >&2; exit 3")

        ran = engine.modal("deploy", script, within=300)

        assert ran.code != 0
        assert "before the fall" in ran.output
        assert "and its reason" in ran.output

    def test_a_failed_step_can_be_mended(self, engine: Engine, tmp_path) -> None:
        assert engine.modal("deploy", versioned("one_image.py", tmp_path, COMMAND="false"), within=300).code != 0

        mended = deploy(engine, versioned("one_image.py", tmp_path, COMMAND="echo mended > /stamp"))

        assert mended.function("stamp").remote() == "mended"
        engine.modal("app", "stop", "--yes", mended.name).succeeded()

    def test_an_unknown_command_is_refused_by_name(self, engine: Engine, tmp_path) -> None:
        ran = engine.modal("deploy", versioned("one_image.py", tmp_path, DOCKERFILE="FLY to the moon"), within=300)

        assert ran.code != 0
        assert "FLY" in ran.output

    def test_a_copy_of_what_is_not_in_the_context_fails(self, engine: Engine, tmp_path) -> None:
        script = versioned("one_image.py", tmp_path, DOCKERFILE="COPY --from=nowhere /etc/passwd /stolen")

        ran = engine.modal("deploy", script, within=300)

        assert ran.code != 0
        assert "nowhere" in ran.output

    def test_a_base_that_no_source_has_is_said_so(self, engine: Engine) -> None:
        ran = engine.modal("deploy", APPS / "no_such_base.py", within=300)

        assert ran.code != 0
        assert "registry.invalid" in ran.output
