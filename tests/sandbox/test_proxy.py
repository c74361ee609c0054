"""The fault proxy: each toxic on real sockets, and its control port."""

import json
import socket
import subprocess
import sys
import threading

import pytest

from regimeflow.errors import ConfigError
from regimeflow.sandbox.proxy import Proxy, Toxic


@pytest.fixture
def echo():
    """Return the port of a server that sends back what it gets."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads = []

    def serve(one):
        with one:
            try:
                while data := one.recv(4096):
                    one.sendall(data)
            except OSError:
                pass

    def accept():
        while True:
            try:
                one, _ = listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=serve, args=(one,))
            thread.start()
            threads.append(thread)

    accepting = threading.Thread(target=accept)
    accepting.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    accepting.join()
    for thread in threads:
        thread.join(5.0)


@pytest.fixture
def proxy(echo):
    with Proxy(("127.0.0.1", echo), seed=1) as made:
        yield made


@pytest.fixture
def client(proxy):
    with socket.create_connection(("127.0.0.1", proxy.port), 5.0) as one:
        yield one


def receive(one, size):
    data = b""
    while len(data) < size:
        piece = one.recv(size - len(data))
        if not piece:
            break
        data += piece
    return data


def test_without_toxics_all_bytes_pass_and_are_written_down(proxy, client):
    client.sendall(b"hello")
    assert receive(client, 5) == b"hello"
    assert [(entry.way, entry.data) for entry in proxy.record] == [
        ("up", b"hello"),
        ("down", b"hello"),
    ]


def test_slices_come_whole(proxy, client):
    proxy.add("slicer", way="down", size=2)
    client.sendall(b"abcdefgh")
    assert receive(client, 8) == b"abcdefgh"


def test_a_black_hole_swallows_until_it_is_gone(proxy, client):
    proxy.add("black_hole", way="down")
    client.sendall(b"lost")
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.recv(10)
    proxy.clear()
    client.settimeout(5.0)
    client.sendall(b"here")
    assert receive(client, 4) == b"here"


def test_a_reset_is_a_reset(proxy, client):
    proxy.add("reset_peer", way="up")
    client.sendall(b"x")
    with pytest.raises(ConnectionResetError):
        client.recv(10)


def test_after_so_many_bytes_it_ends(proxy, client):
    proxy.add("limit_data", way="down", size=3)
    client.sendall(b"abcdef")
    got = b""
    try:
        while piece := client.recv(10):
            got += piece
    except ConnectionResetError:
        pass
    assert got in (b"", b"abc")  # a reset may overtake what was sent


def test_garbage_changes_bytes_and_latency_does_not(proxy, client):
    proxy.add("latency", ms=1.0)
    client.sendall(b"a" * 100)
    assert receive(client, 100) == b"a" * 100
    proxy.add("garbage", way="down")
    client.sendall(b"a" * 100)
    assert receive(client, 100).count(b"a") == 99


def test_every_connection_can_be_cut(proxy, client):
    client.sendall(b"a")
    receive(client, 1)
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        client.recv(10)


def test_a_venue_that_is_not_there_is_a_reset():
    def ask(port):  # the reset may be faster than the connection
        with socket.create_connection(("127.0.0.1", port), 5.0) as one:
            one.recv(1)

    with Proxy(("127.0.0.1", 1)) as proxy, pytest.raises(ConnectionResetError):
        ask(proxy.port)


@pytest.mark.parametrize("options", [{"name": "latncy"}, {"name": "slicer", "size": 0}])
def test_a_toxic_that_makes_no_sense(options):
    with pytest.raises(ConfigError):
        Toxic(**options)


def test_a_process_is_steered_through_its_control_port(echo, tmp_path):
    command = [sys.executable, "-m", "regimeflow.sandbox.proxy", "--to", f"127.0.0.1:{echo}"]
    with subprocess.Popen(
        [*command, "--ledger", str(tmp_path / "bytes.jsonl")], stdout=subprocess.PIPE, text=True
    ) as process:
        port, control = map(int, process.stdout.readline().split())
        with socket.create_connection(("127.0.0.1", control), 5.0) as steer:
            lines = steer.makefile("rw")

            def do(**order):
                print(json.dumps(order), file=lines, flush=True)
                return json.loads(lines.readline())

            assert do(do="add", toxic={"name": "reset_peer"})["toxics"] == ["reset_peer"]
            with socket.create_connection(("127.0.0.1", port), 5.0) as one:
                one.sendall(b"x")
                with pytest.raises(ConnectionResetError):
                    one.recv(1)
            assert do(do="clear")["toxics"] == []
            assert "error" in do(do="nonsense")
            assert "error" in do(do="add", toxic={"name": "nonsense"})
            assert do(do="status")["bytes"] == 1
            lines.close()
        process.terminate()
        assert process.wait(10) == 0
    assert b'"way":"up"' in (tmp_path / "bytes.jsonl").read_bytes()
