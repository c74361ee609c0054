"""Cash and positions: hand-computed tables, and random fills against a ``Decimal`` oracle."""

import random
from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regimeflow.model.events import Start
from regimeflow.model.instrument import Instrument, Instruments
from regimeflow.model.ledger import Ledger

#: Fills as "side qty @price fee"; then cash, units, average price and realised profit by hand.
TABLE = [
    # rule                 fills                                cash     units  average  realised
    ("open",               "+10@100",                           "9000",  "10",  "100",   "0"),
    ("open, fee",          "+10@100/1.5",                       "8998.5", "10", "100",   "0"),
    ("add",                "+10@100 +10@110",                   "7900",  "20",  "105",   "0"),
    ("reduce",             "+10@100 -4@110",                    "9440",  "6",   "100",   "40"),
    ("close",              "+10@100 -10@90",                    "9900",  "0",   "0",     "-100"),
    ("flip long to short", "+10@100 -15@110",                   "10650", "-5",  "110",   "100"),
    ("short",              "-10@100",                           "11000", "-10", "100",   "0"),
    ("add to short",       "-10@100 -10@90",                    "11900", "-20", "95",    "0"),
    ("cover at a profit",  "-10@100 +4@90",                     "10640", "-6",  "100",   "40"),
    ("flip short to long", "-10@100 +15@90",                    "9650",  "5",   "90",    "100"),
    ("open again",         "+10@100 -10@110 +1@120",            "9980",  "1",   "120",   "100"),
    ("fees both ways",     "+10@100/1 -10@100/1",               "9998",  "0",   "0",     "0"),
    ("a rebate",           "+10@100/-0.5",                      "9000.5", "10", "100",   "0"),
]  # fmt: skip


def fills_of(text: str) -> list[tuple[float, float, float]]:
    rows = []
    for word in text.split():
        qty, rest = word.split("@")
        price, _, fee = rest.partition("/")
        rows.append((float(qty), float(price), float(fee or 0)))
    return rows


def ledger(cash: float = 10_000.0, **rules: float) -> Ledger:
    return Ledger(cash, Instruments({"X": Instrument("X", **rules)}))


def test_a_run_begins_with_its_cash_and_what_it_found():
    rules = Instrument("AAA", lot=0.5, multiplier=2.0)
    start = Start(
        1, 1, "r", 0, ("AAA",), (0,), 100.0, {"AAA": (3.2, 10.0), "BBB": (-1.0, 5.0)}, (rules,)
    )
    ledger = Ledger.of(start)
    assert (ledger.cash, ledger.snapshot()) == (100.0, {"AAA": 3.0, "BBB": -1.0})
    assert ledger.equity({"AAA": 11.0, "BBB": 4.0}.__getitem__) == 100.0 + 3.0 * 11.0 * 2.0 - 4.0
    assert Ledger.of(start, Instruments()).equity({"AAA": 11.0, "BBB": 4.0}.__getitem__) < 135.0


@pytest.mark.parametrize(
    ("fills", "cash", "units", "average", "realized"),
    [row[1:] for row in TABLE],
    ids=[row[0] for row in TABLE],
)
def test_by_hand(fills, cash, units, average, realized):
    book = ledger()
    for qty, price, fee in fills_of(fills):
        book.book("X", qty, price, fee)
    position = book.position("X")
    assert [book.cash, position.qty, position.average_price, position.realized] == [
        float(cash), float(units), float(average), float(realized),
    ]  # fmt: skip


def test_a_multiplier_scales_money_and_not_units():
    book = ledger(multiplier=50.0)
    book.book("X", 2.0, 4000.0, 5.0)
    book.book("X", -1.0, 4010.0, 5.0)
    assert book.cash == 10_000 - 2 * 4000 * 50 + 4010 * 50 - 10
    assert book.position("X").realized == 500.0
    assert book.equity(lambda _: 4010.0) == 10_000 + 2 * 10 * 50 - 10


