"""The gate: one table row a limit. `tests.soak.limits` tries it against a brute-force judge."""

import numpy as np
import pandas as pd
import pytest

import regimeflow as rf
from regimeflow.engine.desk import Desk
from regimeflow.model.events import Cancel, Clock, Denied, Fill, OrderUpdate, Submit
from regimeflow.model.instrument import Instruments
from regimeflow.model.ledger import Ledger

MS = 1_000_000
MINUTE = 60_000 * MS


class Market:
    """A market that stands still unless it is told to move."""

    def __init__(self, **prices):
        self.prices = prices or {"A": 100.0, "B": 50.0}
        self.seq = 1
        self.now = 0
        self.priced_at = 0
        self.out = []
        self.held_back = frozenset()

    def price(self, symbol):
        return self.prices.get(symbol, 0.0)

    def price_ts(self, symbol):
        return self.priced_at

    @property
    def event(self):
        return Clock(self.now, self.now)


def desk(limits=None, cash=10_000.0, held=None, market=None, costs=None, rules=None):
    """Return a desk that holds units bought at last prices before the run; ``cash`` is the rest."""
    market = market or Market()
    instruments = Instruments(rules or {})
    ledger = Ledger(cash, instruments)
    for symbol, qty in (held or {}).items():
        ledger.open(symbol, qty, market.price(symbol))
    made = Desk(
        prefix="t-0-",
        ledger=ledger,
        instruments=instruments,
        costs=costs or rf.Costs(),
        limits=limits or rf.Limits(),
        market=market,
        default_tif=lambda symbol: "gtc",
    )
    made.day_equity = made.peak_equity = made.equity()
    made.market = market
    return made


def send(it, text, **extra):
    """Send "buy 10 A limit 99"; return "sent", or the name of the check that said no."""
    side, qty, symbol, *rest = text.split()
    prices = {rest[i]: float(rest[i + 1]) for i in range(0, len(rest), 2)}
    before = len(it.market.out)
    it.submit(symbol, 1.0 if side == "buy" else -1.0, float(qty), **prices, **extra)
    (output,) = it.market.out[before:]
    return output.check if isinstance(output, Denied) else "sent"


