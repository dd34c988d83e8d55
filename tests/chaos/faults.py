"""What goes wrong. Each fault is a method: it does the damage, waits, and repairs it."""

import time

from chaos import world

OF_WORKERS = ("kill_worker",) * 4 + ("kill_all_workers", "kill_on_slow_network", "kill_before_the_answer", "zombie", "slow_zombie",
                                     "short_pause", "rolling_restart", "leave_and_join")
OF_BROKER = ("broker_restart", "broker_kill", "network_cut", "lost_answers", "lost_answers", "slow_network")


class Faults:
    def __init__(self, cluster, pool, rng):
        self.cluster, self.pool, self.rng = cluster, pool, rng

    def _slot(self):
        slot = self.rng.choice(self.pool.slots)
        self.pool.ensure(slot)
        return slot

    def _wait(self, least, most):
        time.sleep(self.rng.uniform(least, most))

    # -- workers -------------------------------------------------------------------------------------------------------

    def kill_worker(self):
        slot = self._slot()
        slot.kill()
        self._wait(0, 2)
        self.pool.ensure(slot)

    def kill_all_workers(self):
        self.pool.kill_all()
        self._wait(0, 1)
        self.pool.start_all()

    def zombie(self):
        """It wakes up after its partitions were given away."""
        slot = self._slot()
        slot.process.pause()
        time.sleep(world.SESSION_MS / 1000)
        self._wait(0.5, 4)
        slot.process.resume()

    def short_pause(self):
        slot = self._slot()
        slot.process.pause()
        self._wait(0.5, 4)
        slot.process.resume()

    def slow_zombie(self):
        """It sleeps in the middle of a commit, and wakes up into one."""
        slot = self._slot()
        self.cluster.proxy.delay_s = 0.8
        self._wait(3, 7)
        slot.process.pause()
        self.cluster.proxy.mend()
        time.sleep(world.SESSION_MS / 1000 + 4)
        self.cluster.proxy.delay_s = 0.8
        slot.process.resume()
        time.sleep(6)
        self.cluster.proxy.mend()

    def rolling_restart(self):
        for slot in self.pool.slots:
            self.pool.stop(slot)
            self.pool.begin(slot)
            self._wait(0, 1)

    def leave_and_join(self):
        slot = self._slot()
        self.pool.stop(slot)
        self._wait(1, 5)
        self.pool.begin(slot)

    def kill_on_slow_network(self):
        """The slower the network, the more likely it hits between two steps of a commit."""
        self.cluster.proxy.delay_s = self.rng.uniform(0.05, 0.3)
        self._wait(1, 3)
        self.pool.kill_all()
        self.cluster.proxy.mend()
        self.pool.start_all()

    def kill_before_the_answer(self):
        """Requests arrive, a commit among them; nobody who could hear the answer lives."""
        self.cluster.proxy.swallow_answers = True
        self._wait(0.1, 0.6)
        self.pool.kill_all()
        self.cluster.proxy.mend()
        self.pool.start_all()

    # -- broker and network --------------------------------------------------------------------------------------------

    def broker_restart(self):
        self.cluster.broker.restart(clean=True)

    def broker_kill(self):
        self.cluster.broker.restart(clean=False)

    def network_cut(self):
        self.cluster.proxy.cut()
        self._wait(0.5, 8)
        self.cluster.proxy.mend()

    def lost_answers(self):
        """Requests arrive, their answers do not: also commits."""
        self.cluster.proxy.swallow_answers = True
        self._wait(0.2, 1.5)
        self.cluster.proxy.drop_connections()
        self.cluster.proxy.mend()

    def slow_network(self):
        """Commits are slow."""
        self.cluster.proxy.delay_s = self.rng.uniform(0.05, 0.4)
        self._wait(2, 6)
        self.cluster.proxy.mend()

    # -- Redis and the model -------------------------------------------------------------------------------------------

    def redis_away(self):
        self.pool.redis.kill()
        self._wait(1, 8)
        self.pool.redis.start()
        self.pool.seed_redis()

    def redis_restarted_empty(self):
        self.pool.redis.restart(empty=True)

    def redis_paused(self):
        self.pool.redis.pause()
        self._wait(1, 8)
        self.pool.redis.resume()

    def model_outage(self):
        self.pool.model.kill()
        self._wait(1, 8)
        self.pool.model.start()
        self.pool.calm()

    def _misbehave(self, **behaviour):
        self.pool.model.control(**behaviour)
        self._wait(3, 9)
        self.pool.calm()

    def model_brown_out(self):
        """It answers, most of the time, much too late."""
        self._misbehave(latency="uniform:1500:9000", errors={"500": 0.2, "hang": 0.05, "reset": 0.05})

    def model_flood_of_429(self):
        self._misbehave(errors={"429": 0.95}, retry_after=1)
