"""The hook: nothing until modal is imported, then the old names, and no difference for programs that use none."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

APPS = Path(__file__).parents[1] / "conformance" / "apps"
ACTIVATE = "from modal_compat import hook; hook.activate()\n"

# What a program can see of modal, but for what the table names.
LOOK = """
import inspect, json, modal
def seen(name, value):
    found = {"type": type(value).__name__, "doc": inspect.getdoc(value) or ""}
    if callable(value):
        try:
            found["signature"] = str(inspect.signature(value))
        except ValueError:
            pass
    return {name: found}
parts = {}
for name in [*modal.__all__, "__spec__", "__file__"]:
    value = getattr(modal, name)
    parts |= seen(name, value)
    for inner in dir(value) if inspect.isclass(value) else ():
        if inner.startswith("_sync_original"):
            continue  # with a number of its own in each process
        parts |= seen(f"{name}.{inner}", getattr(value, inner, None))
print(json.dumps({"all": modal.__all__, "parts": parts, "loader": type(modal.__spec__.loader).__name__}))
"""
OLD = {
    "web_endpoint", *(f"NetworkFileSystem.{name}" for name in ("from_name", "lookup", "ephemeral")),
    *(f"{name}.lookup" for name in ("Function", "Cls", "Dict", "Queue", "Secret", "Volume")),
    *("Function.web_url", "Function.keep_warm", "Image.copy_local_file", "Image.copy_local_dir", "Image.copy_mount"),
}  # fmt: skip

# What modal is told of each function of these apps, as text.
DECLARE = """
import importlib.util, json, re, sys, warnings
import modal
from modal._functions import _Function
warnings.simplefilter("error", modal.exception.DeprecationError)
declared, stock = [], _Function._from_local
def from_local(info, **options):
    declared.append([info.function_name, re.sub(r" at 0x[0-9a-f]+", "", repr(sorted(options.items(), key=lambda each: each[0])))])
    return stock(info, **options)
_Function._from_local = staticmethod(from_local)
apps, sys.argv[1:] = sys.argv[1:], []
for path in apps:
    spec = importlib.util.spec_from_file_location("app", path)
    sys.modules["app"] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # some want arguments, some are meant to be refused
        declared.append([path, repr(error)])
print(json.dumps(declared))
"""


def python(code, *arguments):
    ran = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_an_import_of_modal_is_what_makes_it_do_something():
    before = "import sys; before = set(sys.modules)\n"
    imported = python(f"{before}{ACTIVATE}print(*sorted(set(sys.modules) - before))").split()

    assert set(imported) <= {"modal_compat", "modal_compat.hook", "__future__"}
    assert "Mount" in python(f"{ACTIVATE}import modal; print(modal.Mount)")


def test_it_may_come_after_the_import():
    assert "Mount" in python(f"import modal\n{ACTIVATE}{ACTIVATE}print(modal.Mount)")


def test_a_missing_modal_is_missing():
    code = f"import sys; sys.path[:] = [entry for entry in sys.path if 'site-packages' not in entry]\n{ACTIVATE}import modal\n"

    assert "No module named 'modal'" in subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr


def test_what_is_no_old_name_is_as_it_was():
    without, with_hook = (json.loads(python(code)) for code in (LOOK, ACTIVATE + LOOK))

    changed = {name for name in {**without["parts"], **with_hook["parts"]} if without["parts"].get(name) != with_hook["parts"].get(name)}
    assert changed <= OLD
    assert {name: without[name] for name in ("all", "loader")} == {name: with_hook[name] for name in ("all", "loader")}


def test_apps_without_old_names_are_declared_as_they_were():
    apps = [path for path in sorted(APPS.glob("*.py")) if path.stem != "old_names"]

    without, with_hook = (json.loads(python(code, *apps)) for code in (DECLARE, ACTIVATE + DECLARE))

    assert len(without) > 100
    assert with_hook == without


@pytest.mark.parametrize("word", ["Mount", "Stub", "gpu"])
def test_what_modal_has_no_name_for_stays_unknown_without_it(word):
    code = f"import modal\ntry:\n    modal.{word}\nexcept AttributeError:\n    print('unknown')"

    assert python(code) == "unknown\n"


def test_the_command_is_modals_own():
    ran = subprocess.run(
        [sys.executable, "-P", "-m", "modal_compat.run", "deploy", "--nonsense"], capture_output=True, text=True, check=False
    )

    assert ran.returncode == 2
    assert "modal deploy" in ran.stderr
    assert "modal_compat" not in ran.stderr


def test_the_command_finds_an_app_that_is_called_stub(tmp_path):
    (tmp_path / "old.py").write_text("import modal\nstub = modal.Stub('old')\n")
    look = "from modal.cli.import_refs import import_app; print(import_app('old.py').name)"

    ran = subprocess.run([sys.executable, "-c", ACTIVATE + look], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert ran.stdout == "old\n"
    assert "Write `app`, or deploy `FILE::stub` instead." in ran.stderr
