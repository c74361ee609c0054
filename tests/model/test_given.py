"""Values by name: a name that is not there gets a sentence, not a TypeError from inside."""

from __future__ import annotations

import copy
import inspect
import pickle

import msgspec
import pytest

import regimeflow as rf
from regimeflow.model.models import Model

MADE = [
    rf.Costs(commission_bps=5.0),
    rf.FillModel(market="close"),
    rf.Latency(order_ms=3.0),
    Model(costs=rf.Costs(per_share=0.01)),
    rf.Limits(max_notional=5.0, symbols=("SPY",)),
    rf.Instrument("SPY", tick=0.05),
    rf.venues.Intervals(clock_ms=100.0),
]


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        (rf.Limits, "max_notionl", "Limits has no 'max_notionl'. Did you mean 'max_notional'?"),
        (rf.Costs, "comission_bps", "Costs has no 'comission_bps'. Did you mean 'commission_bps'?"),
        (rf.Latency, "order", "Latency has no 'order'. Did you mean 'order_ms'?"),
        (rf.FillModel, "marked", "FillModel has no 'marked'. Did you mean 'market'?"),
        (rf.FillModel, "zzz", "FillModel has no 'zzz'. It has market."),
        (rf.Instrument, "ticks", "Instrument has no 'ticks'. Did you mean 'tick'?"),
        (rf.venues.Intervals, "clock", "Intervals has no 'clock'. Did you mean 'clock_ms'?"),
    ],
)
def test_a_name_that_is_not_there(kind, name, said):
    with pytest.raises(rf.ConfigError) as raised:
        kind(**{name: 5})
    assert str(raised.value) == said


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: rf.Limits(5_000), "Limits: extra positional values provided; give values by name"),
        (rf.Instrument, "Instrument: missing required value 'symbol'"),
        (lambda: rf.Costs(commission_bps="5"), "Costs: commission_bps must be a finite number"),
        (lambda: rf.Costs(maker_bps=True), "Costs: maker_bps must be a finite number, got True"),
        (lambda: rf.Latency(order_ms=[1]), "Latency: order_ms must be a finite number"),
    ],
)
def test_values_that_do_not_fit(make, said):
    with pytest.raises(rf.ConfigError) as raised:
        make()
    assert str(raised.value).startswith(said)


@pytest.mark.parametrize("made", MADE, ids=lambda made: type(made).__name__)
def test_they_are_structs_as_any(made):
    kind = type(made)
    assert msgspec.json.decode(msgspec.json.encode(made), type=kind) == made
    assert msgspec.structs.replace(made) == copy.deepcopy(made) == made
    assert pickle.loads(pickle.dumps(made)) == made
    assert hash(made) == hash(copy.copy(made))
    assert list(inspect.signature(kind).parameters) == list(kind.__struct_fields__)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert([], kind)
