"""A model server that breaks in every way a network and a provider can, one way for each path.

A behaviour is a function of an Exchange, run in the connection's own thread; it writes bytes, waits, or cuts the connection. What it
was asked is counted by name: the first segment of the URL's path.
"""

import collections
import email.utils
import http.server
import json
import socket
import ssl
import struct
import subprocess
import threading
import time

from . import model

_RST = struct.pack("ii", 1, 0)


class Exchange:
    """One request and the connection that it came on."""

    def __init__(self, handler, name, number, request):
        self.name, self.number, self.request = name, number, request  # number: 1 for the first of this name
        self._handler = handler

    def wait(self, seconds):
        """Until then, or until the server stops; False when it stops or the client has gone."""
        return not self._handler.server.stopping.wait(seconds)

    def raw(self, data):
        try:
            self._handler.wfile.write(data)
            self._handler.wfile.flush()
            return True
        except OSError:
            return False  # the client had enough

    def head(self, status=200, length=None, **headers):
        lines = [f"HTTP/1.1 {status} Whatever", "content-type: application/json", "connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if length is not None:
            lines.append(f"content-length: {length}")
        return self.raw(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    def send(self, body, status=200, length=None, **headers):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        if self.head(status, len(body) if length is None else length, **headers):
            self.raw(body)

    def error(self, status, code="scripted", kind="scripted_error", **headers):
        self.send({"error": {"message": "scripted", "type": kind, "code": code, "param": None}}, status, **headers)

    def good(self):
        self.send(model.obedient(self.request))

    def reset(self):
        self._handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
        self._handler.connection.close()


def status(number, **kwargs):
    return lambda x: x.error(number, **kwargs)


def once(behave):
    """The first request goes wrong, the next ones do not."""
    return lambda x: behave(x) if x.number == 1 else x.good()


def says(content=None, **kwargs):
    """A well-formed completion of this; content may be a function of the request."""
    def behave(x):
        text = content(x.request) if callable(content) else content
        x.send(model.completion(text, **kwargs))
    return behave


def body(data, **kwargs):
    return lambda x: x.send(data, **kwargs)


def silent(x):
    x.wait(60)


def half_then(end):
    """All headers and half of a good body, then the end."""
    def behave(x):
        data = json.dumps(model.obedient(x.request)).encode()
        if x.head(length=len(data)) and x.raw(data[:len(data) // 2]):
            end(x)
    return behave


def dripping(x):
    """A good answer, one byte a second."""
    data = json.dumps(model.obedient(x.request)).encode()
    x.head(length=len(data))
    for i in range(len(data)):
        if not x.raw(data[i:i + 1]) or not x.wait(1):
            return


def huge(megabytes):
    def behave(x):
        x.head(length=megabytes << 20)
        for _ in range(megabytes):
            if not x.raw(b" " * (1 << 20)):
                return
    return behave


def http_date(seconds_from_now):
    return email.utils.formatdate(time.time() + seconds_from_now, usegmt=True)


class BrokenModel:
    """behaviours: {name: function(Exchange)}; the model's URL is url(name). rename(name, request): where one URL serves several."""

    def __init__(self, behaviours, certificate=None, rename=lambda name, request: name):
        self.calls = collections.Counter()
        self.connections = 0
        lock = threading.Lock()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *args):
                pass

            def setup(self):
                with lock:
                    outer.connections += 1
                if certificate is not None:
                    self.request.settimeout(10)
                    self.request = certificate.wrap_socket(self.request, server_side=True)
                super().setup()

            def do_GET(self):  # a followed redirect would come as one
                self._answer(None)

            def do_POST(self):
                self._answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))

            def _answer(self, request):
                name = rename(self.path.split("/")[1], request)
                with lock:
                    outer.calls[name] += 1
                    number = outer.calls[name]
                self.close_connection = True
                behaviours[name](Exchange(self, name, number, request))

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 1024
            stopping = threading.Event()

            def handle_error(self, request, client_address):
                pass  # the client cutting the connection is what some rows are about

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.stopping = threading.Event()
        self._scheme = "http" if certificate is None else "https"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def url(self, name):
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}/{name}/v1"

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._server.stopping.set()
        self._server.shutdown()
        self._server.server_close()


def self_signed(directory):
    """A server's TLS context that nobody has a reason to trust."""
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
                   check=True, capture_output=True, timeout=30)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
