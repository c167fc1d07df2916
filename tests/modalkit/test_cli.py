"""The `modalkit` command as a person types it: in a process of its own (forking.py), with wrong input too."""

import contextlib
import json
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from modalkit._cli.bench import Batches, parse_batches, percentile
from modalkit._cli.schema import settings_schema
from modalkit.settings import DeploymentConfig

COMMAND = [sys.executable, "-c", "from modalkit.cli import main; main()"]
DEADLINE = 60  # seconds; machines that run tests are busy


class Forking:
    """Runs the command in processes that are forked from one that has imported it."""

    def __init__(self, folder):
        self._folder = folder
        self._server = None

    def __call__(self, *arguments, cwd, stdin="", **environment):
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MODALKIT_")}
        streams = {name: self._folder / name for name in ("stdin", "stdout", "stderr")}
        for path in streams.values():
            path.write_text("")
        streams["stdin"].write_text(stdin)
        request = {"arguments": arguments, "cwd": str(cwd), "environment": clean | environment} | {
            name: str(path) for name, path in streams.items()
        }
        code = int(self._ask(json.dumps(request)))
        return subprocess.CompletedProcess(arguments, code, streams["stdout"].read_text(), streams["stderr"].read_text())

    def _ask(self, request):
        if self._server is None:
            command = [sys.executable, str(Path(__file__).with_name("forking.py"))]
            self._server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._server.stdin.write(request + "\n")
        self._server.stdin.flush()
        return self._server.stdout.readline()

    def close(self):
        if self._server is not None:
            self._server.communicate(timeout=DEADLINE)


@pytest.fixture(scope="module")
def modalkit(tmp_path_factory):
    """Runs the command: `modalkit("check", "app.py", cwd=…)`, with what it printed and its exit status."""
    forking = Forking(tmp_path_factory.mktemp("streams"))
    yield forking
    forking.close()