def test_tenths_of_a_lot_leave_no_dust():
    book = ledger(lot=0.1)
    for _ in range(3):
        book.book("X", 0.1, 10.0, 0.0)
    assert book.position("X").qty == 0.3
    book.book("X", -0.3, 10.0, 0.0)
    assert book.position("X").qty == 0.0
    assert book.snapshot() == {}
    assert book.cash == 10_000.0


def test_a_position_from_before_moves_no_cash():
    book = ledger()
    book.open("X", 5.0, 80.0)
    assert (book.cash, book.equity(lambda _: 100.0)) == (10_000.0, 10_500.0)
    book.book("X", -5.0, 100.0, 0.0)
    assert book.position("X").realized == 100.0
    assert book.cash == 10_500.0


def test_positions_that_weigh_on_buying_power_are_known():
    rules = Instruments({"X": Instrument("X"), "F": Instrument("F", margin=0.1)})
    book = Ledger(1000.0, rules)
    for symbol, qty, levered in [
        ("X", 5.0, set()),
        ("F", 1.0, {"F"}),
        ("X", -8.0, {"F", "X"}),  # short now
        ("F", -1.0, {"X"}),
        ("X", 3.0, set()),
    ]:
        book.book(symbol, qty, 10.0, 0.0)
        assert set(book.levered) == levered
    assert book.held == {}


money = st.decimals("0.01", "5000", places=2)
fill_rows = st.lists(
    st.tuples(st.sampled_from("AB"), st.integers(-500, 500).filter(bool), money, money), max_size=60
)
RULES = {"A": Instrument("A", lot=0.001), "B": Instrument("B", lot=1.0, multiplier=20.0)}


@given(fill_rows, st.dictionaries(st.sampled_from("AB"), money, min_size=2))
def test_realised_plus_unrealised_is_the_change_in_equity_plus_fees(rows, marks):
    book = Ledger(1e6, Instruments(RULES))
    for symbol, lots, price, fee in rows:
        book.book(symbol, float(lots * Decimal(repr(RULES[symbol].lot))), float(price), float(fee))
    profit = sum(p.realized for p in book.positions.values())
    for p in book.positions.values():
        profit += p.qty * (float(marks[p.symbol]) - p.average_price) * p.instrument.multiplier
    equity = book.equity(lambda symbol: float(marks[symbol]))
    assert equity - 1e6 + book.fees == pytest.approx(profit, abs=1e-4)


def test_two_hundred_thousand_fills_equal_exact_arithmetic():
    chance = random.Random(11)
    names = ["A", "B", "C/USDT"]
    rules = Instruments({"A": RULES["A"], "B": RULES["B"], "C/USDT": Instrument.default("C/USDT")})
    lots = {"A": Decimal("0.001"), "B": Decimal(1), "C/USDT": Decimal("1e-8")}
    book = Ledger(1e6, rules)
    cash, held = Decimal(10**6), dict.fromkeys(names, Decimal(0))
    with localcontext(prec=60):
        for _ in range(200_000):
            symbol = names[chance.randrange(3)]
            most = {"A": 10_000, "B": 20, "C/USDT": 10**9}[symbol]
            qty = float(chance.randrange(-most, most) * lots[symbol])
            if qty == 0.0:
                continue
            price, fee = chance.randrange(1, 100_000) / 100, chance.randrange(1000) / 1000
            book.book(symbol, qty, price, fee)
            multiplier = 20 if symbol == "B" else 1
            cash -= Decimal(qty) * Decimal(price) * multiplier + Decimal(fee)
            held[symbol] += Decimal(repr(qty))
    for symbol in names:
        assert Decimal(repr(book.position(symbol).qty)) == held[symbol]
    # Exact but for the rounding of each product, which compensated sums do not add to.
    assert abs(Decimal(book.cash) - cash) < Decimal("1e-6")
