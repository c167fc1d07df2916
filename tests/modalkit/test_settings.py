"""Where settings come from, in which order, and what is said of those that cannot be used."""

import os
import subprocess
import sys

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from modalkit._sources import merge
from modalkit._yaml import parse
from modalkit.errors import ConfigError
from modalkit.settings import Settings, parse_bytes

NAME_OF_THE_APP = "MODALKIT_APP_SETTINGS__APP_NAME"
CONTAINERS = "MODALKIT_APP_SETTINGS__DEPLOYMENT_CONFIG__MAX_CONTAINERS"


def app_name(**values):
    return Settings(**values).app_settings.app_name


def fault():
    with pytest.raises(ConfigError) as raised:
        Settings()
    return str(raised.value)


class TestSources:
    def test_without_any_source_there_are_defaults(self):
        assert Settings().app_settings.batch_config.max_batch_size == 1

    def test_arguments_beat_the_environment_beats_dotenv_beats_yaml_beats_secret_files(self, elsewhere, write, monkeypatch):
        secrets = elsewhere / "secrets"
        secrets.mkdir()
        Settings.model_config["secrets_dir"] = str(secrets)
        (secrets / "modalkit_app_settings").write_text('{"app_name": "of-secrets"}')
        assert app_name() == "of-secrets"
        write("app_settings: {app_name: of-yaml}")
        assert app_name() == "of-yaml"
        (elsewhere / ".env").write_text(f"{NAME_OF_THE_APP}=of-dotenv\n")
        assert app_name() == "of-dotenv"
        monkeypatch.setenv(NAME_OF_THE_APP, "of-environment")
        assert app_name() == "of-environment"
        assert app_name(app_settings={"app_name": "of-arguments"}) == "of-arguments"

    def test_dotenv_is_read(self, elsewhere):
        (elsewhere / ".env").write_text("MODALKIT_APP_SETTINGS__BATCH_CONFIG__MAX_BATCH_SIZE=7\nOTHER=1\n")
        assert Settings().app_settings.batch_config.max_batch_size == 7

    def test_sources_are_merged_key_by_key(self, write, monkeypatch):
        write("app_settings: {app_name: kept, batch_config: {max_batch_size: 4, wait_ms: 5}}")
        monkeypatch.setenv("MODALKIT_APP_SETTINGS__BATCH_CONFIG__WAIT_MS", "9")
        settings = Settings().app_settings
        assert (settings.app_name, settings.batch_config.max_batch_size, settings.batch_config.wait_ms) == ("kept", 4, 9)

    def test_the_later_file_of_the_variable_wins_and_both_are_merged(self, write, monkeypatch):
        base = write("app_settings: {app_name: base, batch_config: {max_batch_size: 4}}", "base.yaml")
        production = write("app_settings: {batch_config: {max_batch_size: 64}}", "production.yaml")
        monkeypatch.setenv("MODALKIT_CONFIG", f"{base}, {production}")
        settings = Settings().app_settings
        assert (settings.app_name, settings.batch_config.max_batch_size) == ("base", 64)

    def test_the_variable_stands_in_place_of_the_file_that_the_code_names(self, write, monkeypatch):
        write("app_settings: {app_name: of-the-code}")
        monkeypatch.setenv("MODALKIT_CONFIG", str(write("app_settings: {}", "other.yaml")))
        assert app_name() == ""

    def test_the_guides_word_in_the_environment_beats_todays_word_in_yaml(self, write, monkeypatch):
        write("app_settings: {deployment_config: {max_containers: 5}}")
        monkeypatch.setenv("MODALKIT_APP_SETTINGS__DEPLOYMENT_CONFIG__CONCURRENCY_LIMIT", "9")
        assert Settings().app_settings.deployment_config.max_containers == 9

    def test_a_later_file_may_say_it_in_todays_word(self, write, monkeypatch):
        base = write("app_settings: {deployment_config: {concurrency_limit: 5}}", "base.yaml")
        over = write("app_settings: {deployment_config: {max_containers: 6}}", "over.yaml")
        monkeypatch.setenv("MODALKIT_CONFIG", f"{base},{over}")
        assert Settings().app_settings.deployment_config.max_containers == 6

    def test_nothing_is_read_at_import(self, write):
        """A broken file and a broken environment are found when settings are first asked for."""
        write("{ broken")
        code = "import modalkit.modal_service, modalkit.modal_config, modalkit.settings, modalkit.testing; print('imported')"
        broken = {**os.environ, "MODALKIT_CONFIG": "missing.yaml", NAME_OF_THE_APP: "[", "MODALKIT_APP_SETTINGS": "{"}
        ended = subprocess.run([sys.executable, "-c", code], env=broken, capture_output=True, text=True, check=False)
        assert ended.stdout == "imported\n", ended.stderr

    @pytest.mark.parametrize("text", ["", "# nothing yet\n", "app_settings:\n", "app_settings:\n  deployment_config:\n  batch_config:\n"])
    def test_an_empty_file_or_section_says_nothing(self, write, text):
        write(text)
        assert Settings().app_settings.deployment_config.retries == 3

    def test_a_model_without_arguments_of_its_own_is_a_model(self, write):
        write("model_settings:\n  model_entries:\n    small:\n    large: {weights: l.bin}\n")
        assert Settings().model_settings.model_entries == {"small": {}, "large": {"weights": "l.bin"}}

    def test_the_guides_file_is_understood(self, write):
        write("""
app_settings:
  deployment_config:
    region: "us-west-2"           # Optional: Deployment region
    gpu: "T4"                     # Optional: GPU type or list of types
    concurrency_limit: 5          # Optional: Maximum concurrent requests
    container_idle_timeout: 180   # Optional: Timeout in seconds
    allow_concurrent_inputs: 1  # Concurrent inputs per instance
    allow_concurrent_inputs_handler: 10  # Handler concurrency
  batch_config:
    max_batch_size: 1  # Maximum number of messages in an async inference batch
    wait_ms: 1000  # Maximum wait time in milliseconds to trigger a batch
""")
        config = Settings().app_settings.deployment_config
        assert (config.region, config.gpu, config.max_containers, config.scaledown_window) == ("us-west-2", "T4", 5, 180)
        assert (config.max_inputs, config.handler_max_inputs) == (1, 10)


