"""The table of claims: what is counted is what is there, and what is printed is what was measured."""

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def claims():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(SCRIPTS), *sys.path])
        yield SimpleNamespace(**runpy.run_path(str(SCRIPTS / "claims.py")))


def test_lines_are_those_that_say_something(claims, tmp_path):
    one, two = tmp_path / "one.py", tmp_path / "two.yaml"
    one.write_text('"""What it is."""\n\n# a comment\nimport os\n\n\ndef f():\n    # another\n    return os\n')
    two.write_text("# why\nkind: Service\n\nspec:\n  a: 1\n")

    assert claims.count_lines([one, two]) == 4 + 3


def test_files_are_those_that_somebody_writes_to_deploy(claims):
    found = {str(path.relative_to(claims.TRADITIONAL)) for path in claims.files_of(claims.TRADITIONAL)}

    assert {"app.py", "Dockerfile", "requirements.txt", "k8s/deployment.yaml", "k8s/autoscaler.yaml"} <= found
    assert not any(name.endswith((".md", ".pkl")) for name in found)


def test_the_app_that_is_deployed_first_differs_in_nothing_but_its_packages(claims):
    app = claims.OURS.read_text()

    assert claims.with_packages_anew(app).replace(", force_build=True", "") == app != claims.with_packages_anew(app)


def test_replicas_are_those_that_the_manifests_keep(claims):
    assert claims.replicas_of(claims.TRADITIONAL) == 2


def test_the_table_shows_each_figure_where_it_belongs(claims):
    traditional = claims.Way(["a", "b"], 211, 61.0, 1.5, 1.2, 0.0042, 2 * 90 * 1024**2, 2, 14.4, 2)
    ours = claims.Way(["app.py"], 17, 30.1, 2.1, 0.25, 0.0051, 200 * 1024**2, 7, 36, 0)

    rows = [line.strip("| ").split(" | ") for line in claims.table(traditional, ours).splitlines() if line.startswith("|")]

    assert rows[2:] == [
        ["Files", "2: a, b", "1: app.py"],
        ["Lines, without blank ones and comments", "211", "17"],
        ["First deploy, its packages installed anew", "61.0 s¹", "30.1 s"],
        ["Next deploy", "1.5 s¹", "2.1 s"],
        ["Cold start, to the first answer", "1.2 s", "250.0 ms"],
        ["A request after that, median", "4.2 ms", "5.1 ms"],
        ["What stays when nobody asks", "2 replicas", "0 containers"],
        ["Memory of that", "180 MiB², and the cluster's", "200 MiB³, with all other apps"],
        ["CPU of that in an hour", "14 s²", "36 s³"],
    ]
