"""Messages of TWS's socket protocol, as text: what the sandbox says and how it reads requests.

A message is a length of four bytes and fields that end by a zero byte each. Which fields there are
depends on the version that client and server agreed on, 157 to 178 here.
"""

from __future__ import annotations

import datetime as dt
import re
import struct
from typing import Any, NamedTuple

from regimeflow.model.instrument import Instrument

FIRST, LAST = 157, 178
ACCOUNT = "DU1234567"
CURRENCY = "USD"
_LENGTH = struct.Struct(">I")
#: Longest message that is read.
LONGEST = 1 << 20
_FUTURE = re.compile(r"([A-Z]+)-(\d{6,8})")
_OPTION = re.compile(r"([A-Z]+)-(\d{8})-([CP])-(\d+(?:\.\d+)?)")
_PAIR = re.compile(r"([A-Z]{3})/([A-Z]{3})")


def frame(fields: list[Any]) -> bytes:
    """Return a message."""
    text = "".join(f"{_text(field)}\0" for field in fields).encode()
    return _LENGTH.pack(len(text)) + text


def _text(field: Any) -> str:
    if isinstance(field, bool):
        return "1" if field else "0"
    return "" if field is None else str(field)


class Contract(NamedTuple):
    """What TWS calls a thing that is traded."""

    con_id: int
    symbol: str
    kind: str
    expiry: str
    strike: float
    right: str
    multiplier: str
    exchange: str
    currency: str
    local_symbol: str
    trading_class: str

    @classmethod
    def of(cls, name: str, con_id: int) -> Contract:
        """Return the contract of a symbol: ``SPY``, ``EUR/USD``, ``ES-202612`` or
        ``SPY-20261218-C-500``.
        """
        if pair := _PAIR.fullmatch(name):
            base, quote = pair.groups()
            local = f"{base}.{quote}"
            return cls(con_id, base, "CASH", "", 0.0, "", "", "IDEALPRO", quote, local, local)
        if option := _OPTION.fullmatch(name):
            base, day, right, strike = option.groups()
            local = f"{base:6}{day[2:]}{right}{int(float(strike) * 1000):08d}"
            price = float(strike)
            return cls(
                con_id, base, "OPT", day, price, right, "100", "SMART", CURRENCY, local, base
            )
        if future := _FUTURE.fullmatch(name):
            base, month = future.groups()
            return cls(
                con_id, base, "FUT", month, 0.0, "", "50", "CME", CURRENCY, f"{base}{month}", base
            )
        return cls(con_id, name, "STK", "", 0.0, "", "", "SMART", CURRENCY, name, "NMS")

    @property
    def fields(self) -> list[Any]:
        """As they stand in messages about orders, executions and positions."""
        return list(self)

    def fits(self, asked: list[str]) -> bool:
        """Whether it is what the twelve fields of a request describe."""
        con_id, symbol, kind, expiry, strike, right, *_, currency, local, _ = asked
        if con_id not in ("", "0"):
            return con_id == str(self.con_id)
        wanted = (
            (symbol, self.symbol), (kind, self.kind), (right[:1], self.right),
            (currency, self.currency), (local, self.local_symbol),
        )  # fmt: skip
        return (
            all(not there or there == here for there, here in wanted)
            and self.expiry.startswith(expiry)
            and float(strike or 0.0) in (0.0, self.strike)
        )


def rules(symbol: str) -> Instrument:
    """Return the trading rules of a symbol of the sandbox."""
    kind = Contract.of(symbol, 0).kind
    if kind == "CASH":
        return Instrument(symbol, tick=0.00005, lot=1.0)
    if kind == "FUT":
        return Instrument(symbol, tick=0.25, multiplier=50.0)
    if kind == "OPT":
        return Instrument(symbol, multiplier=100.0)
    return Instrument(symbol)


