"""TLS before a server of plain HTTP: HAProxy with a certificate of a CA made for the run.

It passes bytes on and knows nothing of HTTP, so connections of one side are connections of the other. It offers HTTP/1.1 only.
"""

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess

from .processes import Process, free_port, wait_until

SYSTEM_CAS = pathlib.Path("/etc/ssl/certs/ca-certificates.crt")
# Each connection is two files here; 20,000 open files, which some containers have as their limit, are enough.
MAX_CONNECTIONS = 8000
CONF = """
global
    maxconn {max_connections}
defaults
    mode tcp
    maxconn {max_connections}
    timeout connect 60s
    timeout client 300s
    timeout server 300s
frontend tls
    bind 127.0.0.1:{port} ssl crt {certificate} alpn http/1.1
    default_backend plain
backend plain
    server behind 127.0.0.1:{behind}
"""


class FrontUnavailable(Exception):
    """There is no HAProxy on this machine."""


class TlsFront:
    """https://127.0.0.1:port, before 127.0.0.1:behind. ca_file is what a client has to trust."""

    def __init__(self, directory, behind):
        # Debian has it where only root looks.
        self._program = shutil.which("haproxy", path=os.environ.get("PATH", "") + ":/usr/sbin")
        if self._program is None:
            raise FrontUnavailable("haproxy is not installed; run tests/support/install.sh bench")
        self.directory = pathlib.Path(directory)
        self.behind = behind
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}/v1"
        self.ca_file = self.directory / "trusted.pem"
        self.process = Process("tls-front", self.directory / "haproxy.log")

    def _make_certificates(self):
        """A CA, and what it signed: key and certificate in one file, as HAProxy wants them."""
        def openssl(name, *options):
            key, certificate = self.directory / f"{name}.key", self.directory / f"{name}.pem"
            # P-256, as the providers have; the machine's own openssl.cnf would add to what is asked for.
            subprocess.run(["openssl", "req", "-x509", "-config", "/dev/null", "-newkey", "ec", "-pkeyopt",
                            "ec_paramgen_curve:P-256", "-nodes", "-days", "2", *options, "-keyout", key, "-out", certificate],
                           check=True, capture_output=True)
            return key, certificate

        ca_key, ca = openssl("ca", "-subj", "/CN=bench CA", "-addext", "basicConstraints=critical,CA:TRUE")
        key, certificate = openssl("server", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
                                   "-addext", "basicConstraints=critical,CA:FALSE", "-CA", ca, "-CAkey", ca_key)
        (self.directory / "front.pem").write_text(key.read_text() + certificate.read_text())
        # A client of a real provider loads the system's CAs, and they take memory: this one has them too.
        self.ca_file.write_text(ca.read_text() + (SYSTEM_CAS.read_text() if SYSTEM_CAS.exists() else ""))

    def start(self):
        self.directory.mkdir(parents=True, exist_ok=True)
        self._make_certificates()
        conf = self.directory / "haproxy.cfg"
        conf.write_text(CONF.format(max_connections=MAX_CONNECTIONS, port=self.port, behind=self.behind,
                                    certificate=self.directory / "front.pem"))
        self.process.start([self._program, "-db", "-f", conf])

        def listening():
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return True
            return False

        wait_until(listening, 20, "the TLS front listens", self.process)
        return self

    def stop(self):
        return self.process.terminate(10)

    def kill(self):
        self.process.kill()