class TestFaults:
    """Each names the file, the line and what to write instead."""

    def test_an_unknown_key_names_its_line_and_the_nearest_key(self, write):
        path = write("app_settings:\n  batch_config:\n    max_batchsize: 4\n")
        assert fault() == f"{path.name}:3: unknown key 'app_settings.batch_config.max_batchsize': did you mean 'max_batch_size'?"

    def test_every_unknown_key_is_named_at_once(self, write):
        write("app_setings: {}\nmodel_settings:\n  comon: {}\n")
        first, second = fault().splitlines()
        assert first == "modalkit.yaml:1: unknown key 'app_setings': did you mean 'app_settings'?"
        assert second == "modalkit.yaml:3: unknown key 'model_settings.comon': did you mean 'common'?"

    def test_a_key_like_no_other_is_answered_with_those_there_are(self, write):
        write("app_settings:\n  batch_config:\n    zzz: 1\n")
        assert fault() == "modalkit.yaml:3: unknown key 'app_settings.batch_config.zzz'; known here: max_batch_size, wait_ms"

    def test_an_unknown_key_of_a_mapping_of_sections_is_found(self, write):
        write("app_settings:\n  deployment_config:\n    cloud_bucket_mounts:\n      /data:\n        bucket: b\n")
        assert (
            "modalkit.yaml:5: unknown key 'app_settings.deployment_config.cloud_bucket_mounts./data.bucket': did you mean 'bucket_name'?"
            in fault()
        )

    def test_what_is_missing_is_asked_for_where_it_belongs(self, write):
        write("app_settings:\n  deployment_config:\n    cloud_bucket_mounts:\n      /data: {}\n")
        assert fault() == "modalkit.yaml:4: app_settings.deployment_config.cloud_bucket_mounts./data.bucket_name: Field required"

    def test_both_words_for_one_thing_are_named_with_both_lines(self, write):
        write("app_settings:\n  deployment_config:\n    concurrency_limit: 5\n    gpu: T4\n    max_containers: 6\n")
        said = fault()
        assert said == "modalkit.yaml:5: 'max_containers' says the same as 'concurrency_limit' (modalkit.yaml:3): keep one of them"

    def test_a_key_given_twice_names_both_lines(self, write):
        write("app_settings:\n  app_name: a\n  app_name: b\n")
        assert fault() == "modalkit.yaml:3: 'app_name' is given twice, first in line 2"

    def test_a_wrong_type_names_its_line_and_what_was_given(self, write):
        write("app_settings:\n  batch_config:\n    wait_ms: soon\n")
        said = fault()
        assert said.startswith("modalkit.yaml:3: app_settings.batch_config.wait_ms: ")
        assert "integer" in said
        assert said.endswith("(given: 'soon')")

    def test_a_wrong_value_under_the_guides_word_names_its_line(self, write):
        write("app_settings:\n  deployment_config:\n    gpu: T4\n    concurrency_limit: 0\n")
        assert fault().startswith("modalkit.yaml:4: app_settings.deployment_config.concurrency_limit: Input should be greater than 0")

    def test_of_two_files_the_one_that_said_it_is_named(self, write, monkeypatch):
        base = write("app_settings:\n  batch_config:\n    wait_ms: soon\n", "base.yaml")
        over = write("app_settings:\n  batch_config:\n    max_batch_size: 2\n", "over.yaml")
        monkeypatch.setenv("MODALKIT_CONFIG", f"{base},{over}")
        assert fault().startswith(f"{base}:3: ")

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("a: [", "modalkit.yaml:1:"),
            ("- a\n", "modalkit.yaml:1: holds list"),
            ("just words", "modalkit.yaml:1: holds str"),
            ("a: !!python/object:os.system {}\n", "modalkit.yaml:1:"),
            ("a: &a\n  b: *a\n", "modalkit.yaml: is nested"),
        ],
    )
    def test_what_is_not_a_configuration_is_said(self, write, text, words):
        write(text)
        assert words in fault()

    def test_a_missing_file_is_said(self, monkeypatch):
        monkeypatch.setenv("MODALKIT_CONFIG", "missing.yaml")
        assert fault() == "missing.yaml: cannot be read: No such file or directory"

    def test_text_that_is_not_utf8_is_said(self, write):
        write("").write_bytes(b"\xff\xfe\x00")
        assert fault() == "modalkit.yaml: is not UTF-8 text"

    def test_a_wrong_value_of_the_environment_names_the_variable(self, write, monkeypatch):
        write("app_settings:\n  deployment_config:\n    gpu: T4\n    max_containers: 3\n")
        monkeypatch.setenv(CONTAINERS, "many")
        assert fault().startswith(f"environment: {CONTAINERS}: app_settings.deployment_config.max_containers: ")

    def test_a_wrong_value_that_may_be_secret_is_not_repeated(self, monkeypatch):
        monkeypatch.setenv("MODALKIT_APP_SETTINGS__OBSERVABILITY_CONFIG", '{"headers": "authorization=hunter2"}')
        with pytest.raises(ConfigError, match=r"OBSERVABILITY_CONFIG.*: Input should be a valid dictionary$"):
            Settings()

    def test_a_wrong_value_of_dotenv_names_the_variable(self, elsewhere):
        (elsewhere / ".env").write_text(f"{CONTAINERS}=many\n")
        assert fault().startswith(f".env: {CONTAINERS}: ")

    def test_an_unknown_key_of_the_environment_names_the_variable_and_the_nearest_key(self, monkeypatch):
        monkeypatch.setenv("MODALKIT_APP_SETTINGS__BATCH_CONFIG__MAX_BATCHSIZE", "4")
        said = fault()
        assert said.startswith("environment: MODALKIT_APP_SETTINGS__BATCH_CONFIG__MAX_BATCHSIZE: unknown key")
        assert "did you mean 'max_batch_size'?" in said

    def test_json_in_the_environment_that_is_none_is_said(self, monkeypatch):
        monkeypatch.setenv("MODALKIT_APP_SETTINGS", "{")
        assert "app_settings" in fault()

    def test_an_unknown_argument_is_an_error(self):
        with pytest.raises(ConfigError, match=r"unknown key 'app_setings': did you mean 'app_settings'\?"):
            Settings(app_setings={})


