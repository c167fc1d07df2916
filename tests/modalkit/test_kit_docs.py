"""What ModalKit's pages promise, held against the code: settings, commands, and the code that they show."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
import yaml

import modalkit
from modalkit._cli.new import FILES, make
from modalkit.cli import cli
from modalkit.settings import Settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*/modalkit*.md"), ROOT / "modalkit" / "README.md"])
COMMAND = [sys.executable, "-c", "from modalkit.cli import main; main()"]


def blocks(page):
    """The indented blocks of a page, each without its indent."""
    lines = page.read_text().splitlines()
    found, block = [], []
    for line in [*lines, "end"]:
        if line.startswith("    ") or (block and not line.strip()):
            block.append(line)
        elif block:
            found.append(dedent("\n".join(block)).strip("\n"))
            block = []
    return found


def yaml_blocks():
    for page in PAGES:
        for index, block in enumerate(blocks(page)):
            if re.match(r"(#.*\n)?(app_settings|model_settings):\n", block):
                yield pytest.param(block, id=f"{page.stem}-{index}")


@pytest.mark.parametrize("block", list(yaml_blocks()))
def test_every_configuration_that_is_shown_is_valid(block, tmp_path, monkeypatch):
    (tmp_path / "shown.yaml").write_text(block.partition("\n\n")[0] if "MODALKIT_CONFIG=" in block else block)
    monkeypatch.setenv("MODALKIT_CONFIG", str(tmp_path / "shown.yaml"))
    assert Settings().model_dump() != Settings.model_construct().model_dump()
    assert set(yaml.safe_load((tmp_path / "shown.yaml").read_text())) <= set(Settings.model_fields)


def test_the_tests_that_are_shown_pass(tmp_path):
    shop = make(str(tmp_path / "shop"))
    shown = next(block for block in blocks(DOCS / "howto" / "modalkit-testing.md") if block.startswith("import app"))
    (shop / "test_shown.py").write_text(shown)
    outcome = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_shown.py"],
        cwd=shop,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert "4 passed" in outcome.stdout, outcome.stdout


def test_the_tutorial_shows_the_pipeline_and_the_check_as_they_are(tmp_path):
    page = blocks(DOCS / "tutorial" / "modalkit.md")
    shown = next(block for block in page if block.startswith("class Line"))
    classes = {each.name: each for each in ast.parse(FILES["pipeline.py"]).body if isinstance(each, ast.ClassDef)}
    classes["Line"].body.pop(0)  # its docstring
    assert ast.unparse(ast.parse(shown)) == ast.unparse(classes["Line"])

    make(str(tmp_path / "shop"))
    outcome = subprocess.run([*COMMAND, "check"], cwd=tmp_path / "shop", capture_output=True, text=True, timeout=100, check=True)
    wanted = next(block for block in page if block.startswith("modalkit check\n"))
    assert outcome.stdout.splitlines() == wanted.splitlines()[2:]


def test_every_command_and_option_is_documented():
    page = (DOCS / "reference" / "modalkit-cli.md").read_text()
    for name, command in cli.commands.items():
        assert f"## modalkit {name}\n" in page
        assert command.help
        assert all(option in page for parameter in command.params for option in parameter.opts if option.startswith("--"))


def test_every_setting_is_documented_and_described():
    page = (DOCS / "reference" / "modalkit-yaml.md").read_text()
    for name, section in Settings.model_json_schema()["$defs"].items():
        for key, setting in section["properties"].items():
            assert "$ref" in setting or f"| `{key}`" in page, (name, key)
            assert "$ref" in setting or setting.get("description"), (name, key)


def test_every_public_module_is_documented():
    page = (DOCS / "reference" / "modalkit-api.md").read_text()
    modules = {file.stem for file in Path(modalkit.__file__).parent.glob("*.py") if not file.stem.startswith("_")} - {"cli"}
    assert {each for each in modules if f"## modalkit.{each}\n" in page} == modules


def test_what_users_import_is_in_the_names_that_its_module_says():
    sources = [*PAGES, *(ROOT / "examples").glob("*/*.py"), *(Path(modalkit.__file__).parent / "_cli").glob("new.py")]
    text = "\n".join(source.read_text() for source in sources)
    imported = {
        (module, name.strip())
        for module, names in re.findall(r"from (modalkit\.[a-z]\w*) import ([\w, ]+)", text)
        for name in names.split(",")
    }
    assert len(imported) > 10
    assert [(module, name) for module, name in imported if name not in importlib.import_module(module).__all__] == []


def test_commands_that_are_shown_have_the_options_they_are_shown_with():
    for page in PAGES:
        for name, rest in re.findall(r"^    (?:\S+=\S+ )*modalkit (\w+)([^#\n]*)", page.read_text(), re.MULTILINE):
            known = {option for parameter in cli.commands[name].params for option in (*parameter.opts, *parameter.secondary_opts)}
            shown = re.findall(r"(?<= )--?[a-z]+", re.sub(r"'[^']*'", "", rest))
            assert set(shown) <= known, (page.name, name, rest)


def test_modules_that_the_explanation_names_are_there():
    table = (DOCS / "explanation" / "modalkit.md").read_text().partition("## What it is made of")[2]
    package = Path(modalkit.__file__).parent
    names = [name.rstrip("/") for cell in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+/?)`", cell)]
    assert len(names) > 15
    assert [name for name in names if not (package / f"{name}.py").exists() and not (package / name).is_dir()] == []
