"""From settings to the SDK's arguments, and what the image is made of."""

import importlib.metadata
import os

import modal
import pytest
from builders import a_config, an_app
from modal._utils.async_utils import synchronizer

from modalkit import _sdk
from modalkit.errors import ConfigError
from modalkit.modal_config import ModalConfig
from modalkit.settings import Settings

GUIDE = """
app_settings:
  app_name: guide
  deployment_config:
    region: "us-west-2"
    gpu: "T4"
    concurrency_limit: 5
    container_idle_timeout: 180
    allow_concurrent_inputs: 1
    allow_concurrent_inputs_handler: 10
"""


def _inner(wrapped):
    """The SDK's own object behind the one that users see."""
    return synchronizer._translate_in(wrapped)


class RecordedImage:
    """Stands for `modal.Image`: which steps are asked for, in order. What the SDK makes of them is its own business."""

    def __init__(self):
        self.steps = []

    def __getattr__(self, name):
        def step(*args, **kwargs):
            self.steps.append((name, args, kwargs))
            return self

        return step

    def named(self, name):
        return [args for step, args, _ in self.steps if step == name]


@pytest.fixture
def image(monkeypatch):
    recorded = RecordedImage()
    monkeypatch.setattr(modal, "Image", recorded)
    return recorded


class TestNames:
    def test_the_guides_names_reach_the_sdk_under_its_own(self, write):
        write(GUIDE)
        settings = ModalConfig().get_app_cls_settings()
        assert {key: settings[key] for key in ("region", "gpu", "max_containers", "scaledown_window")} == {
            "region": "us-west-2",
            "gpu": "T4",
            "max_containers": 5,
            "scaledown_window": 180,
        }

    def test_keywords_that_the_sdk_removed_are_not_passed(self, write):
        write(GUIDE)
        app = modal.App("test")
        for settings in (ModalConfig().get_app_cls_settings(), ModalConfig().get_handler_settings()):
            assert not {"concurrency_limit", "container_idle_timeout", "keep_warm"} & settings.keys()
        app.function(serialized=True, **ModalConfig().get_handler_settings())(lambda: None)

    def test_the_handlers_concurrency_becomes_the_decorator(self, write):
        write(GUIDE)
        app = modal.App("test")
        function = app.function(serialized=True, **ModalConfig().get_handler_settings())(lambda: None)
        assert isinstance(function, modal.Function)
        assert ModalConfig().get_handler_settings()[_sdk.CONCURRENCY] == 10

    def test_one_input_at_a_time_needs_no_decorator(self, write):
        write(GUIDE)
        assert _sdk.CONCURRENCY not in ModalConfig().get_app_cls_settings()

    def test_todays_names_are_passed_as_they_are(self):
        todays = {
            "max_containers": 4,
            "min_containers": 1,
            "buffer_containers": 2,
            "scaledown_window": 60,
            "timeout": 30,
            "startup_timeout": 90,
            "cpu": 2.0,
            "memory": (512, 1024),
            "cloud": "aws",
            "ephemeral_disk": 600_000,
            "enable_memory_snapshot": True,
        }
        settings = a_config(deployment_config=todays).get_app_cls_settings()
        assert {key: settings[key] for key in todays} == todays

    def test_what_is_not_said_is_not_passed(self):
        assert a_config().get_app_cls_settings().keys() == {"image", "secrets", "retries"}

    def test_the_web_containers_take_what_is_theirs(self):
        deployment = {
            "gpu": "T4",
            "cpu": 8,
            "max_containers": 3,
            "handler_cpu": 0.5,
            "handler_max_containers": 2,
            "timeout": 40,
            "region": "eu",
        }
        settings = a_config(deployment_config=deployment).get_handler_settings()
        assert "gpu" not in settings
        assert (settings["cpu"], settings["max_containers"], settings["timeout"], settings["region"]) == (0.5, 2, 40, "eu")

    def test_volumes_and_buckets_are_mounted_in_the_models_containers_alone(self):
        deployment = {
            "volumes": {"/models": "weights"},
            "cloud_bucket_mounts": {"/data": {"bucket_name": "b", "secret": "keys", "read_only": False}},
        }
        config = a_config(deployment_config=deployment)
        volumes = config.get_app_cls_settings()["volumes"]
        assert isinstance(volumes["/models"], modal.Volume)
        assert isinstance(volumes["/data"], modal.CloudBucketMount)
        assert (_inner(volumes["/data"]).bucket_name, _inner(volumes["/data"]).read_only) == ("b", False)
        assert "volumes" not in config.get_handler_settings()

    def test_no_retries_are_none(self):
        assert "retries" not in a_config(deployment_config={"retries": 0}).get_app_cls_settings()

    def test_a_keyword_that_the_installed_sdk_lacks_is_named(self):
        with pytest.raises(TypeError, match=r"does not know telepathy of @app\.cls"):
            _sdk.accepted("cls", {"telepathy": True})


