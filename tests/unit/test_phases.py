"""The timer of imports, in a Python of its own: it changes how that imports."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import freehold.container

CONTAINER = Path(freehold.container.__file__).parent
PYTHONS = [sys.executable, *sorted(map(str, (Path.home() / ".pyenv" / "versions").glob("3.[0-9]*/bin/python")))]
BEGIN = f"""
import sys, time
sys.path[:0] = [{str(CONTAINER)!r}, sys.argv[1]]
import phases
phases.PHASES.begin("plain", "python")
"""


def run(folder, code, python=sys.executable):
    outcome = subprocess.run([python, "-c", BEGIN + code, folder], capture_output=True, text=True, check=False, timeout=60)
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout


@pytest.fixture
def modules(tmp_path):
    """`heavy` takes 60 ms: 20 of its own, 20 in a part of it, 20 in `light`."""
    (tmp_path / "heavy").mkdir()
    (tmp_path / "heavy" / "__init__.py").write_text("import time; time.sleep(0.02); import light, heavy.part")
    (tmp_path / "heavy" / "part.py").write_text("import time; time.sleep(0.02)")
    (tmp_path / "light.py").write_text("import time; time.sleep(0.02)")
    (tmp_path / "broken.py").write_text("1 / 0")
    packages = tmp_path / "site-packages"
    packages.mkdir()
    (packages / "first.py").write_text("import second")
    (packages / "second.py").write_text("")
    return tmp_path


@pytest.mark.parametrize("python", PYTHONS)
def test_a_package_is_charged_with_what_it_imports_and_apart_from_that_with_its_own(modules, python):
    if (
        sys.executable != python
        and subprocess.run([python, "-c", "import sys; sys.exit(sys.version_info < (3, 9))"], check=False).returncode
    ):
        pytest.skip("the client needs 3.9")
    told = json.loads(run(modules, "import heavy; print(phases.report().decode())", python))
    took = {name: (total, own) for name, total, own, _ in told["imports"]}
    total, own = took["heavy"]
    assert total >= 0.06
    assert 0.04 <= own <= total - took["light"][1] + 0.001
    assert {name: origin for name, _, _, origin in told["imports"]}["heavy"] == "app"


def test_modules_of_site_packages_are_listed_each_after_what_it_needs(modules):
    code = "sys.path.append(sys.argv[1] + '/site-packages'); import light, first; print(phases.report().decode())"
    assert json.loads(run(modules, code))["modules"] == ["second", "first"]


def test_a_fork_lists_what_it_has_imported_itself(modules):
    code = "sys.path.append(sys.argv[1] + '/site-packages'); import second; phases.PHASES.begin('zygote', 'forked'); import first"
    told = json.loads(run(modules, code + "; print(phases.report().decode())"))
    assert (told["kind"], list(told["moments"]), told["modules"]) == ("zygote", ["forked"], ["first"])


@pytest.mark.parametrize("module", ["broken", "not_there"])
def test_tracebacks_are_those_of_the_stock_interpreter(modules, module):
    code = f"import traceback\ntry:\n    import {module}\nexcept Exception:\n    print(traceback.format_exc())"
    timed = run(modules, code)
    assert timed == run(modules, "phases.PHASES.end()\n" + code).replace(
        f"line {BEGIN.count(chr(10)) + 4}", f"line {BEGIN.count(chr(10)) + 3}"
    )
    assert "phases" not in timed


def test_what_is_imported_after_the_report_is_told_later_by_itself(modules):
    code = (
        "sys.path.append(sys.argv[1] + '/site-packages'); import second; phases.report(); assert not phases.report(); import first, heavy"
    )
    told = json.loads(run(modules, code + "; print(phases.report().decode())"))
    assert (told["kind"], told["moments"], told["modules"]) == ("later", {}, ["first"])
    assert {"heavy", "light"} <= {name for name, *_ in told["imports"]}


def test_after_the_last_look_nothing_is_timed(modules):
    code = "stock = sys.modules['_frozen_importlib']; phases.report(is_last=True); print(stock._find_and_load.__module__)"
    assert run(modules, code).strip() == "_frozen_importlib"


def test_imports_of_several_threads_are_told_apart(modules):
    code = """
import threading
threads = [threading.Thread(target=__import__, args=(name,)) for name in ("heavy", "xml.dom.minidom")]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(phases.report().decode())"""
    took = {name: (total, own) for name, total, own, _ in json.loads(run(modules, code))["imports"]}
    assert 0.04 <= took["heavy"][1] <= took["heavy"][0] - took["light"][1] + 0.001
