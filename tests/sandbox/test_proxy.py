"""What a proxy does to what passes, looked at from both of its ends."""

from __future__ import annotations

import json
import socket
import threading
import time

import pytest

from regimeflow.errors import ConfigError
from regimeflow.sandbox.proxy import Proxy, Toxics


@pytest.fixture
def echo():
    """Return the port of a server that says everything once more, and closes when it is told."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer(one: socket.socket) -> None:
            with one:
                while data := one.recv(4096):
                    if b"bye" in data:
                        return
                    one.sendall(data)

        def serve() -> None:
            while True:
                try:
                    one, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(one,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


@pytest.fixture
def proxy(echo):
    with Proxy(echo) as running:
        yield running


def connect(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=20.0)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def receive(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (more := client.recv(count - len(data))):
        data += more
    return data


def test_everything_passes_and_is_remembered(proxy):
    with connect(proxy.port) as client:
        client.sendall(b"hello")
        assert receive(client, 5) == b"hello"
    assert [(p.connection, p.to_venue, p.data) for p in proxy.pieces[:2]] == [
        (1, True, b"hello"),
        (1, False, b"hello"),
    ]


def test_garbage_comes_before_each_piece_for_the_client_and_never_for_the_venue(proxy):
    proxy.set(garbage="<html>")
    with connect(proxy.port) as client:
        for text in (b"one", b"two"):
            client.sendall(text)
            assert receive(client, 9) == b"<html>" + text
    assert [p.data for p in proxy.pieces if p.to_venue] == [b"one", b"two"]


def test_a_slow_close_is_told_later_and_only_then(proxy):
    proxy.set(slow_close_ms=300.0)
    with connect(proxy.port) as client:
        client.sendall(b"hello")
        assert receive(client, 5) == b"hello"
        begun = time.monotonic()
        client.sendall(b"bye")
        assert client.recv(1) == b""
        # Not sooner; how much later is the machine's affair.
        assert time.monotonic() - begun >= 0.3


def test_a_slow_close_does_not_hold_up_other_connections(proxy):
    proxy.set(slow_close_ms=60_000.0)
    with connect(proxy.port) as one, connect(proxy.port) as other:
        one.sendall(b"bye")
        other.sendall(b"hello")
        assert receive(other, 5) == b"hello"


def test_new_connections_are_refused_and_old_ones_stay(proxy):
    with connect(proxy.port) as old:
        old.sendall(b"a")
        assert receive(old, 1) == b"a"
        proxy.set(refuse=True)
        with connect(proxy.port) as client:
            assert gone(client)
        old.sendall(b"b")
        assert receive(old, 1) == b"b"


def gone(client: socket.socket) -> bool:
    """Whether the other side wants nothing of this connection."""
    try:
        client.sendall(b"x")
        return client.recv(1) == b""
    except ConnectionError:
        return True


@pytest.fixture
def setter(proxy):
    with connect(proxy.control_port) as client, client.makefile("rwb") as file:

        def tell(line: bytes) -> dict[str, object]:
            file.write(line + b"\n")
            file.flush()
            return dict(json.loads(file.readline()))

        yield tell


def test_another_process_sets_it_a_line_at_a_time(proxy, setter):
    assert setter(b'{"garbage":"?","latency_ms":1}') == {"ok": True}
    assert proxy.toxics == Toxics(garbage="?", latency_ms=1.0)
    with connect(proxy.port) as client:
        client.sendall(b"x")
        assert receive(client, 2) == b"?x"
    assert setter(b"{}") == {"ok": True}  # what isn't named is off
    assert proxy.toxics == Toxics()


@pytest.mark.parametrize(
    "line",
    [
        b"", b"nonsense", b"[]", b'{"latency":1}', b'{"latency_ms":"1"}', b'{"latency_ms":-1}',
        b'{"slice_bytes":1.5}', b'{"limit_bytes":1e300}', b'{"refuse":1}', b"\xff",
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused_and_changes_nothing(proxy, setter, line):
    assert setter(b'{"garbage":"?"}') == {"ok": True}
    said = setter(line)
    assert said["ok"] is False
    assert said["why"]
    assert proxy.toxics == Toxics(garbage="?")
    assert setter(b'{"garbage":"!"}') == {"ok": True}  # and the connection stands


def test_toxics_cannot_be_what_no_connection_can_have():
    with pytest.raises(ConfigError, match="latency_ms"):
        Toxics(latency_ms=-1.0)