#: limits, what is held, orders sent before (all must leave), the order, what becomes of it.
#: A costs 100 and B 50; cash is 10,000 beside what is held.
TABLE = [
    # money per order, for every order: market ones too
    ("max_notional=1000",       "",       [], "buy 10 A", "sent"),
    ("max_notional=1000",       "",       [], "buy 11 A", "max_notional"),
    ("max_notional=1000",       "",       [], "buy 11 A limit 90", "sent"),
    ("max_notional=1000",       "",       [], "buy 9 A limit 112", "max_notional"),
    ("max_notional=1000",       "A 50",   [], "sell 11 A", "max_notional"),
    # units per symbol
    ("max_position=20",         "",       [], "buy 20 A", "sent"),
    ("max_position=20",         "",       [], "buy 21 A", "max_position"),
    ("max_position=20",         "A 15",   [], "buy 5 A", "sent"),
    ("max_position=20",         "A 15",   [], "buy 6 A", "max_position"),
    ("max_position=20",         "A 15",   ["buy 3 A limit 90"], "buy 3 A", "max_position"),
    ("max_position=20",         "A 30",   [], "sell 5 A", "sent"),  # takes off, if not enough
    ("max_position=20",         "A 15",   ["sell 10 A"], "buy 6 A", "max_position"),
    ("max_position=20",         "",       [], "sell 20 A", "sent"),
    ("max_position=20",         "",       [], "sell 21 A", "max_position"),
    ("max_position=20",         "A 5",    [], "sell 26 A", "max_position"),
    ("max_position=0",          "A 5",    [], "sell 5 A", "sent"),
    # fraction of equity in one symbol: equity is 10,000 when flat
    ("max_position_pct=0.2",    "",       [], "buy 20 A", "sent"),
    ("max_position_pct=0.2",    "",       [], "buy 21 A", "max_position_pct"),
    ("max_position_pct=0.2",    "A 90",   [], "sell 90 A", "sent"),
    ("max_position_pct=0.2",    "",       ["buy 15 A limit 90"], "buy 6 A", "max_position_pct"),
    # exposure
    ("max_gross_exposure=0.5",  "",       [], "buy 50 A", "sent"),
    ("max_gross_exposure=0.5",  "",       [], "buy 51 A", "max_gross_exposure"),
    ("max_gross_exposure=0.5",  "",       ["buy 30 A"], "sell 41 B", "max_gross_exposure"),
    ("max_gross_exposure=0.5",  "",       ["buy 30 A"], "sell 40 B", "sent"),
    ("max_gross_exposure=0.1",  "A 90",   [], "sell 90 A", "sent"),
    ("max_leverage=0.5",        "",       [], "buy 51 A", "max_leverage"),
    ("max_leverage=0.5",        "",       [], "buy 50 A", "sent"),
    ("max_net_exposure=0.3",    "",       [], "buy 31 A", "max_net_exposure"),
    ("max_net_exposure=0.3",    "",       [], "sell 30 A", "sent"),
    ("max_net_exposure=0.3",    "",       [], "sell 31 A", "max_net_exposure"),
    # prices far from the market, on the bad side
    ("price_collar_bps=100",    "",       [], "buy 1 A limit 101", "sent"),
    ("price_collar_bps=100",    "",       [], "buy 1 A limit 101.01", "price_collar_bps"),
    ("price_collar_bps=100",    "",       [], "buy 1 A limit 50", "sent"),
    ("price_collar_bps=100",    "",       [], "sell 1 A limit 98.99", "price_collar_bps"),
    ("price_collar_bps=100",    "",       [], "sell 1 A limit 200", "sent"),
    ("price_collar_bps=100",    "",       [], "sell 1 A stop 98", "price_collar_bps"),
    ("price_collar_bps=100",    "",       [], "buy 1 A", "sent"),
    # what may be traded, and how many orders at a time
    ("symbols=('A',)",          "",       [], "buy 1 A", "sent"),
    ("symbols=('A',)",          "",       [], "buy 1 B", "symbols"),
    ("max_open_orders=2",       "",       ["buy 1 A"], "buy 1 B", "sent"),
    ("max_open_orders=2",       "",       ["buy 1 A", "buy 1 B"], "buy 2 B", "max_open_orders"),
    ("max_open_orders=1",       "B 5",    ["buy 1 A"], "sell 5 B", "sent"),  # exits pass
    # too many, too fast
    ("max_orders_per_second=2", "",       ["buy 1 A"], "buy 2 A", "sent"),
    ("max_orders_per_second=2", "",       ["buy 1 A", "buy 2 A"], "buy 3 A",
     "max_orders_per_second"),
    ("max_orders_per_minute=1", "",       ["buy 1 A"], "buy 3 A", "max_orders_per_minute"),
    ("max_orders_per_minute=0", "",       [], "buy 3 A", "max_orders_per_minute"),
    ("duplicate_window_ms=100", "",       ["buy 1 A"], "buy 1 A", "duplicate"),
    ("duplicate_window_ms=100", "",       ["buy 1 A"], "buy 2 A", "sent"),
    ("duplicate_window_ms=100", "",       ["buy 1 A"], "sell 1 A", "sent"),
    ("duplicate_window_ms=100", "",       ["buy 1 A limit 99"], "buy 1 A limit 98", "sent"),
    # the first that is asked is the one that is named
    ("max_notional=1, max_position=1", "", [], "buy 2 A", "max_notional"),
]  # fmt: skip


@pytest.mark.parametrize(("limits", "held", "before", "order", "becomes"), TABLE)
def test_limits(limits, held, before, order, becomes):
    positions = {held.split()[0]: float(held.split()[1])} if held else {}
    it = desk(eval(f"rf.Limits({limits})"), held=positions)
    for text in before:
        assert send(it, text) == "sent"
    assert send(it, order) == becomes