@pytest.fixture(scope="module")
def scaffold(modalkit, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scaffold")
    made = modalkit("new", "shop", cwd=folder)
    assert made.returncode == 0, made.stderr
    return folder / "shop"


@pytest.fixture
def shop(scaffold, tmp_path):
    """The scaffold, to be changed."""
    return shutil.copytree(scaffold, tmp_path / "shop", ignore=shutil.ignore_patterns("__pycache__"))


def change(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


class TestCommandLine:
    def test_help_imports_nothing_that_is_slow(self):
        code = "import sys, modalkit.cli; print({'modal', 'fastapi', 'pydantic', 'rich', 'aiohttp'} & set(sys.modules))"
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"

    def test_help_lists_every_command(self, modalkit, tmp_path):
        printed = modalkit("--help", cwd=tmp_path).stdout
        assert re.findall(r"^  (\w+) +\w", printed, re.MULTILINE) == ["new", "check", "dev", "invoke", "bench", "completion"]

    def test_the_version_names_the_packages_that_matter(self, modalkit, tmp_path):
        assert re.fullmatch(r"modalkit \S+ \(modal \S+, Python 3\S+\)\n", modalkit("--version", cwd=tmp_path).stdout)

    @pytest.mark.parametrize(("typed", "meant"), [("chekc", "; did you mean 'check'?"), ("init", "; did you mean 'new'?"), ("xyz", ".")])
    def test_an_unknown_command_is_a_sentence(self, modalkit, tmp_path, typed, meant):
        outcome = modalkit(typed, cwd=tmp_path)
        assert (outcome.returncode, f"No such command {typed!r}{meant}\n" in outcome.stderr) == (2, True)

    def test_a_shell_can_complete_commands(self, modalkit, tmp_path):
        assert "_MODALKIT_COMPLETE=zsh_complete" in modalkit("completion", "zsh", cwd=tmp_path).stdout
        told = modalkit(cwd=tmp_path, _MODALKIT_COMPLETE="zsh_complete", COMP_WORDS="modalkit in", COMP_CWORD="1")
        assert "invoke" in told.stdout.splitlines()


class TestNew:
    def test_the_service_passes_its_own_test(self, scaffold):
        outcome = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", scaffold],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert outcome.returncode == 0, outcome.stdout
        assert "3 passed" in outcome.stdout

    def test_its_readme_has_five_lines(self, scaffold):
        assert len((scaffold / "README.md").read_text().splitlines()) == 5

    def test_nothing_is_overwritten(self, modalkit, shop):
        (shop / "app.py").write_text("mine")
        outcome = modalkit("new", "shop", cwd=shop.parent)
        assert (outcome.returncode, outcome.stderr) == (1, "Error: There is a shop already. Nothing was changed; choose another name.\n")
        assert (shop / "app.py").read_text() == "mine"

    @pytest.mark.parametrize("name", ["my shop", "-shop", "x" * 64, "..", "$name"])
    def test_a_name_that_no_app_can_have_is_refused(self, modalkit, tmp_path, name):
        outcome = modalkit("new", "--", name, cwd=tmp_path)
        assert outcome.returncode == 1
        assert "cannot be the name of an app" in outcome.stderr
        assert list(tmp_path.iterdir()) == []


WRONG = """\
app_settings:
  app_name: 5
  build_config:
    # an empty section is none
  deployment_config:
    concurrency_limit: many
    max_contaners: 4
    cpu: lots
    cloud_bucket_mounts: { /data: { key_prefix: a/ } }
    container_idle_timeout: 30
    scaledown_window: 40
  web_config: [1]
model_settings:
  memory_budget: 4Gx
apps: 4
"""


SOON = "unable to parse string as an integer (given: 'soon')"


class TestCheck:
    def test_it_says_what_it_found(self, modalkit, scaffold):
        outcome = modalkit("check", cwd=scaffold)
        assert (outcome.returncode, outcome.stderr) == (0, "")
        assert outcome.stdout.splitlines() == [
            "Service of 'shop' runs Line: 1 model (line), batches of 16 (an item waits at most 5 ms)",
            "containers: at most 5, 180 s idle",
            "web: Input → Output; /predict_sync, /predict_batch, /predict_async, /v2/models/{model_name}/infer",
            "functions: predict",
            "No faults.",
        ]

    def test_every_fault_of_the_file_has_its_line_and_the_nearest_key(self, modalkit, shop):
        (shop / "modalkit.yaml").write_text(WRONG)
        for target in ("modalkit.yaml", "app.py"):
            outcome = modalkit("check", target, cwd=shop)
            lines = outcome.stderr.splitlines()
            assert (outcome.returncode, lines[-1]) == (1, "9 faults.")
            assert [int(line.split(":")[1]) for line in lines[:-1]] == [2, 6, 7, 8, 9, 11, 12, 14, 15]
            assert "deployment_config.concurrency_limit: Input should be a valid integer" in lines[1]  # in the file's own word
            assert lines[2].endswith("'app_settings.deployment_config.max_contaners': did you mean 'max_containers'?")
            assert lines[3].count("(given: 'lots')") == 2  # both types that it may have, in one line
            assert lines[4].endswith("cloud_bucket_mounts./data.bucket_name: Field required")
            assert "says the same as 'container_idle_timeout' (modalkit.yaml:10)" in lines[5]
            assert "a mapping belongs here" in lines[6]
            assert lines[8].endswith("unknown key 'apps': did you mean 'app_settings'?")

    def test_entries_are_held_against_the_constructor(self, modalkit, shop):
        change(shop / "modalkit.yaml", "line: { slope: 2.0,", "other:\n    line: { slop: 2.0,")
        lines = modalkit("check", cwd=shop).stderr.splitlines()
        assert lines == [
            "modalkit.yaml:15: model 'other' gives no 'slope', which Line needs",
            "modalkit.yaml:16: model 'line': Line takes no 'slop': did you mean 'slope'?",
            "modalkit.yaml:16: model 'line' gives no 'slope', which Line needs",
            "3 faults.",
        ]

    def test_the_default_model_must_have_an_entry(self, modalkit, shop):
        change(shop / "modalkit.yaml", "    line:", "    lines:")
        fault = modalkit("check", cwd=shop).stderr.splitlines()[0]
        assert fault == "modalkit.yaml:14: model_name of Service is 'line' by default, and no entry has that name: did you mean 'lines'?"

    def test_files_that_the_build_needs_must_be_there(self, modalkit, shop):
        change(shop / "modalkit.yaml", "[pipeline]", "[pipelin]\n    requirements: needed.txt\n    local_dirs: { weights: /root/weights }")
        lines = modalkit("check", cwd=shop).stderr.splitlines()
        assert [line.split(": ")[0] for line in lines] == ["modalkit.yaml:4", "modalkit.yaml:5", "modalkit.yaml:6", "3 faults."]

    def test_an_input_model_that_the_pipeline_does_not_take_is_found(self, modalkit, shop):
        change(shop / "app.py", "input_model=Input", "input_model=Output")
        assert "app.py: web() takes Output, and Line a list of Input" in modalkit("check", cwd=shop).stderr

    def test_a_generic_model_without_its_message_is_found(self, modalkit, shop):
        change(shop / "app.py", "input_model=Input", "input_model=AsyncInputModel")
        change(shop / "app.py", "import modal\n", "import modal\nfrom modalkit.iomodel import AsyncInputModel\n")
        assert "AsyncInputModel without the type of its message" in modalkit("check", cwd=shop).stderr

    @pytest.mark.parametrize(
        ("code", "said"),
        [
            ("import nothing_such", "app.py:1: ModuleNotFoundError: No module named 'nothing_such'"),
            ("\ndef f(:", "app.py:2: invalid syntax"),
            ("x = 1 / 0", "app.py:1: ZeroDivisionError"),
            ("import sys; sys.exit('no')", "app.py:1: SystemExit: no"),
            ("import modal\napp = modal.App()", "app.py: no class of it derives from ModalService"),
            ("import helper", "helper.py:1: ValueError: mine"),
        ],
    )
    def test_an_app_that_cannot_be_imported_says_where(self, modalkit, tmp_path, code, said):
        (tmp_path / "app.py").write_text(code)
        (tmp_path / "helper.py").write_text("raise ValueError('mine')")
        outcome = modalkit("check", cwd=tmp_path)
        assert outcome.returncode == 1
        assert outcome.stderr.startswith(said)
        assert "Traceback" not in outcome.stderr

    def test_arguments_that_a_decorator_refuses_are_found(self, modalkit, shop):
        change(shop / "modalkit.yaml", "max_containers: 5", "max_containers: 5\n    min_containers: 6")
        outcome = modalkit("check", cwd=shop)
        assert outcome.returncode == 1
        assert outcome.stderr.startswith("app.py:")

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("a: [1\nb: 2", "bad.yaml:2: "),
            ("a: 1\na: 2", "bad.yaml:2: 'a' is given twice, first in line 1"),
            ("words", "bad.yaml:1: holds str"),
        ],
    )
    def test_what_is_no_configuration_says_so(self, modalkit, tmp_path, text, said):
        (tmp_path / "bad.yaml").write_text(text)
        outcome = modalkit("check", "bad.yaml", cwd=tmp_path)
        assert (outcome.returncode, outcome.stderr.startswith(said)) == (1, True)

    def test_keys_that_only_a_secret_knows_are_no_fault(self, modalkit, shop):
        change(
            shop / "modalkit.yaml",
            "  deployment_config:",
            "  auth_config: { kind: api_key }\n  deployment_config:\n    secrets: [api-keys]",
        )
        outcome = modalkit("check", cwd=shop)
        assert (outcome.returncode, "asks for: api_key" in outcome.stdout) == (0, True)

        change(shop / "modalkit.yaml", "    secrets: [api-keys]\n", "")
        assert "MODALKIT_API_KEYS is not set" in modalkit("check", cwd=shop).stderr

    @pytest.mark.parametrize(
        ("queue", "said"),
        [
            ("{ backend: sqss }", "modalkit.yaml:3: queue_config.backend: there is no 'sqss'; did you mean sqs?"),
            ("{ backend: redis }", "modalkit.yaml:3: queue_config: redis cannot be made: ValueError: url is missing"),
        ],
    )
    @pytest.mark.parametrize("target", ["app.py", "modalkit.yaml"])
    def test_a_queue_that_cannot_be_made_is_found(self, modalkit, shop, queue, said, target):
        change(shop / "modalkit.yaml", "  build_config:", f"  queue_config: {queue}\n  build_config:")
        outcome = modalkit("check", target, cwd=shop)
        assert (outcome.returncode, outcome.stderr.startswith(said)) == (1, True), outcome.stderr

    def test_the_environment_is_checked_too(self, modalkit, shop):
        wrong = "MODALKIT_APP_SETTINGS__BATCH_CONFIG__WAIT_MS"
        outcome = modalkit("check", cwd=shop, **{wrong: "soon"}, MODALKIT_APP_SETINGS__APP_NAME="x")
        assert outcome.stderr.splitlines()[:2] == [
            f"environment: {wrong}: app_settings.batch_config.wait_ms: Input should be a valid integer, {SOON}",
            "environment: MODALKIT_APP_SETINGS__APP_NAME is no setting: did you mean 'MODALKIT_APP_SETTINGS'?",
        ]

    def test_the_environment_is_stronger_in_either_word(self, modalkit, shop):
        outcome = modalkit("check", cwd=shop, MODALKIT_APP_SETTINGS__DEPLOYMENT_CONFIG__CONCURRENCY_LIMIT="7")
        assert "containers: at most 7" in outcome.stdout, outcome.stderr

    @pytest.mark.parametrize(
        ("target", "said"), [("none.py", "no file none.py"), ("none.yaml", "no file none.yaml"), ("", "neither app.py")]
    )
    def test_what_is_not_there_is_named(self, modalkit, tmp_path, target, said):
        outcome = modalkit("check", *([target] if target else []), cwd=tmp_path)
        assert (outcome.returncode, said in outcome.stderr) == (1, True)

    def test_the_schema_is_json_for_editors(self, modalkit, tmp_path):
        assert json.loads(modalkit("check", "--schema", cwd=tmp_path).stdout) == settings_schema()

    def test_the_schema_knows_the_synonyms_and_refuses_unknown_keys(self):
        section = settings_schema()["$defs"]["DeploymentConfig"]
        assert set(DeploymentConfig.SYNONYMS) <= set(section["properties"])
        assert section["properties"]["concurrency_limit"]["anyOf"] == section["properties"]["max_containers"]["anyOf"]
        assert {"not": {"required": ["concurrency_limit", "max_containers"]}} in section["allOf"]
        assert settings_schema()["additionalProperties"] is section["additionalProperties"] is False


