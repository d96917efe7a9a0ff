"""A network between a client and a server that a test can cut and restore."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Proxy:
    """Forwards bytes between its port on the loopback and a server, unless it is cut.

    `delay`: seconds by which each piece of up to 64 kB is delayed. `silent`: receive bytes without forwarding them.
    """

    delay = 0.0
    silent = False

    def __init__(self, server: tuple[str, int]) -> None:
        self._server = server
        self._open: set[socket.socket] = set()
        self._listener = self._listen(0)
        self.port = self._listener.getsockname()[1]

    def cut(self) -> None:
        """Break every connection, and stop listening on the port."""
        for connection in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._open.clear()

    def restore(self) -> None:
        """Listen on the port again."""
        self._listener = self._listen(self.port)

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(self._server)
                self._open |= {client, server}
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._forward, args=(source, target), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                time.sleep(self.delay)
                while self.silent:
                    time.sleep(0.05)
                target.sendall(data)
        for connection in (source, target):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxied(uri: str) -> Iterator[tuple[str, Proxy]]:
    """Run a proxy to this address; yield the proxy's address and the proxy."""
    host, _, port = uri.removeprefix("http://").rstrip("/").partition(":")
    proxy = Proxy((host, int(port)))
    try:
        yield f"http://127.0.0.1:{proxy.port}", proxy
    finally:
        proxy.cut()
