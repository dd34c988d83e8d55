"""Programs that tests start: logged to a file, killable at will, and certain to end when the test run ends.

A started program dies with the interpreter even if that is killed outright (PR_SET_PDEATHSIG), and an ordinary end of
the interpreter stops what is still running. The kernel ties that signal to the thread that started the program, so
programs are started from the main thread only.
"""

import atexit
import collections
import os
import signal
import socket
import subprocess
import threading
import time

_started = []
_reserved = collections.deque(maxlen=500)  # bounded: a descriptor each


class Timeout(AssertionError):
    """Something that should have happened did not; the message carries the end of the program's log."""


def wait_until(condition, timeout, what, process=None, interval=0.02):
    """Waits until condition() is true and returns what it returned. `process` must stay alive meanwhile."""
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if process is not None and process.returncode() is not None:
            raise Timeout(f"{process.name} ended with {process.returncode()} before {what}\n{process.log_tail()}")
        if time.monotonic() > deadline:
            tail = f"\n{process.log_tail()}" if process is not None else ""
            raise Timeout(f"not within {timeout} s: {what}{tail}")
        time.sleep(interval)


def free_port():
    """A TCP port of 127.0.0.1 that nobody listens on, and that stays ours: no other test is given it, nor is a client's
    outgoing connection, before its server starts or while that is down.

    It is bound, not listened on: the kernel gives it to nobody else, but lets a server have it that binds with
    SO_REUSEADDR, as all those here do. Without, two servers were given one port now and then, and the one that came
    second ended while the other answered for it.
    """
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # after bind: nobody shared it then
    _reserved.append(sock)
    return sock.getsockname()[1]


class Process:
    """One program with one log file, which restarts append to."""

    def __init__(self, name, log_path):
        self.name = name
        self.log_path = log_path
        self._popen = None
        self._paused = False

    def start(self, argv, env=None, cwd=None):
        assert threading.current_thread() is threading.main_thread(), "see the module's docstring"
        assert not self.running(), f"{self.name} is already running"
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log_path, "ab") as log:
            log.write(b"--- " + " ".join(map(str, argv)).encode() + b"\n")
            log.flush()
            self._popen = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *map(str, argv)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                env={**os.environ, "no_proxy": "127.0.0.1", **(env or {})}, cwd=cwd,
                start_new_session=True)  # Ctrl-C reaches pytest only, which then stops everything in order
        self._paused = False
        if self not in _started:
            _started.append(self)

    @property
    def pid(self):
        return self._popen.pid

    def running(self):
        return self._popen is not None and self._popen.poll() is None

    def returncode(self):
        """None while running; negative is the number of the signal that ended it."""
        return None if self._popen is None else self._popen.poll()

    def signal(self, number):
        self._popen.send_signal(number)

    def pause(self):
        self.signal(signal.SIGSTOP)
        self._paused = True

    def resume(self):
        self.signal(signal.SIGCONT)
        self._paused = False

    def wait(self, timeout):
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Timeout(f"{self.name} still runs after {timeout} s\n{self.log_tail()}") from None

    def kill(self):
        """kill -9, and wait until the kernel is done with it."""
        if self.running():
            self._popen.kill()
            self._popen.wait()

    def terminate(self, timeout):
        """SIGTERM; returns the exit code. A program that does not end in time is killed, and that is an error."""
        if not self.running():
            return self.returncode()
        if self._paused:
            self.resume()
        self.signal(signal.SIGTERM)
        try:
            return self.wait(timeout)
        except Timeout:
            self.kill()
            raise

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def log_tail(self, lines=40):
        tail = "\n".join(self.log().splitlines()[-lines:])
        return f"--- end of {self.log_path}\n{tail}\n---"


def log_tails(since):
    """[(name, end of its log)] of the programs that wrote something since then (wall clock, seconds)."""
    return [(process.name, process.log_tail()) for process in _started
            if process.log_path.exists() and process.log_path.stat().st_mtime >= since]


def stop_everything():
    """Ends what is still running, the last started first."""
    while _started:
        _started.pop().kill()


atexit.register(stop_everything)
