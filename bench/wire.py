"""The two ends that the broker's cost is measured between: a server, and a client that also runs in a container.

``wire.py serve`` prints its port; each request's body says how many bytes it is answered with.
``wire.py ask PORT PATH SIZE ROUNDS [HOST:PORT]`` prints the seconds of each request, asked through a proxy or not.
Standard library alone, and no more of HTTP than both ends need.
"""

from __future__ import annotations

import socket
import sys
import threading
import time


def serve() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_answer, args=(connection,), daemon=True).start()


def _answer(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    piece = bytes(1 << 20)
    requests = connection.makefile("rb")
    while requests.readline():
        length = 0
        while (field := requests.readline()) != b"\r\n":
            if field.lower().startswith(b"content-length:"):
                length = int(field.split(b":")[1])
        left = int(requests.read(length))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % left)
        while left:
            left -= connection.send(piece[:left])


def ask(port: int, path: str, size: int, rounds: int, proxied: str = "") -> None:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if proxied:
        connection.sendall(f"CONNECT {proxied} HTTP/1.1\r\n\r\n".encode())
        _head(connection)
    body = b"%d" % size
    request = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (path.encode(), len(body), body)
    room = bytearray(1 << 18)
    for _ in range(rounds):
        began = time.perf_counter()
        connection.sendall(request)
        fields, rest = _head(connection)
        got, end = len(rest), rest[-5:]
        while got < size or (b"chunked" in fields and end != b"0\r\n\r\n"):
            count = connection.recv_into(room)
            assert count, "the answer was cut"
            got, end = got + count, (end + room[max(0, count - 5) : count])[-5:]
        sys.stdout.write(f"{time.perf_counter() - began}\n")


def _head(connection: socket.socket) -> tuple[bytes, bytes]:
    held = b""
    while b"\r\n\r\n" not in held:
        piece = connection.recv(65536)
        assert piece, held
        held += piece
    head, _, rest = held.partition(b"\r\n\r\n")
    assert b" 200 " in head, head
    return head.lower(), rest


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    else:
        ask(int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]), *sys.argv[6:])