class TestMemory:
    @pytest.mark.parametrize(
        ("given", "count"),
        [
            (0, 0),
            (17, 17),
            ("17", 17),
            ("4GiB", 4 * 2**30),
            ("4 GiB", 4 * 2**30),
            ("1.5gb", 1_500_000_000),
            ("512MiB", 512 * 2**20),
            ("8B", 8),
        ],
    )
    def test_amounts(self, given, count):
        assert parse_bytes(given) == count

    @pytest.mark.parametrize("given", ["", "GiB", "4 gigs", "-1GiB", "4GiBB", "1e400GiB", "nan", -5])
    def test_what_is_no_amount_is_refused(self, given):
        with pytest.raises(ValueError, match="no amount of memory"):
            parse_bytes(given)

    def test_a_budget_that_is_none_names_its_line(self, write):
        write("model_settings:\n  memory_budget: lots\n")
        assert fault().startswith("modalkit.yaml:2: model_settings.memory_budget: 'lots' is no amount of memory")


keys = st.from_regex(r"[a-z]{1,6}", fullmatch=True).filter(
    lambda key: key not in {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}
)
scalars = st.integers() | st.booleans() | st.text(max_size=12) | st.none()
trees = st.recursive(scalars, lambda inner: st.dictionaries(keys, inner, max_size=4) | st.lists(inner, max_size=3), max_leaves=12)
documents = st.dictionaries(keys, trees, max_size=4)