SECOND = """\
@app.function(**modal_config.get_handler_settings())
@modal.asgi_app()
def second():
    return create_web_endpoints(app_cls=Service, input_model=Input, output_model=Output)


@app.function(**modal_config.get_handler_settings())
def predict"""


class Dev:
    """`modalkit dev` in a process of its own; a context manager, so that a failed test leaves none."""

    def __init__(self, folder, *arguments):
        self.process = subprocess.Popen(
            [*COMMAND, "dev", "app.py", "--port", "0", *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._lines = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.stop()

    def line(self, words):
        """The next line with these words."""
        seen = []
        until = time.monotonic() + DEADLINE
        while (left := until - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                seen.append(self._lines.get(timeout=left))
                if words in seen[-1]:
                    return seen[-1]
        pytest.fail(f"no {words!r} in: {seen}")

    def url(self):
        return re.search(r"http://\S+", self.line(" at http://"))[0]

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self._reader.join(DEADLINE)  # the end of its output is that of all its processes
        return self.process.wait(DEADLINE)

    def _read(self):
        with self.process.stdout as lines:
            for line in lines:
                self._lines.put(line)


@pytest.fixture(scope="module")
def service(scaffold):
    """The address of the scaffold, served."""
    with Dev(scaffold, "--no-reload") as dev:
        yield dev.url()


class TestDev:
    def test_a_change_is_served_and_a_fault_waits_for_its_mending(self, modalkit, shop):
        with Dev(shop) as dev:
            url = dev.url()
            assert json.loads(modalkit("invoke", url, '{"x": 2}', cwd=shop).stdout) == {"y": 5.0}

            change(shop / "modalkit.yaml", "slope: 2.0", "slope: 4.0")
            dev.line("modalkit.yaml changed")
            assert dev.url() == url
            assert json.loads(modalkit("invoke", url, '{"x": 2}', cwd=shop).stdout) == {"y": 9.0}

            change(shop / "modalkit.yaml", "max_containers", "max_contaners")
            assert "modalkit.yaml:7: unknown key" in dev.line("Error: ")
            dev.line("The server ended.")
            change(shop / "modalkit.yaml", "max_contaners", "max_containers")
            assert dev.url() == url

            assert dev.stop() == 0
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) != 0

    def test_a_model_that_cannot_be_loaded_is_told_and_served_as_not_ready(self, modalkit, shop):
        change(shop / "modalkit.yaml", "slope: 2.0, ", "")
        with Dev(shop, "--no-reload") as dev:
            assert "missing 1 required keyword-only argument: 'slope'" in dev.line("Model 'line' is not ready")
            outcome = modalkit("invoke", dev.url(), '{"x": 2}', cwd=shop)
        assert outcome.returncode == 5
        assert outcome.stderr.startswith("503 Service Unavailable: Model 'line' is not ready")

    def test_of_several_web_functions_the_first_is_served_and_the_others_are_named(self, modalkit, shop):
        change(shop / "app.py", "@app.function(**modal_config.get_handler_settings())\ndef predict", SECOND)
        with Dev(shop, "--no-reload") as dev:
            assert dev.line("Serving") == "Serving web, the first web function; for another: --function second\n"
            assert json.loads(modalkit("invoke", dev.url(), '{"x": 2}', cwd=shop).stdout) == {"y": 5.0}

        assert modalkit("invoke", "app.py", "{}", "--function", "third", cwd=shop).stderr == (
            "Error: app has no web function 'third' (web, second)\n"
        )

    def test_a_port_that_is_taken_is_said_to_be(self, modalkit, scaffold):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            outcome = modalkit("dev", "app.py", "--port", str(port), cwd=scaffold)
        assert outcome.returncode == 1
        assert outcome.stderr.startswith(f"Error: Port {port} of 127.0.0.1 is taken by another program.")

    def test_an_app_that_is_not_there_is_said_to_be(self, modalkit, tmp_path):
        outcome = modalkit("dev", "none.py", cwd=tmp_path)
        assert (outcome.returncode, outcome.stderr.startswith("Error: There is no file none.py.")) == (1, True)

    def test_a_web_function_that_cannot_make_its_app_is_a_sentence(self, modalkit, shop):
        change(shop / "app.py", "input_model=Input", "input_model=Inpt")
        for arguments in (("dev", "app.py", "--no-reload", "--port", "0"), ("invoke", "app.py", "{}")):
            outcome = modalkit(*arguments, cwd=shop)
            assert outcome.stderr == "Error: app.py:26: NameError: name 'Inpt' is not defined\n"


class TestInvoke:
    def test_the_input_may_be_text_a_file_or_standard_input(self, modalkit, service, tmp_path):
        (tmp_path / "input.json").write_text('{"x": 2}')
        for given in ('{"x": 2}', "@input.json", "-"):
            outcome = modalkit("invoke", service, given, cwd=tmp_path, stdin='{"x": 2}')
            assert (outcome.returncode, json.loads(outcome.stdout)) == (0, {"y": 5.0})

    def test_a_name_under_localhost_is_this_machine(self, modalkit, service, tmp_path):
        outcome = modalkit("invoke", service.replace("127.0.0.1", "local--shop-web.localhost"), '{"x": 2}', cwd=tmp_path)
        assert (outcome.returncode, json.loads(outcome.stdout)) == (0, {"y": 5.0})

    def test_an_app_needs_no_server(self, modalkit, scaffold):
        outcome = modalkit("invoke", "app.py", '{"x": 2}', "--model", "line", cwd=scaffold)
        assert (outcome.returncode, json.loads(outcome.stdout)) == (0, {"y": 5.0})

    def test_a_refusal_is_readable_and_has_a_status_of_its_own(self, modalkit, service, tmp_path):
        outcome = modalkit("invoke", service, '{"x": "two"}', cwd=tmp_path)
        assert (outcome.returncode, outcome.stdout) == (4, "")
        assert outcome.stderr.startswith("422 Unprocessable")
        assert "body.x: Input should be a valid number" in outcome.stderr

    def test_an_unknown_model_is_refused(self, modalkit, service, tmp_path):
        outcome = modalkit("invoke", service, '{"x": 2}', "--model", "lin", cwd=tmp_path)
        assert (outcome.returncode, "did you mean 'line'?" in outcome.stderr) == (4, True)

    @pytest.mark.parametrize(
        ("target", "data", "said"),
        [
            ("http://127.0.0.1:9", "{}", "cannot be reached"),
            ("127.0.0.1:8000", "{}", "neither a file nor an address"),
            ("ftp://host", "{}", "is no address of a service"),
            ("http://127.0.0.1:9", "{", "The input is no JSON"),
            ("http://127.0.0.1:9", "@none.json", "none.json cannot be read"),
        ],
    )
    def test_a_mistake_is_a_sentence(self, modalkit, tmp_path, target, data, said):
        outcome = modalkit("invoke", target, data, cwd=tmp_path)
        assert (outcome.returncode, said in outcome.stderr, "Traceback" in outcome.stderr) == (1, True, False)

    def test_a_header_needs_a_name_and_a_value(self, modalkit, tmp_path):
        assert "is no header" in modalkit("invoke", "http://127.0.0.1:9", "{}", "-H", "secret", cwd=tmp_path).stderr


class TestBench:
    def test_it_measures_and_tells_the_batches(self, modalkit, service, tmp_path):
        outcome = modalkit("bench", service, "-d", '{"x": 2}', "-n", "200", "-c", "16", "--json", cwd=tmp_path)
        figures = json.loads(outcome.stdout)
        assert (outcome.returncode, figures["requests"], figures["statuses"]) == (0, 200, {"200": 200})
        assert 0 < figures["p50_ms"] <= figures["p95_ms"] <= figures["p99_ms"] <= figures["max_ms"]
        assert figures["batches"]["items"] == 200
        assert figures["batches"]["count"] < 200

    def test_it_ends_after_its_duration(self, modalkit, service, tmp_path):
        outcome = modalkit("bench", service, "-d", '{"x": 2}', "-t", "0.5", "-c", "4", cwd=tmp_path)
        assert outcome.returncode == 0
        assert re.search(r"requests +[\d,]+ in \d+\.\d s over 4 connections: [\d,.]+/s\n +latency +p50 ", outcome.stdout)

    def test_refusals_are_counted_and_the_first_is_shown(self, modalkit, service, tmp_path):
        outcome = modalkit("bench", service, "-d", '{"x": "two"}', "-n", "5", "-c", "1", cwd=tmp_path)
        assert outcome.returncode == 1
        assert "422: 5" in outcome.stdout
        assert "body.x: Input should be a valid number" in outcome.stdout

    def test_nobody_there_is_a_sentence(self, modalkit, tmp_path):
        outcome = modalkit("bench", "http://127.0.0.1:9", "-d", "{}", cwd=tmp_path)
        assert (outcome.returncode, "cannot be reached" in outcome.stderr, "Traceback" in outcome.stderr) == (1, True, False)

    def test_a_percentile_is_a_value_that_was_measured(self):
        assert [percentile([1.0, 2.0, 3.0, 4.0], share) for share in (0.5, 0.75, 0.99, 1.0)] == [2.0, 3.0, 4.0, 4.0]
        assert percentile([], 0.5) == 0.0

    def test_batches_are_read_from_the_metrics_of_all_models(self):
        text = "# TYPE modalkit_batch_items histogram\n" + "".join(
            f'modalkit_batch_items_bucket{{model="{name}",le="{bound}"}} {count}\n'
            for name in "ab"
            for bound, count in (("1.0", 1), ("2.0", 4), ("+Inf", 4))
        )
        text += 'modalkit_batch_items_count{model="a"} 4\nmodalkit_batch_items_sum{model="a"} 7\n'
        text += 'modalkit_batch_items_count{model="b"} 4\nmodalkit_batch_items_sum{model="b"} 7\n'
        assert parse_batches(text) == Batches(8, 14, {"1": 2, "2": 6, "+Inf": 0})
        assert parse_batches("<html>") is None


def test_the_guides_app_has_no_faults(modalkit, guide: Path):
    outcome = modalkit("check", str(guide / "app.py"), cwd=guide)
    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert "MyApp of 'deployment-guide' runs MyInference" in outcome.stdout
