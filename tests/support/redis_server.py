"""A redis-server of the tests' own: empty, on a socket and a port that nobody else has, never evicting."""

import contextlib
import pathlib
import shutil

import redis

from .processes import Process, free_port, wait_until

SOCKET_PATH_MAX = 107  # sun_path, less its NUL
START_TIMEOUT_S = 20


class RedisUnavailable(Exception):
    """There is no redis-server on this machine."""


class RedisServer:
    """Keeps nothing on disk, unless persist=True: then a restart finds what was written (append only file)."""

    def __init__(self, directory, persist=False):
        if shutil.which("redis-server") is None:
            raise RedisUnavailable("redis-server is not installed; run tests/support/install.sh test")
        self.directory = pathlib.Path(directory)
        self.persist = persist
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.socket = self.directory / "redis.sock"
        if len(str(self.socket)) > SOCKET_PATH_MAX:
            self.socket = None
        self.process = Process("redis", self.directory / "redis.log")

    def start(self):
        self.directory.mkdir(parents=True, exist_ok=True)
        argv = ["redis-server", "--bind", "127.0.0.1", "--port", self.port, "--dir", self.directory,
                "--save", "", "--appendonly", "yes" if self.persist else "no", "--appendfsync", "always",
                "--maxmemory-policy", "noeviction", "--loglevel", "notice", "--daemonize", "no"]
        if self.socket is not None:
            argv += ["--unixsocket", self.socket]
        self.process.start(argv)

        def answering():
            with contextlib.suppress(redis.RedisError):
                return self.client().ping()
            return False

        wait_until(answering, START_TIMEOUT_S, "Redis answers", self.process)
        return self

    def stop(self):
        self.process.terminate(10)

    def kill(self):
        self.process.kill()

    def pause(self):
        """Alive and silent: connections stay open, nothing is answered."""
        self.process.pause()

    def resume(self):
        self.process.resume()

    def restart(self, empty=True):
        """kill -9 and start again; empty drops what persist=True has kept."""
        self.kill()
        if empty:
            shutil.rmtree(self.directory / "appendonlydir", ignore_errors=True)
        return self.start()

    def client(self):
        """A connection of the tests' own. Text in, text out."""
        return redis.Redis(port=self.port, decode_responses=True, socket_timeout=5)
