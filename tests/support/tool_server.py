"""An HTTP server for tools to read from, in this process: answers by path, notes who asked, and how many connected."""

import dataclasses
import http.server
import json
import socket
import ssl
import subprocess
import threading
import time


@dataclasses.dataclass
class Got:
    path: str
    headers: dict


@dataclasses.dataclass
class Answer:
    body: object = b""          # bytes as they are, anything else as JSON
    status: int = 200
    type: str = "application/json"
    headers: dict = dataclasses.field(default_factory=dict)
    delay_s: float = 0.0
    length: int = None          # announced, in place of the true one


def certificate(directory, names=("DNS:localhost", "IP:127.0.0.1", "DNS:tools.test", "DNS:*.localhost", "IP:::1")):
    """A CA of one certificate: (path for ca_file, the server's context)."""
    key, cert = directory / "tools-key.pem", directory / "tools-ca.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "2", "-subj", "/CN=tools", "-addext", "subjectAltName=" + ",".join(names),
                    "-keyout", key, "-out", cert], check=True, capture_output=True, timeout=30)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return cert, context


class ToolServer:
    """answer: a function of the path that returns an Answer, or anything that becomes the JSON of one."""

    def __init__(self, answer, context=None, host="127.0.0.1", family=socket.AF_INET, keep_alive=True):
        self.answer = answer
        self.got = []
        self.connections = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1" if keep_alive else "HTTP/1.0"

            def log_message(self, *args):
                pass

            def do_GET(self):
                outer.got.append(Got(self.path, {k.lower(): v for k, v in self.headers.items()}))
                answer = outer.answer(self.path)
                answer = answer if isinstance(answer, Answer) else Answer(answer)
                body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
                time.sleep(answer.delay_s)
                try:
                    self.send_response(answer.status)
                    self.send_header("content-type", answer.type)
                    for name, value in answer.headers.items():
                        self.send_header(name, value)
                    self.send_header("content-length", str(len(body) if answer.length is None else answer.length))
                    self.end_headers()
                    self.wfile.write(body)
                except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
                    self.close_connection = True

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            address_family = family

            def get_request(self):
                connection, address = super().get_request()
                outer.connections += 1
                return connection, address

            def handle_error(self, request, client_address):
                pass  # what the client refuses is what some tests are about

        self._server = Server((host, 0), Handler)
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True,
                                                      do_handshake_on_connect=False)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._server.shutdown()
        self._server.server_close()