def test_defect_4_integers_are_limits_too():
    it = desk(rf.Limits(max_notional=50_000), cash=1e6)
    assert send(it, "buy 500 A") == "sent"
    assert send(it, "buy 501 A") == "max_notional"


def test_defect_3_market_orders_do_not_pass_the_money_limits():
    data = pd.DataFrame(
        {"open": 100.0, "high": 100.0, "low": 100.0, "close": 100.0, "volume": 1.0},
        index=pd.date_range("2024-01-01", periods=3, tz="UTC"),
    )
    for limits in (rf.Limits(max_notional=999), rf.Limits(max_position_pct=0.0999)):
        report = rf.backtest(lambda c, b: c.buy(b.symbol, 10), data, cash=10_000, limits=limits)
        assert [o.status for o in report.data.orders] == ["denied"] * 3
        assert not report.data.fills


@pytest.mark.parametrize("name", [n for n in rf.Limits.__struct_fields__ if n != "symbols"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, "1", True, [1]])
def test_limits_that_are_no_limits_are_refused_by_name(name, value):
    with pytest.raises(rf.ConfigError, match=f"Limits: {name} must be"):
        rf.Limits(**{name: value})


def test_symbols_must_not_be_one_text():
    with pytest.raises(rf.ConfigError, match="symbols must be a sequence"):
        rf.Limits(symbols="SPY")


# ---------------------------------------------------------------- time


def test_the_age_of_a_price():
    it = desk(rf.Limits(max_data_age_ms=1000))
    it.market.now = 1000 * MS
    assert send(it, "buy 1 A") == "sent"
    it.market.now += 1
    assert send(it, "buy 1 A") == "max_data_age_ms"
    it.market.priced_at = it.market.now
    assert send(it, "buy 1 A") == "sent"


@pytest.mark.parametrize(("most", "name", "length_ms"), [
    (3, "max_orders_per_second", 1_000),
    (4, "max_orders_per_minute", 60_000),
])  # fmt: skip
def test_a_rate_denial_says_when_to_come_back(most, name, length_ms):
    it = desk(rf.Limits(**{name: most}), cash=1e9)
    for n in range(most):
        it.market.now = n * 100 * MS
        assert send(it, "buy 1 A") == "sent"
    it.market.now = 500 * MS
    assert send(it, "buy 1 A") == name
    denied = it.market.out[-1]
    assert denied.retry_after_ms == length_ms - 500  # when the first is a window old
    it.market.now = (length_ms - 1) * MS
    assert send(it, "buy 1 A") == name
    it.market.now = 500 * MS + int(denied.retry_after_ms * MS)
    assert send(it, "buy 1 A") == "sent"
    assert send(it, "buy 1 A") == name  # the second is still within it


def test_exits_and_cancels_have_lanes_that_entries_do_not_fill():
    it = desk(rf.Limits(max_orders_per_second=2), held={"A": 50.0}, cash=1e9)
    resting = it.submit("B", 1.0, 1.0, 10.0)
    assert send(it, "buy 1 A") == "sent"
    for order, becomes in [
        ("buy 1 A", "max_orders_per_second"),
        ("sell 60 A", "max_orders_per_second"),  # more than an exit
        ("sell 5 A", "sent"),
        ("sell 6 A", "sent"),
        ("sell 7 A", "max_orders_per_second"),
        ("buy 1 A", "max_orders_per_second"),
    ]:
        assert send(it, order) == becomes
    assert it.market.out[-2].reason == "2 exits left within the last second, 2 may"
    for order in list(it.orders.values()):
        it.cancel(order)
    assert sum(isinstance(o, Cancel) for o in it.market.out) == 4
    assert resting.cancel_pending
    it.market.now = 1_000 * MS
    assert [send(it, o) for o in ("buy 1 A", "sell 1 A")] == ["sent", "sent"]


