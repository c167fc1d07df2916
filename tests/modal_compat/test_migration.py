"""Rewriting: what it leaves alone, and what it says of what it cannot know. What each name becomes is in test_old_names.py."""

from pathlib import Path

import pytest

from modal_compat.migration import migrate

TUTORIAL = Path(__file__).parents[2] / "examples" / "tutorial" / "app_modal.py"


def after(source: str) -> str:
    return migrate(source).after


def test_the_tutorial_keeps_all_but_its_old_names():
    assert (
        migrate(TUTORIAL.read_text()).diff("app_modal.py")
        == """\
--- app_modal.py
+++ app_modal.py
@@ -5,10 +5,9 @@
 app = modal.App("iris-classifier")
 
 @app.function(
-    image=modal.Image.debian_slim().pip_install("scikit-learn", "joblib", "numpy"),
-    mounts=[modal.Mount.from_local_file("iris_model.pkl", remote_path="/root/iris_model.pkl")]
+    image=modal.Image.debian_slim().pip_install("scikit-learn", "joblib", "numpy").add_local_file("iris_model.pkl", remote_path="/root/iris_model.pkl")
 )
-@modal.web_endpoint(method="POST")
+@modal.fastapi_endpoint(method="POST")
 def predict(item: dict):
     import joblib
     import numpy as np
"""  # noqa: W293  # an empty line of context
    )


def test_comments_and_layout_stay():
    source = "import modal\napp = modal.App()\n\n@app.function(\n    cpu=1,  # enough\n    keep_warm=2,  # of them\n    interactive=True,\n)\ndef f(): pass\n"

    assert after(source) == source.replace("keep_warm=2", "min_containers=2").replace("    interactive=True,\n", "")


def test_a_name_of_something_else_stays():
    source = (
        "import other\nfrom other import Stub, Mount\n\nstub = Stub()\nother.gpu.T4()\nother.Function.lookup('a', 'b')\nf(keep_warm=1)\n"
    )

    assert after(source) == source


def test_modal_by_another_name():
    assert after("import modal as m\n\napp = m.Stub()\n\n@app.function(allow_concurrent_inputs=2)\ndef f(): pass\n") == (
        "import modal as m\n\napp = m.App()\n\n@app.function()\n@m.concurrent(max_inputs=2)\ndef f(): pass\n"
    )


def test_what_was_imported_by_its_own_name_is_imported_by_the_new_one():
    source = "from modal import Stub, gpu\nfrom modal.gpu import T4\n\nours = Stub()\n\n@ours.function(gpu=T4(), allow_concurrent_inputs=2)\ndef f(): pass\n"

    assert after(source) == (
        'from modal import App, concurrent\n\nours = App()\n\n@ours.function(gpu="T4")\n@concurrent(max_inputs=2)\ndef f(): pass\n'
    )


def test_a_mount_in_a_variable_goes_where_it_is_used():
    source = 'import modal\napp = modal.App()\nfiles = modal.Mount.from_local_dir("src", remote_path="/src")\n\n@app.function(mounts=[files])\ndef f(): pass\n'

    assert after(source) == (
        'import modal\napp = modal.App()\n\n@app.function(image=modal.Image.debian_slim().add_local_dir("src", remote_path="/src"))\ndef f(): pass\n'
    )


def test_an_app_that_has_an_image_lends_it():
    source = 'import modal\nx = y()\napp = modal.App(image=x)\n\n@app.function(mounts=[modal.Mount.from_local_file("a")])\ndef f(): pass\n'

    assert 'image=x.add_local_file("a", remote_path="/a")' in after(source)


def test_a_number_of_gpus_may_be_a_variable():
    assert 'gpu=f"H100:{N}"' in after("import modal\nN = 2\napp.function(gpu=modal.gpu.H100(count=N))\n")


def test_options_of_a_class_have_their_concurrency_apart():
    source = 'import modal\nM = modal.Cls.lookup("a", "M").with_options(concurrency_limit=2, allow_concurrent_inputs=3)\n'

    assert (
        after(source) == 'import modal\nM = modal.Cls.from_name("a", "M").with_options(max_containers=2).with_concurrency(max_inputs=3)\n'
    )


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("app.function(mounts=elsewhere.mounts)", "`mounts=` stays: it is no list here. Write `image="),
        ("app.function(mounts=[elsewhere.files])", "`mounts=` stays: where it comes from is not seen here."),
        ("app.function(mounts=[modal.Mount.from_local_dir('a', recursive=False)])", "`recursive=` has no successor"),
        ("app = modal.App(mounts=[files])", "each function's image must add them"),
        ("stub = modal.App()", "`stub` stays: other files may import it. Write `app`, or deploy `FILE::stub`."),
        ("url = f.web_url", "`modal.Function.web_url` stays: whether it is a function's is not seen here. Write `.get_web_url()`."),
        ("app.function(gpu=modal.gpu.A100(size=SIZE))", "what it asks for is not seen here"),
        ("f = modal.Function.lookup.aio('a', 'b')", "`from_name` is not awaited"),
    ],
)
def test_what_a_person_must_decide_is_left_and_said_with_its_line(code, said):
    migration = migrate(f"import modal\n{code}\n")

    (left,) = migration.left
    assert left.line == 2
    assert said in str(left)


def test_what_is_no_python_is_refused():
    with pytest.raises(SyntaxError):
        migrate("def f(:\n")
