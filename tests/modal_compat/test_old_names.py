"""Each old name does what its successor does, and the program is told once."""

from pathlib import Path

import modal
import pytest
from old_name_cases import CASES, OTHERS, function

from modal_compat.migration import migrate
from modal_compat.mounts import Mount
from modal_compat.names import NAMES
from modal_compat.pages import old_names_page

BY_NAME = {name.old: name for name in NAMES}


def test_every_name_has_its_case():
    assert {*CASES, *OTHERS} == set(BY_NAME)


@pytest.mark.parametrize("name", CASES)
class TestEach:
    def test_it_is_what_its_successor_is(self, run, name):
        old, new = (run(source) for source in CASES[name])

        assert old.declared == new.declared
        assert old.result == new.result

    def test_the_program_is_told_once_and_how_to_write_it(self, run, name):
        old, new = (run(source) for source in CASES[name])

        (told,) = (text for text in old.warnings if text.startswith(f"`{name}`"))
        assert "Write `" in told or "Write nothing" in told
        assert new.warnings == []

    def test_a_migrated_program_is_told_nothing_and_is_the_same(self, run, name):
        migration = migrate(CASES[name][0])

        migrated, new = run(migration.after), run(CASES[name][1])

        assert migration.left == ()
        assert migrated.warnings == []
        assert (migrated.declared, migrated.result) == (new.declared, new.result)

    def test_today_s_program_is_left_as_it_is(self, name):
        assert migrate(CASES[name][1]).diff("app.py") == ""


class TestOthers:
    def test_copy_local_file_copies_as_a_dockerfile_does(self, run):
        outcome = run("import modal\n\nresult = modal.Image.debian_slim().copy_local_file('a.txt', '/root')\n")

        assert outcome.warnings == [BY_NAME["modal.Image.copy_local_file"].warning()]

    def test_web_url_asks_for_it(self, run, monkeypatch):
        monkeypatch.setattr(modal.Function, "get_web_url", lambda _: "http://there")

        outcome = run("import modal\n\nresult = modal.Function.from_name('shop', 'f').web_url\n")

        assert outcome.result == "http://there"
        assert outcome.warnings == [BY_NAME["modal.Function.web_url"].warning()]

    def test_keep_warm_of_a_deployed_function_is_a_setting_of_its_autoscaler(self, run, monkeypatch):
        asked = []
        monkeypatch.setattr(modal.Function, "autoscaler", property(lambda _: self))
        monkeypatch.setattr(type(self), "update", lambda _, **options: asked.append(options), raising=False)

        outcome = run("import modal\n\nmodal.Function.from_name('shop', 'f').keep_warm(3)\n")

        assert asked == [{"min_containers": 3}]
        assert outcome.warnings == [BY_NAME["modal.Function.keep_warm"].warning()]

    @pytest.mark.parametrize("url", ["https://api.modal.com", "https://api.modal.com,https://api.modal2.com"])
    def test_file_systems_that_modal_com_serves_stay_what_they_are(self, run, monkeypatch, url):
        monkeypatch.setenv("MODAL_SERVER_URL", url)

        outcome = run("import modal\n\nresult = isinstance(modal.NetworkFileSystem.from_name('n'), modal.NetworkFileSystem.__base__)\n")

        assert outcome.result is True
        assert not [text for text in outcome.warnings if "is an old name" in text]


class TestTelling:
    def test_ten_uses_are_one_warning(self, run):
        outcome = run(function("keep_warm=1") + "\n\n@app.function(keep_warm=1)\ndef g():\n    pass\n")

        assert outcome.warnings == [BY_NAME["keep_warm="].warning()]

    def test_it_shows_exactly_what_to_write_where_that_is_known(self, run):
        assert run(function("gpu=modal.gpu.T4(count=2)")).warnings == ['`modal.gpu` is an old name. Write `gpu="T4:2"` instead.']

    def test_what_imports_it_is_told_here_and_not_again_in_containers(self, run, monkeypatch):
        with modal._runtime.execution_context._import_context():
            here = run(function("keep_warm=1"))
            monkeypatch.setenv("MODAL_IS_REMOTE", "1")
            there = run(function("keep_warm=1"))

        assert (len(here.warnings), there.warnings) == (1, [])
        assert here.declared == there.declared


class TestMore:
    def test_mounts_of_an_app_go_to_each_of_its_functions(self, run):
        old = "import modal\n\napp = modal.App('shop', mounts=[modal.Mount.from_local_file('a.txt')])\n\n@app.function()\ndef f():\n    pass\n"

        assert run(old).declared == run(function('image=modal.Image.debian_slim().add_local_file("a.txt", "/a.txt")')).declared

    def test_files_of_a_step_of_the_build_are_copied(self, run):
        head = "import modal\n\ndef f():\n    pass\n\nresult = modal.Image.debian_slim()"
        old = f"{head}.run_function(f, mounts=[modal.Mount.from_local_file('a.txt')])\n"

        assert run(old).result == run(f"{head}.add_local_file('a.txt', '/a.txt', copy=True).run_function(f)\n").result

    @pytest.mark.parametrize(
        ("kind", "new"), [("T4()", "T4"), ("Any()", "any"), ("A100(size='40GB')", "A100-40GB"), ("H100(count=8)", "H100:8")]
    )
    def test_gpus_are_strings(self, run, kind, new):
        assert run(f"from modal.gpu import {kind.split('(')[0]}\n\nresult = {kind}\n").result == new

    def test_a_condition_keeps_what_it_kept(self, run):
        class Image:
            def add_local_dir(self, *_, ignore, **__):
                return ignore

        chosen = Mount().add_local_dir("src", condition=lambda path: path.endswith(".py"), recursive=False).onto(Image())
        assert [chosen(Path(each)) for each in ("a.py", "a.txt", "deep/a.py")] == [False, True, True]

    def test_a_class_may_have_both_kinds_of_concurrency_names(self, run):
        source = "import modal\n\napp = modal.App('shop')\n\n@app.cls(allow_concurrent_inputs=4, keep_warm=1)\nclass Model:\n    def __enter__(self):\n        pass\n\n    @modal.method()\n    def f(self):\n        pass\n"

        (declared,) = run(source).declared

        assert (declared["max_concurrent_inputs"], declared["min_containers"]) == (4, 1)


def test_the_page_has_a_row_for_each():
    assert all(f"\n| `{name}`" in old_names_page("") for name in BY_NAME)
