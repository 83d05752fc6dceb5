"""An unmodified Kafka client (librdkafka) under the command of a fault run.

Commands come on standard input, answers go to standard output, one JSON object a line; both have the `id` of the command.

    producer BOOTSTRAP DELIVERY_MS           idempotent, acks=all; sends are answered as they are delivered, in any order
      {"id": 1, "do": "send", "topic": "t", "partition": 0, "value": "…"} → {"id": 1, "offset": 7} or {"id": 1, "error": "…"}
    member BOOTSTRAP GROUP STRATEGY TOPIC…   a member of a consumer group that commits when it is told to; one command at a time
      {"id": 2, "do": "poll", "records": 500, "wait_ms": 200}
        → {"id": 2, "records": [["t", 0, 7, "…"], …], "events": […], "errors": […]}
      {"id": 3, "do": "commit", "offsets": [["t", 0, 8]]} → {"id": 3, "committed": true} or {"id": 3, "error": "…"}
      {"id": 4, "do": "committed", "partitions": [["t", 0]]} → {"id": 4, "offsets": [["t", 0, 8]]} or {"id": 4, "error": "…"}

A poll ends early at a rebalance, so that its `events` come after its records: `{"lost": [["t", 0]]}` or `{"given":
[["t", 0]], "all": […], "generation": 3, "member": "…"}`. The end of the input ends the client.
"""

import json
import queue
import struct
import sys
import threading
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

# What the broker says of commits that it surely did not take.
NOT_COMMITTED = {
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError.REBALANCE_IN_PROGRESS,
}


def answer(number, **fields):
    sys.stdout.write(json.dumps({"id": number, **fields}) + "\n")
    sys.stdout.flush()


def commands():
    """Commands as they come, from a thread of its own; `None` at the end."""
    waiting = queue.Queue()

    def read():
        for line in sys.stdin:
            waiting.put(json.loads(line))
        waiting.put(None)

    threading.Thread(target=read, daemon=True).start()
    return waiting


def log(error):
    print(f"client: {error}", file=sys.stderr, flush=True)


def produce(bootstrap, delivery_ms):
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": 2,
            "delivery.timeout.ms": int(delivery_ms),
            "error_cb": log,
        }
    )
    waiting = commands()
    while True:
        try:
            command = waiting.get(timeout=0.002)
        except queue.Empty:
            producer.poll(0)
            continue
        if command is None:
            return
        number = command["id"]

        def delivered(error, message, number=number):
            if error is None:
                answer(number, offset=message.offset())
            else:
                answer(number, error=error.name())

        try:
            producer.produce(
                command["topic"], command["value"].encode(), partition=command["partition"], on_delivery=delivered
            )
        except (BufferError, KafkaException) as error:
            answer(number, error="LOCAL", detail=str(error), not_sent=True)
        producer.poll(0)


def pairs(partitions):
    return [[each.topic, each.partition] for each in partitions]


class Member:
    def __init__(self, bootstrap, group, strategy, topics):
        self.events = []
        self.held = None
        self.consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": group,
                "partition.assignment.strategy": strategy,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "session.timeout.ms": 6000,
                "heartbeat.interval.ms": 500,
                "error_cb": log,
            }
        )
        self.consumer.subscribe(topics, on_assign=self.given, on_revoke=self.revoked, on_lost=self.revoked)

    def given(self, consumer, partitions):
        # b"CGMDv2:", generation, group id, 0, member id, 0, …
        metadata = consumer.consumer_group_metadata()
        (generation,) = struct.unpack_from("<i", metadata, 7)
        member = metadata[11:].split(b"\0")[1].decode()
        self.events.append({"given": pairs(partitions), "generation": generation, "member": member})

    def revoked(self, consumer, partitions):
        self.events.append({"lost": pairs(partitions)})

    def poll(self, records_max, wait_ms):
        records, errors, deadline = [], [], time.monotonic() + wait_ms / 1000
        while len(records) < records_max and not self.events:
            message, self.held = self.held, None
            if message is None:
                message = self.consumer.poll(max(0.0, deadline - time.monotonic()))
            if message is None:
                break
            if self.events:
                # It belongs to what was given just now.
                self.held = message
                break
            if message.error():
                errors.append(message.error().name())
                break
            records.append([message.topic(), message.partition(), message.offset(), message.value().decode("utf-8", "replace")])
        events, self.events = self.events, []
        if any("lost" in event for event in events):
            self.drop_held_if_lost(events)
        return {"records": records, "events": events, "errors": errors}

    def drop_held_if_lost(self, events):
        held = self.held
        if held is not None and not held.error():
            here = [held.topic(), held.partition()]
            last = [("given" in event) for event in events if here in event.get("given", event.get("lost", []))]
            if last and not last[-1]:
                self.held = None

    def commit(self, offsets):
        wanted = [TopicPartition(*each) for each in offsets]
        try:
            for each in self.consumer.commit(offsets=wanted, asynchronous=False):
                if each.error is not None:
                    return {"error": each.error.name(), "not_committed": each.error.code() in NOT_COMMITTED}
            return {"committed": True}
        except KafkaException as raised:
            error = raised.args[0]
            return {"error": error.name(), "not_committed": error.code() in NOT_COMMITTED}

    def committed(self, partitions):
        try:
            found = self.consumer.committed([TopicPartition(*each) for each in partitions], timeout=5)
            bad = [each.error.name() for each in found if each.error is not None]
            if bad:
                return {"error": bad[0]}
            return {"offsets": [[each.topic, each.partition, each.offset] for each in found if each.offset >= 0]}
        except KafkaException as raised:
            return {"error": raised.args[0].name()}


def member(bootstrap, group, strategy, *topics):
    client = Member(bootstrap, group, strategy, list(topics))
    waiting = commands()
    while (command := waiting.get()) is not None:
        if command["do"] == "poll":
            told = client.poll(command["records"], command["wait_ms"])
        elif command["do"] == "commit":
            told = client.commit(command["offsets"])
        else:
            told = client.committed(command["partitions"])
        answer(command["id"], **told)
    client.consumer.close()


if __name__ == "__main__":
    {"producer": produce, "member": member}[sys.argv[1]](*sys.argv[2:])