class Order(NamedTuple):
    """An order as its client described it, and who that was.

    Attributes:
        number: the client's own, 0 for one that was placed by hand.
        parent: number of the order whose exit it is, 0 for one of its own.
        oca: name of the group in which one order cancels the others.
        transmit: whether it leaves at once, with what was sent before for the same parent.
        asks: whether it only asks what it would do to the account.
    """

    client: int
    number: int
    contract: Contract
    action: str
    qty: str
    type: str
    limit: str
    stop: str
    tif: str
    ref: str
    good_till: str
    outside: str
    parent: int = 0
    oca: str = ""
    transmit: bool = True
    asks: bool = False

    @classmethod
    def read(cls, fields: list[str], client: int, contract: Contract, version: int) -> Order:
        """Read a request to place or change an order; one without a time in force is for a day.

        Raises:
            ValueError: it has what the sandbox does not know, and where the rest stands is not
                known either.
        """
        rest = fields[42:] if version >= 177 else fields[43:]
        if rest[22] or rest[30] or rest[34] or rest[39] not in ("", "0") or rest[40]:
            raise ValueError("orders have no algorithm, hedge, scale or delta neutral part here")
        return cls(
            client, int(fields[1]), contract, fields[16], fields[17], fields[18], fields[19],
            fields[20], fields[21] or "DAY", fields[26], fields[38], fields[33],
            int(fields[28] or 0), fields[22], fields[27] == "1", rest[42] == "1",
        )  # fmt: skip


#: Fields of an open order in their order, from its terms on; "<177" and so on: of which versions.
_OPEN = """
action totalQuantity orderType lmtPrice auxPrice tif ocaGroup account openClose origin
orderRef clientId permId outsideRth hidden discretionaryAmt goodAfterTime skipped faGroup
faMethod faPercentage <177:faProfile modelCode goodTillDate rule80A percentOffset settlingFirm
shortSaleSlot designatedLocation exemptCode auctionStrategy startingPrice stockRefPrice delta
stockRangeLower stockRangeUpper displaySize blockOrder sweepToFill allOrNone minQty ocaType
eTradeOnly firmQuoteOnly nbboPriceCap parentId triggerMethod volatility volatilityType
deltaNeutralOrderType deltaNeutralAuxPrice continuousUpdate referencePriceType trailStopPrice
trailingPercent basisPoints basisPointsType comboLegsDescrip legs orderLegs params
scaleInitLevelSize scaleSubsLevelSize scalePriceIncrement hedgeType optOutSmartRouting
clearingAccount clearingIntent notHeld deltaNeutral algoStrategy solicited whatIf status
initMarginBefore maintMarginBefore equityWithLoanBefore initMarginChange maintMarginChange
equityWithLoanChange initMarginAfter maintMarginAfter equityWithLoanAfter commission
minCommission maxCommission commissionCurrency warningText randomizeSize randomizePrice
conditions adjustedOrderType triggerPrice trailStopPrice lmtPriceOffset adjustedStopPrice
adjustedStopLimitPrice adjustedTrailingAmount adjustableTrailingUnit tierName tierValue
tierDisplayName cashQty dontUseAutoPriceForHedge isOmsContainer discretionaryUpToLimitPrice
usePriceMgmtAlgo >=159:duration >=160:postToAts >=162:autoCancelParent >=170:minTradeQty
>=170:minCompeteSize >=170:competeAgainstBestOffset >=170:midOffsetAtWhole
>=170:midOffsetAtHalf
"""
#: The same of an order that is over.
_COMPLETED = """
action totalQuantity orderType lmtPrice auxPrice tif ocaGroup account openClose origin
orderRef permId outsideRth hidden discretionaryAmt goodAfterTime faGroup faMethod faPercentage
<177:faProfile modelCode goodTillDate rule80A percentOffset settlingFirm shortSaleSlot
designatedLocation exemptCode startingPrice stockRefPrice delta stockRangeLower
stockRangeUpper displaySize sweepToFill allOrNone minQty ocaType triggerMethod volatility
volatilityType deltaNeutralOrderType deltaNeutralAuxPrice continuousUpdate referencePriceType
trailStopPrice trailingPercent comboLegsDescrip legs orderLegs params scaleInitLevelSize
scaleSubsLevelSize scalePriceIncrement hedgeType clearingAccount clearingIntent notHeld
deltaNeutral algoStrategy solicited status randomizeSize randomizePrice conditions
trailStopPrice lmtPriceOffset cashQty dontUseAutoPriceForHedge isOmsContainer autoCancelDate
filledQuantity refFuturesConId autoCancelParent shareholder imbalanceOnly routeMarketableToBbo
parentPermId completedTime completedStatus >=170:minTradeQty >=170:minCompeteSize
>=170:competeAgainstBestOffset >=170:midOffsetAtWhole >=170:midOffsetAtHalf
"""
#: Counts that must stand there; every other field that nothing is said of is left empty.
_COUNTS = {"legs": 0, "orderLegs": 0, "params": 0, "deltaNeutral": 0, "conditions": 0}


def open_order(order: Order, qty: str, perm_id: int, status: str, version: int) -> bytes:
    """Return what an order is now."""
    said = _said(order, qty, perm_id, status) | {"clientId": order.client}
    names = [5, order.number, *order.contract.fields]
    return frame(names + _fields(_OPEN, said, version))


