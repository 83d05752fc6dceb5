"""confluent-kafka, that is librdkafka as it is today: producers, groups of every kind, its admin client, and a killed node."""

import threading
import time

import confluent_kafka
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, Producer, TopicCollection, TopicPartition
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic, OffsetSpec, ResourceType
from harness import check, eq, eventually, main, raises, test


def admin(t):
    return AdminClient({"bootstrap.servers": t.bootstrap})


def create(t, what, partitions=1, **configs):
    name = t.name(what)
    client = admin(t)
    client.create_topics([NewTopic(name, partitions, t.replicas, config=configs)])[name].result(20)

    def led():
        topic = client.list_topics(name, timeout=10).topics[name]
        return topic.error is None and len(topic.partitions) == partitions and all(p.leader >= 0 for p in topic.partitions.values())

    eventually(led, f"leaders of {name}")
    return name


def producer(t, **options):
    return Producer({"bootstrap.servers": t.bootstrap, **{key.replace("_", "."): value for key, value in options.items()}})


def consumer(t, group=None, **options):
    options = {key.replace("_", "."): value for key, value in options.items()}
    return Consumer({"bootstrap.servers": t.bootstrap, "group.id": group or t.name("g"), "auto.offset.reset": "earliest",
                     "enable.auto.commit": False, **options})


class Sent:
    """Delivery reports, by the number that a record carries."""

    def __init__(self):
        self.places, self.errors = {}, []

    def report(self, number):
        def told(error, message):
            if error:
                self.errors.append(f"{number}: {error}")
            else:
                self.places.setdefault(number, []).append((message.partition(), message.offset()))

        return told


def fill(t, topic, count, partition=0, **options):
    client, sent = producer(t, **options), Sent()
    for n in range(count):
        client.produce(topic, b"v%d" % n, key=b"k%d" % n, partition=partition, timestamp=1_000_000 + n * 10, on_delivery=sent.report(n))
    eq(client.flush(20), 0, "records that wait after a flush")
    eq(sent.errors, [], "refused records")
    first = sent.places[0][0][1]
    eq(sent.places, {n: [(partition, first + n)] for n in range(count)}, "where records went")


def take(source, count, seconds=20):
    records, deadline = [], time.monotonic() + seconds
    while len(records) < count and time.monotonic() < deadline:
        for message in source.consume(count - len(records), 0.2):
            if message.error():
                raise KafkaException(message.error())
            records.append(message)
    eq(len(records), count, "records read")
    return records


