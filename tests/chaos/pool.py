"""The workers of a run, whichever program they are. A slot keeps its name and its transactional id over all its lives."""

import collections

# A drain, a kill, and giving way to another worker with the same transactional id (EX_TEMPFAIL).
HONEST_EXITS = (0, -9, 75)


class Pool:
    """Subclasses set slots (with a .process, kill() and stop()) and outputs, and say how one begins and what came out."""

    outputs = ()
    own_faults = ()

    def __init__(self):
        self.slots = []
        self.exits = collections.Counter()

    def begin(self, slot):
        slot.start()

    def ensure(self, slot):
        if not slot.process.running():
            self._note(slot.process.returncode())
            self.begin(slot)

    def _note(self, code):
        if code not in (None, 0, -9):
            self.exits[code] += 1

    def start_all(self):
        for slot in self.slots:
            self.ensure(slot)

    def stop(self, slot):
        if slot.process.running():
            slot.stop(40)
            self.exits[slot.process.returncode()] += 1

    def stop_all(self):
        for slot in self.slots:
            self.stop(slot)

    def kill_all(self):
        for slot in self.slots:
            slot.kill()

    def crashed(self):
        return [code for code in self.exits if code not in HONEST_EXITS]

    def read(self, msg):
        """An Outcome, or None."""
        raise NotImplementedError

    def expect(self, value):
        """{policy: kind} that an input with this value must lead to."""
        raise NotImplementedError

    def audit_mismatch(self, outcomes):
        return []

    def counts(self):
        """Rows about the workers that run now."""
        return []

    def end(self):
        self.kill_all()
