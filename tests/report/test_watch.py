"""The local server: clients that send nothing, or a byte at a time, do not keep others from the page."""

import http.client
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from steadygan.report import watch


@pytest.fixture
def port(monkeypatch) -> Iterator[int]:
    """A server for two clients at once, of a tenth of a second each."""
    monkeypatch.setattr(watch, "CLIENTS", 2)
    monkeypatch.setattr(watch, "SECONDS", 0.1)
    with watch.server(watch.Watch([], every=1), 0) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running.server_port
        running.shutdown()
        thread.join()


def client(port: int) -> socket.socket:
    return socket.create_connection((watch.HOST, port), timeout=60)


def ended(connection: socket.socket) -> bool:
    """Whether the server ends a connection without an answer. A server that waits ends the test after 60 s."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def answered(port: int) -> int:
    connection = http.client.HTTPConnection(watch.HOST, port, timeout=60)
    connection.request("GET", "/version")
    return connection.getresponse().status


def test_a_client_that_sends_a_byte_at_a_time_is_hung_up(port):
    """A limit on the time between two bytes would wait for this one."""
    with client(port) as slow:
        for sent in b"GET /version HTTP/1.0\r\nX-Slow: " + b"a" * 600:
            try:
                slow.send(bytes([sent]))
            except ConnectionError:
                break
            time.sleep(0.01)
        else:
            pytest.fail("the server waits for a client that never ends its request")


def test_clients_beyond_the_most_are_turned_away_and_room_comes_again(port, monkeypatch):
    monkeypatch.setattr(watch, "SECONDS", 3600)
    with client(port) as one, client(port) as two:
        one.send(b"GET /")
        two.send(b"GET /")
        with client(port) as third:
            assert ended(third)
    for _ in range(600):
        try:
            assert answered(port) == 200
            return
        except (ConnectionError, http.client.HTTPException):  # the threads of the first two have not ended
            time.sleep(0.1)
    pytest.fail("clients that have left are counted for ever")
