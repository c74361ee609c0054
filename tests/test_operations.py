"""Dashboard, alerts and manual speak of the series that the exporter has, and of no others."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from regimeflow.model.events import Health
from regimeflow.prometheus import live_metrics_to_prometheus
from regimeflow.session.audit import COLUMNS
from regimeflow.session.decisions import TYPES
from regimeflow.session.metrics import LiveMetrics, SymbolMetrics

FOLDER = Path(__file__).parent.parent / "docs" / "operations"
NAME = re.compile(r"\bregimeflow_[a-z_]+")


class Venue:
    venue = "sim"
    average_fill_latency_ms = average_signed_slippage_bps = average_effective_spread_bps = 1.0


class Measured:
    rejection_rate = average_ack_latency_ms = average_fill_latency_ms = 1.0
    average_signed_slippage_bps = average_absolute_slippage_bps = 1.0
    average_effective_spread_bps = average_queue_position = average_queue_delay_error_ms = 1.0
    queue_observations = 1
    venue_summaries = (Venue(),)


@pytest.fixture(scope="module")
def exported():
    """Return series name -> names of its labels, of a session that has everything."""
    metrics = LiveMetrics(
        health=Health(1, 1, 0.0, 0, 0.0, 0.0, 0.0), fills={("SPY", "sim"): 1},
        denied={"grid": 1}, limits_used={"max_drawdown": 0.5}, quality=Measured(),
        symbols=(SymbolMetrics("SPY", 1.0, 1.0, 1.0, False, False),),
    )  # fmt: skip
    return {
        sample.name: set(sample.labels)
        for family in text_string_to_metric_families(live_metrics_to_prometheus(metrics))
        for sample in family.samples
    }


def dashboard():
    return json.loads((FOLDER / "grafana-dashboard.json").read_text())


def rules():
    groups = yaml.safe_load((FOLDER / "alert-rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions():
    panels = [(p["title"], t["expr"]) for p in dashboard()["panels"] for t in p.get("targets", [])]
    return panels + [(rule["alert"], rule["expr"]) for rule in rules()]


@pytest.mark.parametrize(("where", "expression"), expressions())
def test_each_expression_names_series_and_labels_that_exist(exported, where, expression):
    names = NAME.findall(expression)
    assert names or "up{" in expression
    assert set(names) <= set(exported)
    for name, selector in re.findall(r"(regimeflow_[a-z_]+)\{([^}]*)\}", expression):
        labels = set(re.findall(r"(\w+)\s*=", selector))
        assert labels <= exported[name] | {"instance", "job"}
    for opened, closed in ("()", "{}", "[]"):
        assert expression.count(opened) == expression.count(closed)
    assert expression.count('"') % 2 == 0


def test_legends_use_labels_that_exist(exported):
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            used = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            there = {label for name in NAME.findall(target["expr"]) for label in exported[name]}
            assert used <= there, panel["title"]


def test_the_dashboard_shows_every_series(exported):
    shown = {name for panel in dashboard()["panels"] for t in panel.get("targets", [])
             for name in NAME.findall(t["expr"])}  # fmt: skip
    assert set(exported) - shown == {
        "regimeflow_session_info",  # which session: the choice at the top
        "regimeflow_positions",
        "regimeflow_last_event_timestamp_seconds",
        "regimeflow_reconciled_timestamp_seconds",
        "regimeflow_metrics_failures_total",
    }
    assert "regimeflow_session_info" in json.dumps(dashboard()["templating"])


def test_panels_have_a_place_of_their_own_and_a_number():
    taken: set[tuple[int, int]] = set()
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        at = panel["gridPos"]
        cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_each_alert_says_how_bad_it_is_and_what_it_means():
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert rule["annotations"]["summary"]
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))


@pytest.mark.parametrize(
    "alert",
    ["StaleData", "Halted", "UnknownOrder", "Drawdown", "ConnectionDown", "QueueGrows", "DiskLow"],
)
def test_these_alerts_are_there(alert):
    assert f"Regimeflow{alert}" in [rule["alert"] for rule in rules()]


def test_the_manual_lists_every_series_with_its_labels(exported):
    text = (FOLDER / "README.md").read_text()
    table = text.partition("### Series")[2].partition("## The audit log")[0]
    listed = {
        f"regimeflow_{name}": set(labels.split(",")) - {""}
        for line in table.splitlines()
        if line.startswith("| `")
        for name, labels in re.findall(r"`([a-z_]+)(?:\{([a-z,]+)\})?`", line.split("|")[1])
    }
    assert listed == exported


def test_the_manual_lists_every_type_and_column_of_the_audit_log():
    text = (FOLDER / "README.md").read_text().partition("## The audit log")[2]
    for name in (*TYPES, *COLUMNS):
        assert f"`{name}`" in text