@test()
def produces_with_each_acks(t):
    for acks in ("0", "1", "all"):
        topic = create(t, "acks", 2)
        client, sent = producer(t, acks=acks), Sent()
        for n in range(200):
            client.produce(topic, b"%d" % n, partition=n % 2, on_delivery=sent.report(n))
        eq(client.flush(20), 0, "records that wait")
        eq((sent.errors, len(sent.places)), ([], 200), f"reports with acks={acks}")
        if acks != "0":
            eq(sent.places, {n: [(n % 2, n // 2)] for n in range(200)}, f"places with acks={acks}")
        reader = consumer(t)
        reader.subscribe([topic])
        found = sorted((record.partition(), record.offset(), record.value()) for record in take(reader, 200))
        eq(found, sorted((n % 2, n // 2, b"%d" % n) for n in range(200)), f"records with acks={acks}")
        reader.close()


@test()
def compression(t):
    topic, expected = create(t, "codecs"), []
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        client, sent = producer(t, compression_type=codec, linger_ms=20), Sent()
        values = [b"%s-%d " % (codec.encode(), n) + b"y" * 700 for n in range(50)]
        for n, value in enumerate(values):
            client.produce(topic, value, headers={"codec": codec}, on_delivery=sent.report(n))
        client.flush(20)
        eq(sent.places, {n: [(0, len(expected) + n)] for n in range(50)}, f"places with {codec}")
        expected += values
    reader = consumer(t, check_crcs=True)
    reader.subscribe([topic])
    records = take(reader, len(expected))
    eq([(record.offset(), record.value()) for record in records], list(enumerate(expected)), "records")
    reader.close()


@test()
def shapes(t):
    topic = create(t, "shapes", **{"max.message.bytes": "2097152"})
    headers = [("a", b"1"), ("a", None), ("b", b"")]
    client, sent = producer(t, message_max_bytes=4 << 20, partitioner="murmur2_random"), Sent()
    large = bytes(range(256)) * 4096
    client.produce(topic, b"v", headers=headers, timestamp=1_234_567_890_123, on_delivery=sent.report(0))
    client.produce(topic, None, key=b"gone", on_delivery=sent.report(1))
    client.produce(topic, b"", key=b"", on_delivery=sent.report(2))
    client.produce(topic, large, on_delivery=sent.report(3))
    client.flush(20)
    eq((sent.errors, sent.places), ([], {n: [(0, n)] for n in range(4)}), "reports")
    reader = consumer(t)
    reader.subscribe([topic])
    first, tombstone, empty, big = take(reader, 4)
    eq((first.headers(), first.timestamp(), first.key()), (headers, (1, 1_234_567_890_123), None), "the first record")
    eq((tombstone.key(), tombstone.value(), empty.key(), empty.value()), (b"gone", None, b"", b""), "nulls and empties")
    check(big.value() == large, "1 MiB comes back as it was")
    reader.close()
    usual = create(t, "usual")
    sent = Sent()
    client.produce(usual, large + b"x" * 100_000, on_delivery=sent.report(0))
    client.flush(20)
    check("MSG_SIZE_TOO_LARGE" in str(sent.errors), f"a record that is too large: {sent.errors or sent.places}")


@test()
def idempotence(t):
    topic = create(t, "idempotent", 3)
    client, sent = producer(t, enable_idempotence=True, linger_ms=1, batch_num_messages=50), Sent()
    for n in range(6000):
        client.produce(topic, b"%d" % n, partition=n % 3, on_delivery=sent.report(n))
        client.poll(0)
    eq(client.flush(30), 0, "records that wait")
    eq(sent.errors, [], "refused records")
    eq(sent.places, {n: [(n % 3, n // 3)] for n in range(6000)}, "where records went")


@test()
def positions(t):
    topic = create(t, "positions", 2)
    fill(t, topic, 40)
    reader = consumer(t, auto_offset_reset="error", enable_partition_eof=True)
    eq(reader.get_watermark_offsets(TopicPartition(topic, 0), timeout=10), (0, 40), "the watermarks")
    times = [(0, 0), (1_000_055, 6), (1_000_390, 39), (1_000_391, -1)]
    for wanted, offset in times:
        (found,) = reader.offsets_for_times([TopicPartition(topic, 0, wanted)], timeout=10)
        check(found.error is None, f"offsets_for_times: {found.error}")
        check(found.offset == offset or (offset == -1 and found.offset == OFFSET_END), f"the first at or after {wanted}: {found.offset}")
    reader.assign([TopicPartition(topic, 0, 35)])
    eq([record.offset() for record in take(reader, 5)], list(range(35, 40)), "from 35 on")
    end = eventually(lambda: reader.poll(0.2), "the end of the partition")
    eq((end.error().code(), end.offset()), (KafkaError._PARTITION_EOF, 40), "the end of the partition")
    reader.seek(TopicPartition(topic, 0, 3))
    eq(take(reader, 1)[0].value(), b"v3", "after a seek")
    reader.seek(TopicPartition(topic, 0, 77))
    lost = eventually(lambda: (m := reader.poll(0.2)) is not None and m.error() is not None and m.error().code() != KafkaError._PARTITION_EOF and m, "an error")
    check("out of range" in str(lost.error()).lower(), f"reading beyond the end: {lost.error()}")
    reader.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    reader.pause([TopicPartition(topic, 0)])
    eq(reader.poll(0.5), None, "while paused")
    reader.resume([TopicPartition(topic, 0)])
    eq([record.offset() for record in take(reader, 40)], list(range(40)), "after the pause")
    reader.close()


@test()
def commits(t):
    topic, group = create(t, "commits"), t.name("g")
    fill(t, topic, 30)
    first = consumer(t, group)
    first.subscribe([topic])
    record = take(first, 10)[-1]
    first.commit(message=record, asynchronous=False)
    eq(first.committed([TopicPartition(topic, 0)], timeout=10)[0].offset, 10, "committed")
    first.commit(offsets=[TopicPartition(topic, 0, 12, "note")], asynchronous=False)
    found = first.committed([TopicPartition(topic, 0)], timeout=10)[0]
    eq((found.offset, found.metadata), (12, "note"), "committed with a note")
    first.close()
    second = consumer(t, group, enable_auto_commit=True, auto_commit_interval_ms=100)
    second.subscribe([topic])
    eq([record.offset() for record in take(second, 18)], list(range(12, 30)), "where the group goes on")
    eventually(lambda: second.poll(0.05) or second.committed([TopicPartition(topic, 0)], timeout=10)[0].offset == 30, "the automatic commit")
    second.close()


class Member:
    """A consumer in a thread of its own: commits what it has seen, and notes what it was given and told."""

    def __init__(self, t, topic, group, **options):
        self.seen, self.wrong, self.assigned, self.next = [], [], set(), {}
        self.stopping = threading.Event()
        self.source = consumer(t, group, session_timeout_ms=10_000, heartbeat_interval_ms=500, **options)
        self.cooperative = options.get("partition_assignment_strategy") == "cooperative-sticky"
        self.source.subscribe([topic], on_assign=self.on_assign, on_revoke=self.on_revoke, on_lost=self.on_revoke)
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def on_assign(self, _, partitions):
        if not self.cooperative and self.assigned:
            self.wrong.append(f"assigned {partitions} on top of {self.assigned}")
        self.assigned |= {place.partition for place in partitions}
        for place in partitions:
            self.next.pop(place.partition, None)

    def on_revoke(self, _, partitions):
        self.assigned -= {place.partition for place in partitions}

    def work(self):
        try:
            while not self.stopping.is_set():
                self.step()
        except Exception as error:  # noqa: BLE001: told by the test
            self.wrong.append(repr(error))
        finally:
            self.source.close()

    def step(self):
        for message in self.source.consume(100, 0.1):
            if message.error():
                if not message.error().retriable() and message.error().code() not in (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT):
                    self.wrong.append(str(message.error()))
                continue
            place, offset = message.partition(), message.offset()
            if place in self.next and offset != self.next[place]:
                self.wrong.append(f"partition {place}: {offset} after {self.next[place] - 1}")
            self.next[place] = offset + 1
            self.seen.append((int(message.value()), place, offset))
        try:
            self.source.commit(asynchronous=False)
        except KafkaException as error:
            # A rebalance came between, or there is nothing to commit: the next owner reads again.
            allowed = {KafkaError._NO_OFFSET, KafkaError.REBALANCE_IN_PROGRESS, KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID,
                       KafkaError._STATE, KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE,
                       KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError._WAIT_COORD, KafkaError.REQUEST_TIMED_OUT}
            if error.args[0].code() not in allowed:
                self.wrong.append(f"commit: {error}")

    def stop(self):
        self.stopping.set()
        self.thread.join(30)


def all_seen(members):
    return {number for member in members for number, _, _ in list(member.seen)}


def rebalance(t, total, **options):
    topic, group = create(t, "rebalance", 6), t.name("g")
    client, sent = producer(t, acks="all"), Sent()
    members = [Member(t, topic, group, **options)]
    for n in range(total):
        client.produce(topic, b"%d" % n, partition=n % 6, on_delivery=sent.report(n))
        client.poll(0)
        if n in (total // 5, total // 4):
            members.append(Member(t, topic, group, **options))
        if n == total // 2:
            members[0].stop()
        if n % 100 == 0:
            time.sleep(0.05)
    client.flush(20)
    try:
        eq((sent.errors, len(sent.places)), ([], total), "reports")
        eventually(lambda: len(all_seen(members)) == total, "all records are delivered", 30)
        eventually(lambda: sum(len(member.assigned) for member in members[1:]) == 6, "all partitions have an owner", 20)
    finally:
        for member in members:
            member.stop()
    eq([member.wrong for member in members], [[] for _ in members], "what members saw")
    for member in members:
        for number, partition, offset in member.seen:
            check((partition, offset) in sent.places[number], f"record {number} came from {partition}/{offset} instead of {sent.places[number]}")
    last = consumer(t, group)
    found = last.committed([TopicPartition(topic, partition) for partition in range(6)], timeout=10)
    eq({place.partition: place.offset for place in found}, {partition: len(range(partition, total, 6)) for partition in range(6)}, "committed in the end")
    last.close()


@test(seconds=60)
def rebalance_under_load(t):
    rebalance(t, 2000 if t.quick else 6000)


@test(seconds=60)
def cooperative_sticky_under_load(t):
    rebalance(t, 2000 if t.quick else 6000, partition_assignment_strategy="cooperative-sticky")


@test()
def static_member_comes_back(t):
    """A static member that restarts within its session keeps its partitions, and the others notice nothing."""
    topic, group = create(t, "static", 4), t.name("g")
    one = Member(t, topic, group, group_instance_id="one")
    two = Member(t, topic, group, group_instance_id="two")
    eventually(lambda: len(one.assigned) == 2 and len(two.assigned) == 2, "two partitions each", 25)
    before, held = set(one.assigned), set(two.assigned)
    two.stop()
    again = Member(t, topic, group, group_instance_id="two")
    eventually(lambda: again.assigned, "an assignment", 20)
    eq((again.assigned, one.assigned), (held, before), "partitions after a restart")
    client = admin(t)
    (description,) = [future.result(10) for future in client.describe_consumer_groups([group]).values()]
    eq(sorted(member.group_instance_id for member in description.members), ["one", "two"], "static members")
    one.stop()
    again.stop()
    eq(one.wrong + two.wrong + again.wrong, [], "errors")


@test()
def admin_topics_and_configs(t):
    client, name = admin(t), t.name("admin")
    client.create_topics([NewTopic(name, 10, t.replicas, config={"compression.type": "gzip"})])[name].result(20)
    found = eventually(lambda: (topic := client.list_topics(name, timeout=10).topics[name]).error is None and len(topic.partitions) == 10 and topic, "ten partitions")
    check(all(len(set(p.replicas)) == t.replicas and set(p.isrs) <= set(p.replicas) for p in found.partitions.values()), "replicas and in-sync replicas")
    again = raises(KafkaException, lambda: client.create_topics([NewTopic(name, 1, 1)])[name].result(20), "the same topic again")
    eq(again.args[0].code(), KafkaError.TOPIC_ALREADY_EXISTS, "the error")
    client.create_partitions([NewPartitions(name, 12)])[name].result(20)
    eventually(lambda: len(client.list_topics(name, timeout=10).topics[name].partitions) == 12, "twelve partitions")
    resource = ConfigResource(ResourceType.TOPIC, name)
    change = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[
        ConfigEntry("max.message.bytes", "123456", incremental_operation=AlterConfigOpType.SET),
        ConfigEntry("compression.type", None, incremental_operation=AlterConfigOpType.DELETE)])
    client.incremental_alter_configs([change])[change].result(20)

    def configs():
        return next(iter(client.describe_configs([resource]).values())).result(20)

    eventually(lambda: configs()["max.message.bytes"].value == "123456", "the change")
    now = configs()
    check(not now["max.message.bytes"].is_default, "its source")
    eq((now["compression.type"].value, now["compression.type"].is_default), ("producer", True), "what was deleted")
    nodes = sorted(broker.id for broker in client.describe_cluster().result(20).nodes)
    eq(len(nodes), len(t.servers), "nodes")
    broker = next(iter(client.describe_configs([ConfigResource(ResourceType.BROKER, str(nodes[0]))]).values())).result(20)
    check(len(broker) > 0, "settings of a broker")
    described = client.describe_topics(TopicCollection([name]))[name].result(20)
    eq((described.name, len(described.partitions), described.is_internal), (name, 12, False), "the description")
    client.delete_topics([name])[name].result(20)
    gone = lambda: name not in client.list_topics(timeout=10).topics  # noqa: E731
    eventually(gone, "the topic is gone")


@test()
def admin_offsets_and_groups(t):
    client, topic, group = admin(t), create(t, "offsets"), t.name("g")
    fill(t, topic, 20)
    place = TopicPartition(topic, 0)
    trimmed = next(iter(client.delete_records([TopicPartition(topic, 0, 8)]).values())).result(20)
    eq(trimmed.low_watermark, 8, "the first offset after a deletion of records")

    def offset(spec):
        return next(iter(client.list_offsets({place: spec}).values())).result(20).offset

    wanted = [OffsetSpec.earliest(), OffsetSpec.latest(), OffsetSpec.max_timestamp(), OffsetSpec.for_timestamp(1_000_105)]
    eq([offset(spec) for spec in wanted], [8, 20, 19, 11], "offsets")
    reader = consumer(t, group)
    reader.subscribe([topic])
    eq([record.offset() for record in take(reader, 12)], list(range(8, 20)), "what is left")
    reader.commit(asynchronous=False)
    listed = {found.group_id: found for found in client.list_consumer_groups().result(20).valid}
    eq((listed[group].state.name, listed[group].is_simple_consumer_group), ("STABLE", False), "the group in the list")
    (description,) = [future.result(20) for future in client.describe_consumer_groups([group]).values()]
    eq([place.partition for place in description.members[0].assignment.topic_partitions], [0], "its assignment")
    reader.close()
    eventually(lambda: next(iter(client.describe_consumer_groups([group]).values())).result(20).state.name == "EMPTY", "the group is empty")
    change = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 15)])
    next(iter(client.alter_consumer_group_offsets([change]).values())).result(20)
    read = next(iter(client.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]).values())).result(20)
    eq([(place.topic, place.partition, place.offset) for place in read.topic_partitions], [(topic, 0, 15)], "offsets of the group")
    next(iter(client.delete_consumer_groups([group]).values())).result(20)
    eventually(lambda: group not in {found.group_id for found in client.list_consumer_groups().result(20).valid}, "the group is gone")


@test(kills=True, seconds=120)
def kill_leader_under_load(t):
    """kill -9 of a leader and of the coordinator while an idempotent producer and a group work."""
    topic, group = create(t, "kill", 6), t.name("g")
    client, sent = producer(t, enable_idempotence=True, linger_ms=5), Sent()
    members = [Member(t, topic, group) for _ in range(3)]
    leaders = {p.id: p.leader for p in client.list_topics(topic, timeout=10).topics[topic].partitions.values()}
    victim, began, total = leaders[0], time.monotonic(), 0
    seconds, killed = (8, False) if t.quick else (30, False)
    while (elapsed := time.monotonic() - began) < seconds:
        client.produce(topic, b"%d" % total, partition=total % 6, on_delivery=sent.report(total))
        client.poll(0)
        total += 1
        if total % 20 == 0:
            time.sleep(0.01)
        if elapsed > 2.5 and not killed:
            t.kill(victim)
            killed = True
    try:
        eq(client.flush(45), 0, "records that wait in the end")
        eq(sent.errors, [], "refused records")
        eventually(lambda: len(all_seen(members)) == total, "all records are delivered", 45)
    finally:
        for member in members:
            member.stop()
    eq([member.wrong for member in members], [[] for _ in members], "what members saw")
    check_log(t, topic, 6, total, sent)


def check_log(t, topic, partitions, total, sent):
    """The log itself: each record once, in the order of sending, at the offset that was acknowledged."""
    reader = consumer(t)
    reader.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in range(partitions)])
    places = [reader.get_watermark_offsets(TopicPartition(topic, partition), timeout=15) for partition in range(partitions)]
    eq(places, [(0, len(range(partition, total, partitions))) for partition in range(partitions)], "where partitions begin and end")
    by_partition = {partition: [] for partition in range(partitions)}
    for record in take(reader, total, 40):
        number = int(record.value())
        by_partition[record.partition()].append(number)
        eq(sent.places[number], [(record.partition(), record.offset())], f"the acknowledged place of {number}")
    for partition, numbers in by_partition.items():
        check(numbers == list(range(partition, total, partitions)), f"partition {partition} has each record once and in order")
    reader.close()


if __name__ == "__main__":
    main(f"confluent-kafka {confluent_kafka.version()}, librdkafka {confluent_kafka.libversion()[0]}")