def leaves(tree, loc=()):
    """Every place that holds something other than a filled mapping, and what it holds."""
    if not isinstance(tree, dict) or not tree:
        yield loc, tree
        return
    for key, value in tree.items():
        yield from leaves(value, (*loc, key))


def at(tree, loc):
    for part in loc:
        tree = tree[part]
    return tree


class TestMerge:
    @given(documents, documents)
    def test_what_the_later_says_holds(self, base, over):
        merged = merge(base, over)
        assert all(at(merged, loc) == value for loc, value in leaves(over) if value != {})

    @given(documents, documents)
    def test_what_only_the_earlier_says_stays(self, base, over):
        merged = merge(base, over)
        for key, value in base.items():
            if key not in over:
                assert merged[key] == value

    @given(documents, documents)
    def test_neither_is_changed_and_twice_is_once(self, base, over):
        was = repr((base, over))
        merged = merge(base, over)
        assert merge(merged, over) == merged
        assert repr((base, over)) == was


class TestLines:
    @given(documents, st.booleans())
    def test_every_key_is_found_in_its_line(self, tmp_path_factory, document, sort):
        text = yaml.safe_dump(document, sort_keys=sort, default_flow_style=False)
        read, lines = parse(text, tmp_path_factory.getbasetemp() / "x.yaml"), text.split("\n")
        assert read.data == document
        for loc, _ in leaves(document):
            if loc:
                line = int(read.where(loc).rpartition(":")[2])
                assert f"{loc[-1]}:" in lines[line - 1]

    def test_a_value_of_a_list_has_its_own_line(self, tmp_path):
        document = parse("a:\n  - 1\n  - b: 2\n", tmp_path / "x.yaml")
        assert document.where(("a", 1, "b")).endswith(":3")

    def test_what_is_not_there_is_looked_for_where_it_would_be(self, tmp_path):
        document = parse("a:\n  b:\n    c: 1\n", tmp_path / "x.yaml")
        assert document.where(("a", "b", "missing", "deeper")).endswith(":2")
