"""Runs tests in environments of their own, under .cache/matrix.

The brokers' tests run without, with older and with newer client libraries, and those of notebooks
with older and newer kernels. ``python scripts/matrix.py [NAME ...]`` makes each environment once
and runs its tests; without names all of them. Everything but what a row names is as in
requirements.lock. Exits with 1 if one fails.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / ".cache" / "matrix"
_TOOLS = ("pytest", "pytest-timeout", "hypothesis")
_SERVER = ("aiohttp", "msgpack", "websockets")


class Environment(NamedTuple):
    """One environment.

    Attributes:
        packages: installed beside the package's own needs; what has a version here is not held to
            the lock.
        tests: what is run, as patterns; those that match nothing are an error.
        absent: packages that must not be there.
    """

    packages: tuple[str, ...]
    tests: tuple[str, ...]
    absent: tuple[str, ...] = ()


_ALPACA = ("tests/venues/test_alpaca*.py", "tests/sandbox/test_alpaca*.py")
_CCXT = ("tests/venues/test_ccxt*.py", "tests/sandbox/test_ccxt*.py")
_KERNELS = (
    "tests/widgets/test_*.py",
    "tests/browser/test_panel.py",
    "tests/session/test_kernels*.py",
    "tests/session/test_interrupt.py",
)
#: A test patches the loop with the first, as some notebooks do.
_PATCHED = ("nest_asyncio", *_SERVER)
_LAB = ("jupyterlab", "playwright")
_IB = ("tests/venues/test_ib*.py", "tests/sandbox/test_tws*.py")
#: The oldest versions are the floors of pyproject.toml; the newest are those of the day.
ENVIRONMENTS: dict[str, Environment] = {
    "bare": Environment(
        (),
        ("tests/test_extras.py", "tests/session/test_certify.py", "tests/test_cli.py"),
        ("alpaca-py", "ccxt", "ib_async", "ib_insync", *_SERVER),
    ),
    "alpaca-oldest": Environment(("alpaca-py==0.44.0", *_PATCHED), _ALPACA),
    "alpaca-newest": Environment(("alpaca-py>=0.44", *_PATCHED), _ALPACA),
    "ccxt-oldest": Environment(("ccxt==4.5.7", *_PATCHED), _CCXT),
    "ccxt-newest": Environment(("ccxt>=4.5.7", *_PATCHED), _CCXT),
    "ib-oldest": Environment(("ib_async==2.1.0", *_SERVER), _IB, ("ib_insync",)),
    "ib-newest": Environment(("ib_async>=2.1", *_SERVER), _IB, ("ib_insync",)),
    "ib-insync": Environment(("ib_insync>=0.9.86", *_SERVER), _IB, ("ib_async",)),
    # 7.1 is the floor of pyproject.toml; Binder and older laptops have the two before it.
    "kernel-6.31": Environment(("ipykernel==6.31.0", *_LAB), _KERNELS),
    "kernel-7.0": Environment(("ipykernel==7.0.1", *_LAB), _KERNELS),
    "kernel-7.1": Environment(("ipykernel==7.1.0", *_LAB), _KERNELS),
    "kernel-newest": Environment(("ipykernel>=7.1", *_LAB), _KERNELS),
}


def main(arguments: list[str] | None = None) -> int:
    """Run the environments that are named; return how the worst of them ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(ENVIRONMENTS))
    names = parser.parse_args(arguments).names or list(ENVIRONMENTS)
    unknown = [name for name in names if name not in ENVIRONMENTS]
    if unknown:
        parser.error(f"there is no environment {unknown[0]!r}: {', '.join(ENVIRONMENTS)}")
    ends: dict[str, str] = {}
    for name in names:
        began = time.monotonic()
        ends[name] = f"{_run(name, ENVIRONMENTS[name])}, {time.monotonic() - began:.0f} s"
        print(f"{name:<14} {ends[name]}", flush=True)
    return 0 if all(end.startswith("passed") for end in ends.values()) else 1


def _run(name: str, wanted: Environment) -> str:
    tests = [path for pattern in wanted.tests for path in sorted(ROOT.glob(pattern))]
    empty = [pattern for pattern in wanted.tests if not list(ROOT.glob(pattern))]
    if empty:
        return f"failed: nothing is there to be run for {', '.join(empty)}"
    python = _made(name, wanted)
    if isinstance(python, str):
        return f"failed: {python}"
    present = [package for package in wanted.absent if _version(python, package)]
    if present:
        return f"failed: {', '.join(present)} must not be there"
    done = subprocess.run(
        [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, tests)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    versions = [f"{p} {_version(python, p)}" for p in map(_plain, wanted.packages[:1])]
    return f"{'passed' if done.returncode == 0 else 'failed'} ({', '.join(versions) or 'no extra'})"


def _made(name: str, wanted: Environment) -> Path | str:
    """Return an environment's Python, or why there is none."""
    folder = PLACE / name
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(_constraints({_plain(p) for p in wanted.packages[:1]})))
    done = subprocess.run(
        [
            str(python), "-m", "pip", "install", "-q", "--upgrade", "-c", str(constraints),
            *_needs(), *_TOOLS, *wanted.packages,
        ],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    return python if done.returncode == 0 else done.stderr.strip()[-2_000:]


def _needs() -> list[str]:
    """Return what the package itself needs: it is tested from the source tree."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [str(need) for need in project["dependencies"]]


def _constraints(but: set[str]) -> list[str]:
    """Return the versions of the lock, without those of a client and of what it pins itself."""
    pins = re.findall(
        r"^([A-Za-z0-9._-]+)(==[^\\\n]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE
    )
    # ccxt pins exact versions of these, each release others.
    free = _FREE if "ccxt" in but else set()
    return [f"{name}{pin.rstrip()}" for name, pin in pins if _plain(name) not in but | free]


_FREE = {
    "aiodns", "aiohappyeyeballs", "aiohttp", "aiosignal", "attrs", "certifi", "cffi",
    "charset-normalizer", "coincurve", "cryptography", "frozenlist", "idna", "multidict",
    "orjson", "propcache", "pycares", "pycparser", "requests", "setuptools",
    "typing-extensions", "urllib3", "uvloop", "yarl",
}  # fmt: skip


def _plain(package: str) -> str:
    return re.split(r"[<>=!;\[ ]", package)[0].lower().replace("_", "-").replace(".", "-")


def _version(python: Path, package: str) -> str:
    """Return a package's version there, "" where it is absent."""
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


if __name__ == "__main__":
    sys.exit(main())