def test_the_engines_own_exits_pass_nothing_but_their_lane():
    limits = rf.Limits(max_orders_per_second=1, max_notional=1, symbols=("B",), max_data_age_ms=1)
    it = desk(limits, held={"A": 50.0, "B": 50.0})
    it.market.now = 5_000 * MS
    it.state = "reducing"
    for symbol, becomes in [("A", "sent"), ("B", "denied")]:
        assert it.submit(symbol, -1.0, 50.0, exit_=True).status == becomes
    assert it.market.out[-1].check == "max_orders_per_second"


def test_what_is_held_can_be_left_even_where_no_order_may_leave():
    it = desk(rf.Limits(max_orders_per_minute=0), held={"A": 50.0})
    assert send(it, "buy 1 A") == "max_orders_per_minute"
    assert send(it, "sell 50 A") == "sent"


@pytest.mark.parametrize(("most", "minutes"), [(3, [3, 3, 3]), (1, [3, 4, 5])])
def test_a_flatten_leaves_as_its_lane_allows(most, minutes):
    p = np.array([100.0] * 4 + [60] * 6)
    times = pd.date_range("2024-01-01", periods=len(p), freq="1min", tz="UTC")
    bars = pd.DataFrame({"open": p, "high": p, "low": p, "close": p, "volume": 1.0}, index=times)
    report = rf.backtest(
        lambda c, b: c.buy(b.symbol, 100) if not c.position(b.symbol) and b.close > 99 else None,
        {"A": bars, "B": bars, "C": bars},
        limits=rf.Limits(max_drawdown=0.05, max_orders_per_minute=most),
    )
    first = report.data.orders[0].created
    exits = [o for o in report.data.orders if o.tag == "flatten"]
    assert [o.status for o in exits] == ["filled"] * 3
    assert [(o.created - first) // MINUTE - 1 for o in exits] == minutes


def test_a_duplicate_is_one_only_within_its_window():
    it = desk(rf.Limits(duplicate_window_ms=250))
    assert send(it, "buy 1 A") == "sent"
    it.market.now = 249 * MS
    assert send(it, "buy 1 A") == "duplicate"
    it.market.now = 250 * MS
    assert send(it, "buy 1 A") == "sent"


def test_three_equal_refusals_stop_such_orders_until_one_is_taken():
    it = desk()
    for n in range(3):
        assert send(it, "buy 1 A") == "sent"
        it.update(OrderUpdate(n, n, f"t-0-{n + 1}", "rejected", "no such account"))
    assert send(it, "buy 1 A") == "repeat"
    assert "no such account" in it.market.out[-1].reason
    assert send(it, "sell 1 A") == "sent"
    it.gate.refusals.clear()  # what `resume` does
    assert send(it, "buy 1 A") == "sent"


def test_different_refusals_are_no_loop():
    it = desk()
    for n in range(6):
        assert send(it, "buy 1 A") == "sent"
        it.update(OrderUpdate(n, n, f"t-0-{n + 1}", "rejected", f"reason {n % 2}"))


# ---------------------------------------------------------------- losses, in a backtest


def falling(prices, freq="1D"):
    p = np.array(prices, dtype=float)
    times = pd.date_range("2024-01-01", periods=len(p), freq=freq, tz="UTC")
    return pd.DataFrame({"open": p, "high": p, "low": p, "close": p, "volume": 1.0}, index=times)


class Holder(rf.Strategy):
    """Buys 100 on the first bar and again whenever it is flat."""

    def on_bar(self, ctx, bar):
        if not ctx.position(bar.symbol) and not ctx.orders():
            ctx.buy(bar.symbol, 100)


#: cash 20,000; 100 units at 100 are half of it
LOSSES = [
    # limit, closes, exit price (None: it holds on)
    ({"max_drawdown": 0.05}, [100, 100, 95, 90, 90, 90], None),  # 1,000 of 20,000: at the limit
    ({"max_drawdown": 0.05}, [100, 100, 90, 89, 88, 87], 88.0),
    ({"max_drawdown": 0.05}, [100, 100, 110, 99, 98, 97], 98.0),  # from the peak of 21,000
    ({"daily_loss": 500}, [100, 100, 95, 94, 93, 92], None),  # 500 a day, then 100 a day
    ({"daily_loss": 500}, [100, 100, 94, 93, 92, 91], 93.0),
    ({"daily_loss_pct": 0.025}, [100, 100, 94, 93, 92, 91], 93.0),
    ({"daily_loss_pct": 0.03}, [100, 100, 94, 93, 92, 91], None),  # exactly three per cent
]


@pytest.mark.parametrize(("limits", "closes", "exit_price"), LOSSES)
def test_defect_8_losses_flatten_and_halt(limits, closes, exit_price):
    report = rf.backtest(Holder, falling(closes), cash=20_000, limits=rf.Limits(**limits))
    sells = [fill.price for fill in report.data.fills if fill.side == "sell"]
    assert sells == ([] if exit_price is None else [exit_price])
    if exit_price is not None:
        last = report.data.orders[-1]
        assert (last.status, last.reason.split(";")[0]) == ("denied", "trading is halted")


def test_a_loss_within_the_day_counts_from_the_days_first_equity():
    # 300 on the first day, 300 on the second, 700 at noon of the third: out at the next open.
    closes = [100, 100, 97, 97, 97, 97, 94, 94, 90, 87, 86, 86]
    report = rf.backtest(
        Holder, falling(closes, "6h"), cash=20_000, limits=rf.Limits(daily_loss=600)
    )
    (sell,) = [fill for fill in report.data.fills if fill.side == "sell"]
    assert sell.price == 86.0


# ---------------------------------------------------------------- hostile numbers


def short(bad):
    """Name a case the same in every process."""
    return f"{type(bad).__name__} {str(bad)[:6]}"


HOSTILE = [
    float("nan"), float("inf"), -float("inf"), None, "1", b"1", "many", -5, 0, 1e308, True, [],
    np.float64("nan"), np.float64("inf"), np.float32(-1), object(), 10**400,
]  # fmt: skip


@pytest.mark.parametrize("bad", HOSTILE, ids=short)
@pytest.mark.parametrize("symbol", ["A", "BTC/USDT"])
def test_numbers_that_are_none_never_leave(bad, symbol):
    it = desk(market=Market(**{symbol: 100.0}), cash=1e4)
    asked = [{"qty": bad}]
    if bad is not None:  # None is how no limit is said
        asked += [
            {"qty": 1.0, "limit": bad},
            {"qty": 1.0, "stop": bad},
            {"qty": 1, "limit": 1, "stop": bad},
        ]
    for arguments in asked:
        for sign in (1.0, -1.0):
            order = it.submit(symbol, sign, **arguments)
            assert order.status == "denied"
            assert order.reason
    assert not [o for o in it.market.out if not isinstance(o, Denied)]
    assert it.reserved == 0.0
    assert it.working == {}


@pytest.mark.parametrize("good", [2, 2.0, np.float64(2), np.int64(2), np.float32(2)], ids=repr)
def test_numbers_of_every_kind_leave_as_plain_floats(good):
    it = desk()
    it.submit("A", 1.0, good, limit=good)
    (submit,) = it.market.out
    assert (type(submit.qty), type(submit.limit)) == (float, float)
    assert (submit.qty, submit.limit) == (2.0, 2.0)


@pytest.mark.parametrize("bad", HOSTILE, ids=short)
def test_a_change_to_no_number_does_not_leave(bad):
    it = desk()
    order = it.submit("A", 1.0, 10.0, limit=90.0)
    it.update(OrderUpdate(1, 1, order.id, "accepted"))
    held_back = it.reserved
    for arguments in ({"qty": bad}, {"limit": bad}):
        if bad is not None:
            assert it.replace(order, **arguments) is False
    assert (it.reserved, list(it.working["A"])) == (held_back, [order.id])
    assert (order.status, order.qty, order.limit) == ("open", 10.0, 90.0)


def test_a_limit_of_less_than_a_tick_is_no_price():
    it = desk()
    assert send(it, "buy 1 A limit 0.001") == "grid"
    assert send(it, "buy 1 A limit 0.01") == "sent"


def test_orders_below_the_instruments_smallest():
    rules = {"A": rf.Instrument("A", min_qty=5.0, min_notional=1000.0)}
    it = desk(rules=rules)
    assert [send(it, f"buy {q} A") for q in (4, 9, 10)] == ["grid", "grid", "sent"]
    assert send(it, "buy 10 A limit 99") == "grid"


def test_without_a_price_nothing_leaves():
    it = desk(market=Market(A=0.0))
    assert send(it, "buy 1 A") == "no_price"


def test_a_check_that_fails_denies(monkeypatch):
    it = desk(rf.Limits(max_data_age_ms=1))
    monkeypatch.setattr(it, "data_age_ns", lambda symbol: 1 / 0)
    assert send(it, "buy 1 A") == "max_data_age_ms"
    assert "ZeroDivisionError" in it.market.out[-1].reason


# ---------------------------------------------------------------- what can be afforded


#: cash 1,000 and A at 100, unless said otherwise
AFFORDABLE = [
    ("what there is",            {}, {}, {},                     "buy 10 A", "sent"),
    ("a unit more",              {}, {}, {},                     "buy 11 A", "buying_power"),
    ("costs count",              {}, {"commission_bps": 1}, {}, "buy 10 A", "buying_power"),
    ("costs count per order",    {}, {"per_order": 1}, {},      "buy 10 A", "buying_power"),
    ("slippage counts",          {}, {"slippage_bps": 1}, {},   "buy 10 A", "buying_power"),
    ("a limit is what it costs", {}, {}, {},                     "buy 12 A limit 80", "sent"),
    ("a dear limit",             {}, {}, {}, "buy 10 A limit 101", "buying_power"),
    ("a short takes margin",     {}, {}, {},                     "sell 10 A", "sent"),
    ("a larger short",           {}, {}, {},                     "sell 11 A", "buying_power"),
    ("a quarter's margin",       {}, {}, {"margin": 0.25},      "sell 40 A", "sent"),
    ("over a quarter's margin",  {}, {}, {"margin": 0.25},      "sell 41 A", "buying_power"),
    ("long on margin",           {}, {}, {"margin": 0.25},      "buy 40 A", "sent"),
    ("not shortable",            {}, {}, {"shortable": False},  "sell 1 A", "borrow"),
    ("not shortable, exit",      {"A": 5}, {}, {"shortable": False}, "sell 5 A", "sent"),
    ("not shortable, too much",  {"A": 5}, {}, {"shortable": False}, "sell 6 A", "borrow"),
    ("a turn in one order",      {"A": 5}, {}, {"flips": False}, "sell 6 A", "flip"),
    ("a turn from short",        {"A": -5}, {}, {"flips": False}, "buy 6 A", "flip"),
    ("an exit before a turn",    {"A": 5}, {}, {"flips": False}, "sell 5 A", "sent"),
    ("an exit is always free",   {"A": 50}, {}, {},              "sell 50 A", "sent"),
    ("a cover is always free",   {"A": -50}, {}, {},             "buy 50 A", "sent"),
    ("a multiplier",             {}, {}, {"multiplier": 10.0},  "buy 1 A", "sent"),
    ("a multiplier, one more",   {}, {}, {"multiplier": 10.0},  "buy 2 A", "buying_power"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("held", "costs", "rules", "order", "becomes"),
    [row[1:] for row in AFFORDABLE],
    ids=[row[0] for row in AFFORDABLE],
)
def test_affordable(held, costs, rules, order, becomes):
    it = desk(
        cash=1_000.0, held=held, costs=rf.Costs(**costs), rules={"A": rf.Instrument("A", **rules)}
    )
    assert send(it, order) == becomes
    if becomes == "buying_power":
        assert "it needs" in it.orders["t-0-1"].reason


def test_what_is_held_still_is_not_turned_behind_an_exit_that_works():
    it = desk(held={"A": 5}, rules={"A": rf.Instrument("A", flips=False)})
    assert send(it, "sell 5 A limit 120") == "sent"
    assert send(it, "sell 1 A") == "flip"
    assert "from long to short in one order: leave it first" in it.orders["t-0-2"].reason


def test_working_orders_hold_back_what_they_need():
    it = desk(cash=1_000.0)
    assert send(it, "buy 6 A limit 90") == "sent"  # 540
    assert it.buying_power() == 460.0
    assert send(it, "buy 5 A") == "buying_power"
    assert send(it, "buy 4 A") == "sent"
    it.update(OrderUpdate(1, 1, "t-0-1", "canceled"))
    assert it.buying_power() == 600.0
    it.fill(Fill(2, 2, "x", "t-0-3", "A", "buy", 4.0, 100.0))
    assert (it.buying_power(), it.reserved) == (600.0, 0.0)


def test_a_market_exit_pays_for_what_is_bought_with_it():
    it = desk(cash=0.0, held={"A": 10.0})
    assert send(it, "buy 1 B") == "buying_power"
    assert send(it, "sell 10 A") == "sent"
    assert send(it, "buy 20 B") == "sent"
    assert send(it, "buy 1 B") == "buying_power"


# ---------------------------------------------------------------- reduce-only


#: held, orders before, the order, what becomes of it
REDUCING = [
    (10, [], "sell 10 A", "sent"),
    (10, [], "sell 11 A", "reduce_only"),
    (10, ["sell 4 A limit 120"], "sell 7 A", "reduce_only"),
    (10, ["sell 4 A limit 120"], "sell 6 A", "sent"),
    (10, [], "buy 1 A", "reduce_only"),
    (0, [], "sell 1 A", "reduce_only"),
    (-10, [], "buy 10 A", "sent"),
    (-10, [], "buy 11 A", "reduce_only"),
]


@pytest.mark.parametrize(("held", "before", "order", "becomes"), REDUCING)
def test_reduce_only_never_opens(held, before, order, becomes):
    it = desk(held={"A": held} if held else {}, cash=1e5)
    for text in before:
        assert send(it, text) == "sent"
    assert send(it, order, reduce_only=True) == becomes


def test_what_leaves_and_what_does_not_when_halted_or_reducing():
    it = desk(held={"A": 10.0})
    assert send(it, "buy 1 A limit 90") == "sent"
    for state, order, becomes in [
        ("halted", "sell 1 A", "trading_state"),
        ("halted", "buy 1 A", "trading_state"),
        ("reducing", "buy 1 A", "trading_state"),
        ("reducing", "sell 11 A", "trading_state"),
        ("reducing", "sell 10 A", "sent"),
        ("reducing", "sell 1 A", "trading_state"),  # all of it is on its way out
        ("active", "buy 1 B", "trading_state"),  # B's prices are stale, say
    ]:
        it.market.held_back = frozenset(["B"] if state == "active" else [])
        it.state = state
        assert send(it, order) == becomes
    it.state = "halted"
    it.cancel(it.orders["t-0-1"])
    assert isinstance(it.market.out[-1], Cancel)
    it.cancel(it.orders["t-0-1"])  # asked once
    assert sum(isinstance(o, Cancel) for o in it.market.out) == 1


def test_defect_7_an_execution_is_booked_once():
    it = desk()
    it.submit("A", 1.0, 10.0)
    fill = Fill(1, 1, "e1", "t-0-1", "A", "buy", 4.0, 100.0, 1.0)
    assert it.fill(fill) is it.orders["t-0-1"]
    assert it.fill(fill) is None
    assert (it.ledger.position("A").qty, it.ledger.cash) == (4.0, 9_599.0)
    assert isinstance(it.market.out[0], Submit)
    # One that is not ours is a fact all the same.
    assert it.fill(Fill(2, 2, "e2", "someone", "A", "sell", 1.0, 100.0)) is None
    assert it.ledger.position("A").qty == 3.0


# ---------------------------------------------------------------- changes under way


#: what the venue says to "10 at 90 becomes 20 at 95" -> money held back, most that can be bought
ANSWERS = [
    ("", 1900.0, 20.0),  # not answered: the dearer and larger of the two
    ("replaced", 1900.0, 20.0),
    ("replace_rejected", 900.0, 10.0),
    ("canceled", 0.0, 0.0),
]


@pytest.mark.parametrize(("answer", "held_back", "buys"), ANSWERS)
def test_a_change_under_way_counts_in_full(answer, held_back, buys):
    it = desk(rf.Limits(max_position=25))
    order = it.submit("A", 1.0, 10.0, limit=90.0)
    it.update(OrderUpdate(1, 1, order.id, "accepted"))
    assert it.replace(order, 20.0, 95.0)
    if answer == "replaced":
        it.update(OrderUpdate(2, 2, order.id, answer, qty=20.0, limit=95.0))
    elif answer:
        it.update(OrderUpdate(2, 2, order.id, answer))
    assert (it.reserved, it.working_qty("A")) == (held_back, (buys, 0.0))
    assert send(it, f"buy {25 - buys:g} A limit 1") == "sent"
    assert send(it, "buy 1 A limit 1") == "max_position"


def test_a_fill_that_overtakes_a_larger_quantity_ends_the_order_when_that_is_refused():
    it = desk()
    order = it.submit("A", 1.0, 10.0, limit=90.0)
    it.update(OrderUpdate(1, 1, order.id, "accepted"))
    assert it.replace(order, 20.0)
    assert not it.replace(order, 30.0)  # one question at a time
    it.fill(Fill(2, 2, "x", order.id, "A", "buy", 10.0, 90.0))
    # The change may have been made before the fill: ten more may come.
    assert (it.reserved, it.working_qty("A"), order.status) == (900.0, (10.0, 0.0), "open")
    it.update(OrderUpdate(3, 3, order.id, "replace_rejected", "the order is over"))
    assert (it.reserved, it.working, order.status) == (0.0, {}, "filled")


def test_a_change_after_a_part_stays_on_the_grid_and_ends_whole():
    """0.1 of 0.3 has filled, another 0.2 come to 0.30000000000000004 as floats."""
    it = desk(rules={"A": rf.Instrument("A", lot=0.1)})
    order = it.submit("A", 1.0, 0.5, limit=90.0)
    it.update(OrderUpdate(1, 1, order.id, "accepted"))
    it.fill(Fill(2, 2, "x1", order.id, "A", "buy", 0.1, 90.0))
    assert it.replace(order, 0.30000000000000004)
    assert it.market.out[-1].qty == 0.3
    it.update(OrderUpdate(3, 3, order.id, "replaced", qty=0.3))
    it.fill(Fill(4, 4, "x2", order.id, "A", "buy", 0.2, 90.0))
    assert (order.status, order.remaining, it.working) == ("filled", 0.0, {})


def test_an_execution_in_another_symbol_is_a_fact_and_not_what_was_ordered():
    it = desk()
    order = it.submit("A", 1.0, 10.0, limit=90.0)
    it.update(OrderUpdate(1, 1, order.id, "accepted"))
    assert it.fill(Fill(2, 2, "odd", order.id, "B", "buy", 10.0, 50.0)) is None
    assert (order.status, order.filled) == ("open", 0.0)
    assert it.ledger.snapshot() == {"B": 10.0}
