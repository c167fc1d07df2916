"""The dashboard for Grafana asks for what `/metrics` has, by the labels that this has."""

import json
import re
from itertools import chain
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from freehold.control.services.activity import Now
from freehold.domain.figures import Figures, Histogram
from freehold.gateway.exposition import EngineFigures, of_engine, of_functions, text
from freehold.gateway.metrics import Metrics

DASHBOARD = json.loads((Path(__file__).parents[3] / "deploy/grafana/freehold.json").read_text())
GAUGES = ("connections", "requests_waiting", "requests_under_way", "responses_kept")
OUTSIDE = {"job"}  # given by Prometheus


def exported():
    """Name of each series → its labels."""
    engine = EngineFigures(
        version="1",
        modal="1",
        started_at=0.0,
        cpu_seconds=0.0,
        resident_bytes=0,
        containers={"ready": 0},
        loop_lag=0.0,
        commits=Histogram(),
    )
    own = Metrics().families(dict.fromkeys(GAUGES, ("So many.", 0)))
    families = chain(own, of_functions({("shop", "f"): (Figures(), Now())}), of_engine(engine))
    return {sample.name: set(sample.labels) for family in text_string_to_metric_families(text(families)) for sample in family.samples}


def expressions():
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]


def test_every_panel_asks_for_series_that_there_are():
    known = exported()
    asked = {name for expression in expressions() for name in re.findall(r"\b(?:freehold|process)_\w+", expression)}
    assert asked <= set(known)
    assert len(asked) > 20


def test_it_groups_by_labels_that_the_series_have():
    known = exported()
    for expression in expressions():
        (name, *_) = re.findall(r"\b(?:freehold|process)_\w+", expression)
        by = {label.strip() for labels in re.findall(r"by \(([^)]*)\)", expression) for label in labels.split(",")}
        chosen = set(re.findall(r"(\w+)=~?\"", expression)) - OUTSIDE
        assert by | chosen <= known[name], expression


def test_panels_have_names_and_numbers_of_their_own():
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) == len({panel["title"] for panel in panels})
