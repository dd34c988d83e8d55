"""All shipped policies at work together: copies on topics of their own, their samples' context in Redis, one worker."""

import json
import re
import shlex
import shutil

from . import deciding, libconfig, paths, records
from .producer import unique_id
from .reader import Reader
from .worker import settings


def sample(policy):
    """The policy's sample event; else the event of its first case that a model decides."""
    file = policy.with_suffix(".event.json")
    return json.loads(file.read_text()) if file.exists() else deciding.decided_by_a_model(policy).body["event"]


class Shipped:
    """conf: {file: the policy as support.libconfig reads it}. counts: how many events were sent to each topic, by its shipped name."""

    def __init__(self, broker, redis, directory, prefix):
        self.broker, self.redis, self.directory = broker, redis, directory
        self.prefix = unique_id(prefix)
        self.conf = {path: libconfig.loads(path.read_text()) for path in deciding.policies()}
        self.topics = sorted({topic for conf in self.conf.values() for topic in conf["input"]["topics"]})
        self.counts = dict.fromkeys(self.topics, 0)
        domains = {conf["policy"]["id"].partition(".")[0] for conf in self.conf.values()}
        self.outputs = {name: f"{self.prefix}.out.{name}" for name in (*domains, "review", "shadow", "audit", "dead")}

    def source(self, topic):
        return f"{self.prefix}.{topic}"

    def install(self, deadline_ms, tooled=()):
        """Policies, topics, context. tooled: names of the policies that get the tool of deciding.with_a_tool()."""
        shutil.copytree(paths.SCHEMAS, self.directory / "schemas")
        for path in self.conf:
            copy = self.directory / path.relative_to(paths.ROOT)
            if path.stem in tooled:
                deciding.with_a_tool(self.directory, path)
            else:
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, copy)
                if path.with_suffix(".prompt.md").exists():
                    shutil.copy(path.with_suffix(".prompt.md"), copy.parent)
            text = re.sub(r"deadline_ms = \d+", f"deadline_ms = {deadline_ms}", copy.read_text())
            for topic in self.topics:
                text = text.replace(f'"{topic}"', f'"{self.source(topic)}"')
            copy.write_text(text)
            loader = path.with_suffix(".context.redis")
            for line in loader.read_text().splitlines() if loader.exists() else []:
                self.redis.client().execute_command(*shlex.split(line))
        self.broker.create_topics([self.source(topic) for topic in self.topics])
        self.broker.create_topics(list(self.outputs.values()))

    def our_words(self):
        """Every string that stands in the context or, quoted, in a policy: what CEL may choose from beside the event's own."""
        words = set()
        for path in self.conf:
            loader = path.with_suffix(".context.redis")
            for word in shlex.split(loader.read_text()) if loader.exists() else []:
                words |= {word, *re.findall(r'[^"\\{}\[\],:]+', word)}
            words |= set(re.findall(r"'([^']*)'", path.read_text()))
        return words

    def settings(self, url, **changes):
        output = {"prefix": f"{self.prefix}.out", "review": self.outputs["review"], "shadow": self.outputs["shadow"],
                  "audit": self.outputs["audit"], "dead_letter": self.outputs["dead"]}
        return settings(self.broker.bootstrap, self.redis.address, url, [{"name": self.source(topic), "format": "json"} for topic in self.topics],
                        policies=self.directory / "policies", group=self.prefix, output=output, **changes)

    def send(self, producer, topic, event, **kwargs):
        """Returns where the event will stand; producer.flush() is the caller's."""
        producer.send(self.source(topic), event, **kwargs)
        self.counts[topic] += 1
        return self.source(topic), 0, self.counts[topic] - 1

    def finished(self):
        return all(self.broker.committed(self.prefix, self.source(topic))[0] == count for topic, count in self.counts.items() if count)

    def read(self):
        """Every record of the output topics."""
        with Reader(self.broker.bootstrap, list(self.outputs.values())) as reader:
            return list(reader.drain())

    def decisions(self, found):
        """[(value, parsed policy)] of every decision, review and shadow record, each checked against its schema."""
        by_id = {conf["policy"]["id"]: conf for conf in self.conf.values()}
        values = [records.check_decision(record) for record in found if not record.topic.endswith((".audit", ".dead"))]
        return [(value, by_id[value["policy_id"]]) for value in values]

    @staticmethod
    def dead_letters(found):
        """Where the events stand that were given up."""
        return [records.dead_letter_position(records.check_dead_letter(record)) for record in found if record.topic.endswith(".dead")]