class TestConcurrency:
    def test_an_app_without_it_is_decorated_as_before(self):
        ModalConfig()
        app = modal.App("test")
        assert isinstance(app.function(serialized=True)(lambda: None), modal.Function)

    def test_teaching_twice_wraps_once(self):
        _sdk.teach_app()
        taught = modal.App.function
        _sdk.teach_app()
        assert modal.App.function is taught


class TestBatching:
    def test_each_service_has_its_own_batch_settings(self):
        """One global setting for all services was the defect."""
        small = an_app(batch_config={"max_batch_size": 2, "wait_ms": 10}).Service.user_class
        large = an_app(batch_config={"max_batch_size": 64, "wait_ms": 50}).Service.user_class
        assert [_batch_of(each) for each in (small, large)] == [(2, 0), (64, 0)]


def _batch_of(user_class):
    params = _inner(user_class.__dict__["process_request"]).params
    return params.batch_max_size, params.batch_wait_ms


class TestAppName:
    def test_without_a_name_it_is_the_folders(self, write, tmp_path):
        write("app_settings: {}")
        assert ModalConfig().app_name == tmp_path.resolve().name

    def test_letters_that_a_name_cannot_have_are_replaced(self, elsewhere, monkeypatch):
        folder = elsewhere / "my app (v2)"
        folder.mkdir()
        (folder / "c.yaml").write_text("app_settings: {}")
        monkeypatch.setenv("MODALKIT_CONFIG", str(folder / "c.yaml"))
        assert ModalConfig().app_name == "my-app-v2"


class TestImage:
    def test_the_configured_image_is_kept(self, image):
        """It was replaced by Debian in silence."""
        a_config(build_config={"image": "ghcr.io/some/base", "tag": "1.2", "python_version": "3.12"}).get_image()
        assert image.steps[0] == ("from_registry", ("ghcr.io/some/base:1.2",), {"add_python": "3.12"})
        assert not image.named("debian_slim")

    def test_an_image_by_digest_takes_no_tag(self, image):
        a_config(build_config={"image": "ghcr.io/some/base@sha256:" + "0" * 64}).get_image()
        assert image.named("from_registry") == [("ghcr.io/some/base@sha256:" + "0" * 64,)]

    def test_an_image_with_its_tag_takes_no_other(self, image):
        a_config(build_config={"image": "localhost:5000/base:cuda"}).get_image()
        assert image.named("from_registry") == [("localhost:5000/base:cuda",)]

    def test_without_one_it_is_debian_with_this_python(self, image):
        a_config().get_image()
        assert image.steps[0][0] == "debian_slim"

    @pytest.mark.parametrize(
        ("given", "steps"),
        [("echo 1", [("echo 1",)]), (["echo 1", "echo 2"], [("echo 1", "echo 2")]), ([], []), ("", [])],
        ids=["text", "list", "empty list", "empty text"],
    )
    def test_extra_run_commands_are_run_as_text_and_as_a_list(self, image, given, steps):
        """The list was dropped."""
        a_config(build_config={"extra_run_commands": given}).get_image()
        assert image.named("run_commands") == steps

    def test_packages_requirements_environment_and_folder_are_steps(self, image, tmp_path):
        build = {"apt_packages": ["git"], "pip_packages": ["numpy==2.4.6"], "requirements": "r.txt", "env": {"A": "b"}, "workdir": "/srv"}
        a_config(build_config=build).get_image()
        assert image.named("apt_install") == [("git",)]
        assert "numpy==2.4.6" in image.named("pip_install")[0]
        assert image.named("pip_install_from_requirements") == [(str(tmp_path / "r.txt"),)]
        assert image.named("workdir") == [("/srv",)]
        assert image.named("env")[0][0]["A"] == "b"

    def test_the_requirements_of_this_package_are_installed_and_modal_is_not(self, image):
        a_config().get_image()
        (installed,) = image.named("pip_install")
        declared = [each for each in importlib.metadata.requires("modalkit") if "extra ==" not in each and not each.startswith("modal>")]
        assert set(declared) <= set(installed)
        assert not any(each.startswith("modal>") for each in installed)

    def test_the_yaml_is_shipped_and_named_in_the_image(self, image, write):
        path = write("app_settings: {app_name: shipped}")
        ModalConfig().get_image()
        assert image.named("add_local_file") == [(str(path), "/root/.modalkit/0/modalkit.yaml")]
        assert image.named("env") == [({"MODALKIT_CONFIG": "/root/.modalkit/0/modalkit.yaml"},)]

    def test_two_files_of_one_name_are_shipped_as_two(self, image, tmp_path, monkeypatch):
        paths = []
        for folder in ("base", "production"):
            (tmp_path / folder).mkdir()
            paths.append(tmp_path / folder / "modalkit.yaml")
            paths[-1].write_text("app_settings: {}")
        monkeypatch.setenv("MODALKIT_CONFIG", ",".join(map(str, paths)))
        ModalConfig().get_image()
        sources, targets = zip(*image.named("add_local_file"), strict=True)
        assert sources == tuple(map(str, paths))
        assert len(set(targets)) == 2
        assert image.named("env")[0][0]["MODALKIT_CONFIG"] == ",".join(targets)

    def test_this_package_and_the_users_own_come_along_as_source(self, image):
        a_config(build_config={"python_sources": ["mine"]}).get_image()
        assert image.named("add_local_python_source") == [("modalkit", "mine")]

    def test_folders_are_relative_to_the_yaml_file(self, image, write, tmp_path):
        write("app_settings: {build_config: {local_dirs: {models: /root/models}}}")
        ModalConfig().get_image()
        assert image.named("add_local_dir") == [(str(tmp_path / "models"), "/root/models")]


