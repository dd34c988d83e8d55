"""A TCP proxy between the workers and the broker, that can be cut, slowed, or made to swallow answers."""

import asyncio
import threading


class Proxy:
    """Runs in a thread of its own. Every switch is safe to use from outside."""

    def __init__(self, port, target_port):
        self.port, self.target_port = port, target_port
        self.delay_s = 0.0
        self.swallow_answers = False
        self._refuse = False
        self._writers = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()
        assert self._ready.wait(10), "the proxy does not listen"

    def _run(self):
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", self.port))
        self._ready.set()
        self._loop.run_forever()

    async def _serve(self, reader, writer):
        if self._refuse:
            writer.close()
            return
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            writer.close()
            return
        pair = {writer, up_writer}
        self._writers |= pair
        try:
            await asyncio.wait([asyncio.ensure_future(self._pump(reader, up_writer, False)),
                                asyncio.ensure_future(self._pump(up_reader, writer, True))],
                               return_when=asyncio.FIRST_COMPLETED)
        finally:
            for w in pair:
                w.close()
            self._writers -= pair

    async def _pump(self, reader, writer, answers):
        try:
            while data := await reader.read(65536):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if answers and self.swallow_answers:
                    continue
                writer.write(data)
                await writer.drain()
        except (OSError, asyncio.CancelledError):
            pass

    def cut(self):
        """Every connection ends, and none is accepted until mend()."""
        def now():
            self._refuse = True
            for w in list(self._writers):
                w.close()
        self._loop.call_soon_threadsafe(now)

    def mend(self):
        self._refuse = False
        self.swallow_answers = False
        self.delay_s = 0.0

    def drop_connections(self):
        def now():
            for w in list(self._writers):
                w.close()
        self._loop.call_soon_threadsafe(now)