def what_if(order: Order, terms: dict[str, Any], version: int) -> bytes:
    """Return what an order would do to the account, by the names of TWS's fields."""
    said = _said(order, order.qty, 0, "PreSubmitted") | {"clientId": order.client, "whatIf": 1}
    names = [5, order.number, *order.contract.fields]
    return frame(names + _fields(_OPEN, said | terms, version))


def completed_order(
    order: Order, qty: str, perm_id: int, status: str, why: str, filled: str, version: int
) -> bytes:
    """Return an order that is over."""
    said = _said(order, qty, perm_id, status)
    said |= {"filledQuantity": filled, "completedStatus": why}
    return frame([101, *order.contract.fields, *_fields(_COMPLETED, said, version)])


def _said(order: Order, qty: str, perm_id: int, status: str) -> dict[str, Any]:
    return {
        **_COUNTS,
        "action": order.action,
        "totalQuantity": qty,
        "orderType": order.type,
        "lmtPrice": order.limit or "0.0",
        "auxPrice": order.stop or "0.0",
        "tif": order.tif,
        "account": ACCOUNT,
        "orderRef": order.ref,
        "permId": perm_id,
        "outsideRth": order.outside or 0,
        "goodTillDate": order.good_till,
        "parentId": order.parent,
        "ocaGroup": order.oca,
        "ocaType": 2 if order.oca else 0,
        "status": status,
    }


def _fields(names: str, said: dict[str, Any], version: int) -> list[Any]:
    """Return fields in their order, those left out that the version does not have."""
    found = []
    for name in names.split():
        condition, _, plain = name.rpartition(":")
        if condition.startswith("<") and version >= int(condition[1:]):
            continue
        if condition.startswith(">=") and version < int(condition[2:]):
            continue
        found.append(said.get(plain, ""))
    return found


def _since(version: int, first: int, fields: list[Any]) -> list[Any]:
    return fields if version >= first else []


def _before(version: int, first: int, fields: list[Any]) -> list[Any]:
    return fields if version < first else []


def order_status(
    order: Order, status: str, filled: str, left: str, average: str, perm_id: int
) -> bytes:
    """Return what has become of an order."""
    return frame(
        [3, order.number, status, filled, left, average, perm_id, 0, average, order.client, "", 0.0]
    )


def execution(
    number: int, order: Order, perm_id: int, exec_id: str, at: int, side: str, qty: str, price: str,
    total: str, average: str, version: int,
) -> bytes:  # fmt: skip
    """Return an execution; ``number`` is the question's, -1 for one just made."""
    when = dt.datetime.fromtimestamp(at // 10**9, dt.UTC).strftime("%Y%m%d %H:%M:%S UTC")
    fields: list[Any] = [11, number, order.number, *order.contract.fields, exec_id, when, ACCOUNT]
    fields += ["SANDBOX", "BOT" if side == "buy" else "SLD", qty, price, perm_id, order.client, 0]
    fields += [total, average, order.ref, "", "", "", 2, *_since(version, 178, [0])]
    return frame(fields)


def commission(exec_id: str, fee: str) -> bytes:
    """Return what an execution cost."""
    return frame([59, 1, exec_id, fee, CURRENCY, "", "", ""])


def error(number: int, code: int, text: str, version: int) -> bytes:
    """Return a notice, a warning or a refusal."""
    return frame([4, 2, number, code, text, *_since(version, 166, [""])])


def details(
    number: int, contract: Contract, rules_: Instrument, exchange: str, primary: str, version: int
) -> bytes:
    """Return the rules of a contract."""
    c = contract
    fields: list[Any] = [10, *_before(version, 164, [8]), number, c.symbol, c.kind, c.expiry]
    fields += [c.strike, c.right, exchange, c.currency, c.local_symbol, c.trading_class]
    fields += [c.trading_class, c.con_id, _plain(rules_.tick), *_before(version, 164, [1])]
    fields += [c.multiplier, "LMT,MKT,STP,STPLMT", c.exchange, 1, 0, c.symbol, primary, c.expiry]
    fields += ["", "", "", "UTC", "", "", "", "", 0, 1, "", "", "", "", ""]
    fields += [1] if version == 163 else []
    fields += _since(version, 164, [_plain(rules_.lot), _plain(rules_.lot), 100])
    return frame(fields)


def _plain(number: float) -> str:
    return f"{number:.10f}".rstrip("0").rstrip(".")