class TestOverrides:
    def test_what_the_environment_says_here_is_said_in_containers(self, elsewhere, monkeypatch):
        (elsewhere / ".env").write_text("MODALKIT_APP_SETTINGS__APP_NAME=of-dotenv\nPASSWORD=secret\n")
        monkeypatch.setenv("MODALKIT_APP_SETTINGS__BATCH_CONFIG__WAIT_MS", "9")
        said = {"MODALKIT_APP_SETTINGS__APP_NAME": "of-dotenv", "MODALKIT_APP_SETTINGS__BATCH_CONFIG__WAIT_MS": "9"}
        assert self.given(monkeypatch) == said

    def test_a_name_that_is_a_folders_is_said_too(self, write, tmp_path, monkeypatch):
        write("app_settings: {}")
        assert self.given(monkeypatch) == {"MODALKIT_APP_SETTINGS__APP_NAME": tmp_path.resolve().name}

    def given(self, monkeypatch):
        made = []
        monkeypatch.setattr(modal.Secret, "from_dict", lambda values: made.append(values) or modal.Secret.from_name("x"))
        ModalConfig().get_app_cls_settings()
        said = {key: value for each in made for key, value in each.items()}
        said.pop("MODALKIT_JOB_KEY", None)  # another matter
        return said


class TestReading:
    def test_a_configuration_that_cannot_be_used_is_said_when_it_is_asked_for(self, write):
        write("app_settings:\n  nam: x\n")
        config = ModalConfig()
        with pytest.raises(ConfigError, match=r"modalkit\.yaml:2: unknown key"):
            config.get_app_cls_settings()

    def test_settings_are_read_once(self, write):
        path = write("app_settings: {app_name: first}")
        config = ModalConfig()
        assert config.app_name == "first"
        path.write_text("app_settings: {app_name: second}")
        assert config.app_name == "first"

    @pytest.mark.parametrize("interval", ["null", "0", "-1"])
    def test_no_interval_zero_and_minus_one_mean_never(self, write, interval):
        """Minus one meant before every request."""
        write(f"app_settings: {{deployment_config: {{volume_reload_interval_seconds: {interval}}}}}")
        app = an_app()
        app.Service.user_class.modal_utils = ModalConfig(Settings())
        instance = app.Service.user_class()
        assert instance._start_reloader(Settings()) is None

    def test_the_file_beside_the_app_is_found(self, elsewhere, monkeypatch):
        """`modal deploy folder/app.py` runs in another folder, and puts the app's folder first on the path."""
        folder = elsewhere / "service"
        folder.mkdir()
        (folder / "modalkit.yaml").write_text("app_settings: {app_name: beside}")
        monkeypatch.syspath_prepend(str(folder))
        Settings.model_config["yaml_file"] = "modalkit.yaml"
        assert ModalConfig().app_name == "beside"
        assert ModalConfig().model_folder == os.path.join(folder, "models")  # noqa: PTH118
