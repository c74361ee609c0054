"""What a symbol stands for at Interactive Brokers, and the rules it is traded by."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from regimeflow.errors import ConfigError, Refused, did_you_mean
from regimeflow.model.instrument import Instrument

#: Kinds that are traded in whole units, whatever the size increment says: orders over the API for
#: fractions of them are refused by most accounts.
_WHOLE = frozenset({"STK", "FUT", "OPT", "FOP", "CFD"})
_KINDS = _WHOLE | {"CASH", "CRYPTO", "CMDTY", "IND"}
_PAIR = 3


class ContractFields(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a symbol stands for.

    Attributes:
        symbol_override: the symbol at Interactive Brokers, where ours is another name.
        security_type: STK, FUT, OPT, FOP, CASH, CRYPTO, CFD, CMDTY or IND.
        exchange, currency, primary_exchange: where it is traded and in what.
        local_symbol, trading_class: the exchange's own names.
        last_trade_date_or_contract_month: of futures and options, YYYYMM or YYYYMMDD.
        right: C or P.
        multiplier: money per unit and price point, as text or number; "" takes any.
        strike: of an option.
        con_id: Interactive Brokers' own number; it alone is enough.
        include_expired: whether history of a future that is over can be asked for.
        margin: fraction of a position's value that equity must cover; see `Instrument`.
    """

    symbol_override: str = ""
    security_type: str = "STK"
    exchange: str = "SMART"
    currency: str = "USD"
    primary_exchange: str = ""
    local_symbol: str = ""
    trading_class: str = ""
    last_trade_date_or_contract_month: str = ""
    right: str = ""
    multiplier: str | int | float = ""
    strike: float = 0.0
    con_id: int = 0
    include_expired: bool = False
    margin: float = 1.0


def fields_of(symbol: str, given: Mapping[str, Any] | ContractFields | None) -> ContractFields:
    """Return what a symbol stands for.

    Without anything given it is a US stock, or currencies where its name is like ``EUR/USD``.

    Raises:
        ConfigError: a field is unknown or of the wrong type.

    >>> fields_of("EUR/USD", None).security_type
    'CASH'
    """
    if isinstance(given, ContractFields):
        found = given
    elif given is None:
        base, _, quote = symbol.partition("/")
        pair = len(base) == len(quote) == _PAIR and base.isalpha() and quote.isalpha()
        found = ContractFields()
        if pair:
            found = ContractFields(
                symbol_override=base, security_type="CASH", exchange="IDEALPRO", currency=quote
            )
    else:
        found = _decoded(symbol, given)
    _check(symbol, found)
    return found


def _decoded(symbol: str, given: Mapping[str, Any]) -> ContractFields:
    known = ContractFields.__struct_fields__
    for name in given:
        if name not in known:
            raise ConfigError(
                f"contracts[{symbol!r}] has no field {name!r}.{did_you_mean(str(name), known)}"
            )
    fields = dict(given)
    if type(fields.get(_MONTH)) is int:  # 202612, as one writes it
        fields[_MONTH] = str(fields[_MONTH])
    try:
        return msgspec.convert(fields, ContractFields)
    except msgspec.ValidationError as error:
        raise ConfigError(f"contracts[{symbol!r}]: {error}") from None


_MONTH = "last_trade_date_or_contract_month"


def _check(symbol: str, fields: ContractFields) -> None:
    texts = (getattr(fields, name) for name in fields.__struct_fields__)
    if not plain(symbol) or not all(plain(text) for text in texts if isinstance(text, str)):
        raise ConfigError(f"contract {symbol!r}: names are printable text without line breaks")
    if fields.security_type not in _KINDS:
        near = did_you_mean(fields.security_type, _KINDS)
        raise ConfigError(
            f"contracts[{symbol!r}]: security_type {fields.security_type!r} is none of "
            f"{', '.join(sorted(_KINDS))}.{near}"
        )
    if not (math.isfinite(fields.strike) and fields.strike >= 0 and 0 < fields.margin <= 1):
        raise ConfigError(f"contracts[{symbol!r}]: strike must be >= 0, margin in (0, 1]")


def plain(text: str) -> bool:
    """Whether a text can go into a message: TWS ends each field by a zero byte.

    >>> plain("SPY"), plain("SPY\\0BUY")
    (True, False)
    """
    return text.isprintable() and len(text) <= 100


def contract_of(library: Any, symbol: str, fields: ContractFields) -> Any:
    """Return the client library's contract to ask for details of."""
    # By its number alone: whatever else is said could only contradict it.
    if fields.con_id:
        return library.Contract(
            conId=fields.con_id, exchange=fields.exchange, includeExpired=fields.include_expired
        )
    return library.Contract(
        secType=fields.security_type,
        symbol=fields.symbol_override or ("" if fields.local_symbol else symbol),
        lastTradeDateOrContractMonth=fields.last_trade_date_or_contract_month,
        strike=fields.strike,
        right=fields.right,
        multiplier=str(fields.multiplier),
        exchange=fields.exchange,
        primaryExchange=fields.primary_exchange,
        currency=fields.currency,
        localSymbol=fields.local_symbol,
        tradingClass=fields.trading_class,
        includeExpired=fields.include_expired,
    )


def the_one(symbol: str, found: list[Any]) -> Any:
    """Return the only contract that TWS found.

    Raises:
        Refused: it found none, or several; the message names them.
    """
    if not found:
        raise Refused(f"{symbol} is not traded there", code="unknown_symbol")
    if len(found) == 1:
        return found[0]
    several = ", ".join(
        sorted({_described(details.contract) for details in found if details.contract})[:6]
    )
    raise Refused(
        f"{symbol} is ambiguous: {several}; say more in contracts, such as primary_exchange or "
        "last_trade_date_or_contract_month",
        code="ambiguous_symbol",
    )


def _described(contract: Any) -> str:
    parts = (
        contract.secType,
        contract.localSymbol or contract.symbol,
        contract.primaryExchange or contract.exchange,
        contract.currency,
        contract.lastTradeDateOrContractMonth,
    )
    return " ".join(part for part in parts if part)


def rules_of(symbol: str, fields: ContractFields, details: Any, calendar: str) -> Instrument:
    """Return the trading rules of a contract.

    The tick is the smallest of the contract; some exchanges have coarser ones at higher prices.

    Raises:
        Refused: TWS tells no usable rules.
    """
    contract = details.contract
    lot = _positive(details.sizeIncrement, 1.0)
    if contract.secType in _WHOLE:
        lot = max(1.0, lot)
    least = _positive(details.minSize, 0.0)
    magnifier = _positive(float(details.priceMagnifier), 1.0)
    multiplier = _positive(_number(contract.multiplier), 1.0) / magnifier
    tick = _positive(details.minTick, 0.0)
    if not tick:
        raise Refused(f"{symbol}: TWS tells no price step", code="no_rules")
    return Instrument(
        symbol,
        tick=tick,
        lot=lot,
        min_qty=max(lot, least) if least else 0.0,
        multiplier=multiplier,
        margin=fields.margin,
        shortable=contract.secType != "IND",
        calendar=calendar,
    )


def _number(text: Any) -> float:
    try:
        return float(text or 0.0)
    except ValueError:
        return 0.0


def _positive(value: float, other: float) -> float:
    return float(value) if math.isfinite(value) and 0 < value < 1e12 else other


def decimal_text(value: float) -> str:
    """Return a number as exact decimal text, without an exponent.

    >>> decimal_text(100.0), decimal_text(1e-7), decimal_text(0.1)
    ('100', '0.0000001', '0.1')
    """
    text = format(Decimal(repr(float(value))), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
