"""A process in which no optional package is installed, as far as Python can tell.

``python tests/bare.py RUN_DIR ...`` certifies recorded runs there; without a run it shows that the
whole package is imported, backtests and certifies, and what is said where something is missing.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import pkgutil
import sys
import tempfile
from typing import Any

CLIENTS = ("alpaca", "ccxt", "ib_async", "ib_insync")
OPTIONAL = (*CLIENTS, "eventkit", "aiohttp", "msgpack", "websockets", "dask", "distributed", "arch")
#: Servers of other protocols need packages of their own.
SERVERS = ("regimeflow.sandbox.",)


def hide(names: tuple[str, ...]) -> None:
    """Make packages absent: neither imports nor `importlib.util.find_spec` find them."""
    found = importlib.machinery.PathFinder.find_spec

    def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
        return None if name.partition(".")[0] in names else found(name, path, target)

    importlib.machinery.PathFinder.find_spec = find_spec  # type: ignore[method-assign]


def import_everything() -> None:
    import regimeflow

    for name in regimeflow.__all__:
        getattr(regimeflow, name)
    for module in pkgutil.walk_packages(regimeflow.__path__, "regimeflow."):
        if module.name.endswith("__main__"):
            continue
        try:
            importlib.import_module(module.name)
        except ImportError as error:
            if not module.name.startswith(SERVERS):
                raise
            print(f"left out {module.name}: {error}")


def say_what_is_missing() -> None:
    import regimeflow as rf

    made = {
        "Alpaca": lambda: rf.venues.Alpaca(api_key="PK1", secret_key="none"),
        "Ccxt": lambda: rf.venues.Ccxt("binance"),
        "InteractiveBrokers": lambda: rf.venues.InteractiveBrokers(port=7497),
    }
    for name, make in made.items():
        if name not in rf.venues.__all__:
            continue
        try:
            make()
        except rf.MissingExtra as error:
            print(f"missing {name}: {error}")
        else:
            raise SystemExit(f"{name} was made without its client library")


def backtest_and_certify() -> None:
    import regimeflow as rf

    frame = rf.datasets.synthetic(n=200)

    def hold(ctx: Any, bar: Any) -> None:
        ctx.target(bar.symbol, qty=10)

    with tempfile.TemporaryDirectory() as folder:
        report = rf.backtest(hold, frame, journal=f"{folder}/run")
        assert len(report.fills) == 1
        session = rf.LiveSession(
            hold, rf.venues.Simulated(frame, speed=None), run_dir=f"{folder}/live"
        )
        session.run(progress=False)
        for run in ("run", "live"):
            assert rf.certify(f"{folder}/{run}", strategy=hold).identical
    assert len(rf.venues.capabilities()) > 5
    print("certified")


def main(run_dirs: list[str]) -> None:
    hide(OPTIONAL)
    if run_dirs:
        import regimeflow as rf

        for run_dir in run_dirs:
            certificate = rf.certify(run_dir)
            print(f"{'identical' if certificate.identical else 'different'} {run_dir}")
    else:
        import_everything()
        say_what_is_missing()
        backtest_and_certify()
    loaded = sorted({name.partition(".")[0] for name in sys.modules} & set(OPTIONAL))
    print(f"loaded {loaded}")


if __name__ == "__main__":
    main(sys.argv[1:])
