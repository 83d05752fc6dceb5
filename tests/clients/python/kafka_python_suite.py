"""kafka-python, the newest and 2.0.2: what a newcomer writes, and what their programs do later."""

import json
import threading
import time

import kafka
from harness import Skip, check, eq, eventually, main, raises, test
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka import errors
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.structs import OffsetAndMetadata

try:
    from kafka.admin import NewPartitions, NewTopic
except ImportError:
    from kafka.admin._partitions import NewPartitions
    from kafka.admin._topics import NewTopic

OLD = kafka.__version__.startswith("2.")
CODECS = ["gzip", "snappy", "lz4", "zstd"]


def create(t, what, partitions=1, **configs):
    name = t.name(what)
    admin = KafkaAdminClient(bootstrap_servers=t.servers)
    admin.create_topics([NewTopic(name, num_partitions=partitions, replication_factor=t.replicas, topic_configs=configs)])
    admin.close()
    return name


def producer(t, **options):
    return KafkaProducer(bootstrap_servers=t.servers, **options)


def consumer(t, *topics, **options):
    options = {"auto_offset_reset": "earliest", "enable_auto_commit": False, **options}
    return KafkaConsumer(*topics, bootstrap_servers=t.servers, **options)


def take(source, count, seconds=20):
    """The next `count` records, in the order of their arrival; more than that is a failure too."""
    records, deadline = [], time.monotonic() + seconds
    while len(records) < count and time.monotonic() < deadline:
        for batch in source.poll(timeout_ms=200).values():
            records.extend(batch)
    eq(len(records), count, "records read")
    return records


def refused(t, topic, value):
    """A record that is too large for its topic. Its producer is of no use afterwards: version 3 fails everything that follows."""
    sender = producer(t, max_request_size=4 << 20)
    raises(errors.MessageSizeTooLargeError, lambda: sender.send(topic, value).get(timeout=10), "a record beyond max.message.bytes")
    sender.close()


def fill(t, topic, count, partition=0, **options):
    with_keys = producer(t, acks="all", **options)
    sent = [with_keys.send(topic, b"v%d" % n, key=b"k%d" % n, partition=partition, timestamp_ms=1_000_000 + n * 10) for n in range(count)]
    with_keys.flush()
    offsets = [future.get(timeout=10).offset for future in sent]
    with_keys.close()
    eq(offsets, list(range(offsets[0], offsets[0] + count)), "offsets of what was sent")
    return offsets


@test()
def newcomer_as_printed(t):
    """No option but the address, a topic that nobody made, an iterated consumer."""
    topic = t.name("newcomer")
    new_producer = KafkaProducer(bootstrap_servers=t.servers)
    new_producer.send(topic, b"hello")
    answer = new_producer.send(topic, b"world").get(timeout=10)
    new_producer.flush()
    eq((answer.topic, answer.partition), (topic, 0), "where the record went")
    new_producer.close()
    reader = KafkaConsumer(topic, bootstrap_servers=t.servers, group_id=t.name("g"), auto_offset_reset="earliest", consumer_timeout_ms=8000)
    values = []
    for record in reader:
        values.append((record.offset, record.value))
        if len(values) == 2:
            break
    reader.close()
    eq(values, [(0, b"hello"), (1, b"world")], "what the consumer was given")


@test()
def json_values_keys_and_partitions(t):
    topic = create(t, "json", partitions=4)
    sender = producer(t, value_serializer=lambda value: json.dumps(value).encode(), key_serializer=str.encode, acks="all", retries=3)
    sent = [(f"user-{n % 7}", {"n": n, "text": "grüße"}) for n in range(50)]
    places = [sender.send(topic, value, key=key).get(timeout=10).partition for key, value in sent]
    by_key = {}
    for (key, _), partition in zip(sent, places):
        eq(by_key.setdefault(key, partition), partition, f"the partition of {key}")
    eq(sender.send(topic, {"n": -1}, key="fixed", partition=3).get(timeout=10).partition, 3, "the partition that was asked for")
    sender.close()
    reader = consumer(t, topic, value_deserializer=json.loads, key_deserializer=bytes.decode)
    records = take(reader, 51)
    reader.close()
    for key, partition in by_key.items():
        found = [record.value["n"] for record in records if record.key == key]
        eq(found, [value["n"] for other, value in sent if other == key], f"values of {key} in order")
        eq({record.partition for record in records if record.key == key}, {partition}, f"where {key} lies")


@test()
def acks_0_1_all(t):
    for acks in (0, 1, "all"):
        topic = create(t, "acks")
        options = {} if OLD else {"enable_idempotence": False}
        sender = producer(t, acks=acks, retries=2, **options)
        answers = [sender.send(topic, b"%d" % n).get(timeout=10) for n in range(10)]
        if acks != 0:
            eq([answer.offset for answer in answers], list(range(10)), f"offsets with acks={acks}")
        sender.close()
        reader = consumer(t, topic)
        eq([record.value for record in take(reader, 10)], [b"%d" % n for n in range(10)], f"values with acks={acks}")
        reader.close()


@test()
def many_in_batches(t):
    topic = create(t, "batches", partitions=3)
    sender = producer(t, acks="all", linger_ms=20, batch_size=32 * 1024)
    sent = {partition: [] for partition in range(3)}
    for n in range(6000):
        sent[n % 3].append(sender.send(topic, b"%06d" % n, partition=n % 3))
    sender.flush()
    for partition, futures in sent.items():
        eq([future.get(timeout=10).offset for future in futures], list(range(2000)), f"offsets of partition {partition}")
    sender.close()
    reader = consumer(t, topic)
    records = take(reader, 6000)
    reader.close()
    for partition in range(3):
        found = [(record.offset, int(record.value)) for record in records if record.partition == partition]
        eq(found, [(offset, offset * 3 + partition) for offset in range(2000)], f"partition {partition}")


@test()
def compression(t):
    topic = create(t, "codecs")
    expected = []
    for codec in [None, *CODECS]:
        sender = producer(t, compression_type=codec, linger_ms=50, acks="all")
        values = [b"%s %d " % (str(codec).encode(), n) + b"x" * 500 for n in range(40)]
        futures = [sender.send(topic, value, headers=[("codec", str(codec).encode())]) for value in values]
        sender.flush()
        eq([future.get(10).offset for future in futures], list(range(len(expected), len(expected) + 40)), f"offsets with {codec}")
        sender.close()
        expected += values
    reader = consumer(t, topic)
    records = take(reader, len(expected))
    reader.close()
    eq([record.value for record in records], expected, "values")
    eq([record.offset for record in records], list(range(len(expected))), "offsets")


@test()
def headers_nulls_and_timestamps(t):
    topic = create(t, "shapes")
    sender = producer(t, acks="all")
    headers = [("a", b"1"), ("a", b"2"), ("empty", b""), ("ünicode", b"\x00\xff")]
    before = int(time.time() * 1000)
    sender.send(topic, b"with headers", headers=headers, timestamp_ms=1_234_567_890_123)
    sender.send(topic, None, key=b"deleted")
    sender.send(topic, b"", key=b"")
    sender.send(topic, b"no key")
    sender.flush()
    sender.close()
    reader = consumer(t, topic)
    first, tombstone, empty, keyless = take(reader, 4)
    reader.close()
    eq((first.headers, first.timestamp, first.timestamp_type), (headers, 1_234_567_890_123, 0), "the first record")
    eq((tombstone.key, tombstone.value), (b"deleted", None), "the tombstone")
    eq((empty.key, empty.value), (b"", b""), "the empty record")
    eq((keyless.key, keyless.value), (None, b"no key"), "the record without a key")
    check(before - 5000 <= keyless.timestamp <= before + 60_000, f"a time of now: {keyless.timestamp}")


@test()
def one_mebibyte(t):
    topic = create(t, "large", **{"max.message.bytes": "2097152"})
    sender = producer(t, acks="all", max_request_size=4 << 20)
    values = [bytes([65 + n]) * (1 << 20) for n in range(3)]
    futures = [sender.send(topic, value) for value in values]
    eq([future.get(timeout=20).offset for future in futures], [0, 1, 2], "offsets")
    sender.close()
    usual = create(t, "usual")
    refused(t, usual, values[0] + b"x" * 100_000)
    fill(t, usual, 1)
    reader = consumer(t, topic)
    records = take(reader, 3)
    reader.close()
    check([record.value for record in records] == values, "the values are the same")


@test()
def idempotent_producer(t):
    if OLD:
        raise Skip("2.0.2 has none")
    topic = create(t, "idempotent", partitions=2)
    sender = producer(t, enable_idempotence=True, linger_ms=1, batch_size=4096)
    futures = [sender.send(topic, b"%d" % n, partition=n % 2) for n in range(2000)]
    sender.flush()
    eq([future.get(10).offset for future in futures], [n // 2 for n in range(2000)], "offsets")
    sender.close()


@test()
def earliest_and_latest(t):
    topic = create(t, "reset")
    fill(t, topic, 5)
    late = consumer(t, topic, group_id=t.name("g"), auto_offset_reset="latest")
    eventually(lambda: late.poll(100) or late.assignment(), "an assignment")
    eq(late.position(TopicPartition(topic, 0)), 5, "where a reader of the latest begins")
    fill(t, topic, 3)
    eq([record.offset for record in take(late, 3)], [5, 6, 7], "what came after")
    late.close()
    early = consumer(t, topic, group_id=t.name("g"))
    eq([record.offset for record in take(early, 8)], list(range(8)), "all")
    early.close()


@test()
def commits(t):
    topic, group = create(t, "commits"), t.name("g")
    fill(t, topic, 30)
    place = TopicPartition(topic, 0)
    first = consumer(t, topic, group_id=group, max_poll_records=10)
    eq([record.offset for record in take(first, 10)], list(range(10)), "the first ten")
    first.commit()
    eq(first.committed(place), 10, "what was committed")
    options = {place: OffsetAndMetadata(12, "by hand") if OLD else OffsetAndMetadata(12, "by hand", -1)}
    first.commit(options)
    eq((first.committed(place), first.committed(place, metadata=True).metadata), (12, "by hand"), "what was committed by hand")
    first.close(autocommit=False)
    second = consumer(t, topic, group_id=group, enable_auto_commit=True, auto_commit_interval_ms=100)
    eq([record.offset for record in take(second, 18)], list(range(12, 30)), "the rest")
    eventually(lambda: second.poll(50) or second.committed(place) == 30, "the automatic commit")
    second.close()
    third = consumer(t, topic, group_id=group)
    eventually(lambda: third.poll(100) or third.assignment(), "an assignment")
    eq(third.position(place), 30, "where the group goes on")
    third.close()


@test()
def seek_assign_and_ends(t):
    topic = create(t, "seek", partitions=2)
    fill(t, topic, 20)
    reader = consumer(t)
    zero, one = TopicPartition(topic, 0), TopicPartition(topic, 1)
    reader.assign([zero, one])
    eq(reader.beginning_offsets([zero, one]), {zero: 0, one: 0}, "beginnings")
    eq(reader.end_offsets([zero, one]), {zero: 20, one: 0}, "ends")
    reader.seek(zero, 15)
    eq([record.offset for record in take(reader, 5)], list(range(15, 20)), "after a seek")
    reader.seek_to_beginning(zero)
    eq([record.value for record in take(reader, 20)], [b"v%d" % n for n in range(20)], "from the beginning")
    reader.seek_to_end(zero)
    eq(reader.position(zero), 20, "the end")
    fill(t, topic, 1)
    eq([(record.offset, record.value) for record in take(reader, 1)], [(20, b"v0")], "after the end")
    reader.close()


@test()
def offsets_for_times(t):
    topic = create(t, "times", partitions=2)
    fill(t, topic, 20)
    place, empty = TopicPartition(topic, 0), TopicPartition(topic, 1)
    reader = consumer(t)
    reader.assign([place, empty])
    for wanted, offset, time_of in [(0, 0, 1_000_000), (1_000_055, 6, 1_000_060), (1_000_190, 19, 1_000_190)]:
        found = reader.offsets_for_times({place: wanted})[place]
        eq((found.offset, found.timestamp), (offset, time_of), f"the first at or after {wanted}")
    eq(reader.offsets_for_times({place: 1_000_191, empty: 0}), {place: None, empty: None}, "where nothing is that late")
    reader.close()


@test()
def pause_and_resume(t):
    topic = create(t, "pause", partitions=2)
    fill(t, topic, 10, partition=0)
    fill(t, topic, 10, partition=1)
    reader = consumer(t)
    zero, one = TopicPartition(topic, 0), TopicPartition(topic, 1)
    reader.assign([zero, one])
    reader.pause(zero)
    eq({record.partition for record in take(reader, 10)}, {1}, "while the first is paused")
    eq(reader.poll(300), {}, "while the first is paused")
    reader.resume(zero)
    eq([(record.partition, record.offset) for record in take(reader, 10)], [(0, n) for n in range(10)], "what was held back")
    reader.close()


@test()
def out_of_range(t):
    topic = create(t, "range")
    fill(t, topic, 5)
    place = TopicPartition(topic, 0)
    strict = consumer(t, auto_offset_reset="none")
    strict.assign([place])
    strict.seek(place, 100)

    def poll():
        for _ in range(30):
            strict.poll(200)

    error = raises(errors.OffsetOutOfRangeError, poll, "reading beyond the end")
    check("100" in str(error), f"the error names the offset: {error}")
    strict.close()
    lenient = consumer(t, auto_offset_reset="earliest")
    lenient.assign([place])
    lenient.seek(place, 100)
    eq([record.offset for record in take(lenient, 5)], list(range(5)), "after the jump to the earliest")
    lenient.close()


@test()
def long_poll_wakes(t):
    """A consumer that waits gets a record when it is written, not at the end of its wait."""
    topic = create(t, "wakes")
    reader = consumer(t, fetch_max_wait_ms=5000, **({} if OLD else {"isolation_level": "read_committed"}))
    reader.assign([TopicPartition(topic, 0)])
    reader.poll(200)
    sender = producer(t)
    latencies = []
    for _ in range(3):
        time.sleep(0.3)
        began = time.monotonic()
        sender.send(topic, b"now").get(timeout=10)
        take(reader, 1, seconds=8)
        latencies.append(time.monotonic() - began)
    check(min(latencies) < 1.5, f"seconds from sending to reading: {latencies}")
    sender.close()
    reader.close()


@test(seconds=60)
def rebalance_under_load(t):
    """Members join and leave while records flow: each record comes at least once, and what was committed never again."""
    topic, group = create(t, "rebalance", partitions=6), t.name("g")
    stop, done, total = threading.Event(), threading.Event(), 1500 if t.quick else 4000
    seen, lock, wrong = {}, threading.Lock(), []

    def member(own_stop):
        reader = consumer(t, topic, group_id=group, session_timeout_ms=10_000, heartbeat_interval_ms=500, max_poll_records=50)
        try:
            while not own_stop.is_set():
                for place, records in reader.poll(200).items():
                    offsets = [record.offset for record in records]
                    if offsets != list(range(offsets[0], offsets[0] + len(offsets))):
                        wrong.append(f"gaps in {place}: {offsets}")
                    with lock:
                        for record in records:
                            seen.setdefault(int(record.value), []).append((place.partition, record.offset))
                        if len(seen) == total:
                            done.set()
                try:
                    reader.commit()
                except (errors.CommitFailedError, errors.RebalanceInProgressError, errors.IllegalGenerationError, errors.UnknownMemberIdError):
                    pass
        except Exception as error:  # noqa: BLE001: told by the test
            wrong.append(repr(error))
        finally:
            reader.close(autocommit=False)

    def feed():
        sender = producer(t, acks="all")
        futures = []
        for n in range(total):
            futures.append(sender.send(topic, b"%d" % n, partition=n % 6))
            if n % 50 == 0:
                time.sleep(0.05)
        sender.flush()
        wrong.extend({f"producer: {future.exception!r}" for future in futures if future.failed()})
        sender.close()

    leaving = threading.Event()
    threads = [threading.Thread(target=member, args=(leaving,), daemon=True), threading.Thread(target=feed, daemon=True)]
    threads += [threading.Thread(target=member, args=(stop,), daemon=True) for _ in range(2)]
    for thread in threads[:3]:
        thread.start()
    time.sleep(0.7)
    threads[3].start()
    time.sleep(0.7)
    leaving.set()
    done.wait(40)
    stop.set()
    for thread in threads:
        thread.join(20)
    eq(wrong, [], "what members saw")
    eq(len(seen), total, "records delivered")
    for n, places in seen.items():
        eq(set(places), {(n % 6, n // 6)}, f"the place of record {n}")
    check_committed(t, topic, group, {partition: len(range(partition, total, 6)) for partition in range(6)})


def check_committed(t, topic, group, wanted):
    """The commits of the last generation stand: a new member reads nothing that was committed."""
    reader = consumer(t, topic, group_id=group)
    committed = {partition: reader.committed(TopicPartition(topic, partition)) or 0 for partition in wanted}
    rest = take(reader, sum(wanted[partition] - committed[partition] for partition in wanted))
    for record in rest:
        check(record.offset >= committed[record.partition], f"{record.offset} was committed")
    reader.close()


@test()
def subscribes_by_pattern(t):
    base = t.name("pattern")
    admin = KafkaAdminClient(bootstrap_servers=t.servers)
    admin.create_topics([NewTopic(f"{base}-{n}", 1, t.replicas) for n in range(2)] + [NewTopic(f"other-{base}", 1, t.replicas)])
    for n in range(2):
        fill(t, f"{base}-{n}", 3)
    fill(t, f"other-{base}", 3)
    reader = consumer(t, group_id=t.name("g"))
    reader.subscribe(pattern=f"^{base}-.*")
    eq({(record.topic, record.offset) for record in take(reader, 6)}, {(f"{base}-{n}", offset) for n in range(2) for offset in range(3)}, "records")
    check({f"{base}-0", f"{base}-1", f"other-{base}"} <= set(reader.topics()), "all topics are listed")
    eq(reader.partitions_for_topic(f"{base}-0"), {0}, "partitions")
    reader.close()
    admin.delete_topics([f"{base}-0", f"{base}-1", f"other-{base}"])
    admin.close()


def described(admin, topic):
    """By partition. A broker may hear of a new topic a moment after the creation was answered."""

    def known():
        (description,) = admin.describe_topics([topic])
        return description["error_code"] == 0 and description

    description = eventually(known, f"{topic} is described")
    return {partition.get("partition", partition.get("partition_index")): partition for partition in description["partitions"]}


@test()
def admin_topics(t):
    admin = KafkaAdminClient(bootstrap_servers=t.servers)
    name = t.name("admin")
    admin.create_topics([NewTopic(name, num_partitions=10, replication_factor=t.replicas, topic_configs={"compression.type": "gzip"})])
    partitions = eventually(lambda: len(found := described(admin, name)) == 10 and found, "ten partitions")
    eq(sorted(partitions), list(range(10)), "partitions")
    check(all(len(partition.get("replicas", partition.get("replica_nodes"))) == t.replicas for partition in partitions.values()), f"replicas: {partitions}")
    raises(errors.TopicAlreadyExistsError, lambda: admin.create_topics([NewTopic(name, 1, 1)]), "the same topic again")
    raises(errors.InvalidReplicationFactorError, lambda: admin.create_topics([NewTopic(t.name("x"), 1, 17)]), "too many replicas")
    raises(errors.InvalidPartitionsError, lambda: admin.create_topics([NewTopic(t.name("x"), 0, 1)]), "no partitions")
    raises(errors.InvalidTopicError, lambda: admin.create_topics([NewTopic("what is this?", 1, 1)]), "a name that cannot be")
    raises(errors.InvalidConfigurationError, lambda: admin.create_topics([NewTopic(t.name("x"), 1, 1, topic_configs={"retention.ms": "soon"})]), "a setting that cannot be")
    admin.create_partitions({name: NewPartitions(12)})
    eventually(lambda: len(described(admin, name)) == 12, "twelve partitions")
    raises(errors.InvalidPartitionsError, lambda: admin.create_partitions({name: NewPartitions(3)}), "fewer partitions")
    trial = t.name("trial")
    admin.create_topics([NewTopic(trial, 1, 1)], validate_only=True)
    check(trial not in admin.list_topics(), "validate_only makes nothing")
    admin.delete_topics([name])
    eventually(lambda: name not in admin.list_topics(), "the topic is gone")
    raises(errors.UnknownTopicOrPartitionError, lambda: admin.delete_topics([name]), "a topic that is gone")
    admin.close()


@test()
def admin_assignments(t):
    admin = KafkaAdminClient(bootstrap_servers=t.servers)
    nodes = sorted(broker.get("node_id", broker.get("broker_id")) for broker in admin.describe_cluster()["brokers"])
    eq(len(nodes), len(t.servers), "brokers")
    wanted = {0: nodes[:3], 1: (nodes[1:] + nodes[:1])[:3], 2: (nodes[2:] + nodes[:2])[:3]}
    name = t.name("assigned")
    admin.create_topics([NewTopic(name, -1, -1, replica_assignments=wanted)])
    partitions = described(admin, name)
    found = {number: sorted(partition.get("replicas", partition.get("replica_nodes"))) for number, partition in partitions.items()}
    eq(found, {number: sorted(replicas) for number, replicas in wanted.items()}, "replicas")
    fill(t, name, 3, partition=2)
    admin.close()


def config_of(admin, name, key):
    """One setting's value, whichever the shape of this version's answer. A new topic may be unknown for a moment."""
    if OLD:

        def entry():
            (response,) = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
            ((_, _, _, _, entries),) = response.resources
            return next((entry for entry in entries if entry[0] == key), None)

        return eventually(entry, f"{key} is described")[1]
    found = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)], config_filter="all")
    return found["topic"][name][key]["value"]


@test()
def admin_configs(t):
    admin = KafkaAdminClient(bootstrap_servers=t.servers)
    name = create(t, "configs", **{"max.message.bytes": "300000"})
    eq(config_of(admin, name, "max.message.bytes"), "300000", "as created")
    eq(config_of(admin, name, "message.timestamp.type"), "CreateTime", "the default")
    # AlterConfigs sets all: what is not named goes back to its default.
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, {"compression.type": "lz4", "max.message.bytes": "400000"})])
    eventually(lambda: config_of(admin, name, "compression.type") == "lz4", "the change")
    eq(config_of(admin, name, "max.message.bytes"), "400000", "after the change")
    refused(t, name, b"x" * 500_000)
    sender = producer(t)
    sender.send(name, b"x" * 350_000).get(timeout=10)
    sender.close()
    if not OLD:
        answer = admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, {"max.message.bytes": "many"})])
        check("InvalidConfiguration" in str(answer), f"a setting that cannot be: {answer}")
        eq(config_of(admin, name, "max.message.bytes"), "400000", "after the refusal")
    admin.close()


@test()
def log_append_time(t):
    topic = create(t, "appendtime", **{"message.timestamp.type": "LogAppendTime"})
    sender = producer(t, acks="all")
    before = int(time.time() * 1000) - 2000
    sender.send(topic, b"x", timestamp_ms=5).get(timeout=10)
    sender.close()
    reader = consumer(t, topic)
    (record,) = take(reader, 1)
    reader.close()
    eq(record.timestamp_type, 1, "the type of the time")
    check(record.timestamp >= before, f"the broker's time: {record.timestamp}")


def group_states(admin, group):
    if OLD:
        (found,) = admin.describe_consumer_groups([group])
        return found.state, found.protocol_type, [(member.client_id, member.client_host) for member in found.members]
    found = admin.describe_groups([group])[group]
    state = found.get("group_state", found.get("state"))
    return state, found["protocol_type"], [(member["client_id"], member["client_host"]) for member in found["members"]]


def group_names(admin):
    if OLD:
        return {name for name, _ in admin.list_consumer_groups()}
    return {found["group_id"] for found in admin.list_groups()}


@test()
def admin_groups(t):
    topic, group = create(t, "groups", partitions=2), t.name("g")
    fill(t, topic, 7)
    admin = KafkaAdminClient(bootstrap_servers=t.servers)
    reader = consumer(t, topic, group_id=group, client_id="the-reader")
    take(reader, 7)
    reader.commit()
    check(group in group_names(admin), "the group is listed")
    state, protocol, members = group_states(admin, group)
    eq((state, protocol, len(members), members[0][0]), ("Stable", "consumer", 1, "the-reader"), "the group")
    offsets = admin.list_consumer_group_offsets(group) if OLD else admin.list_group_offsets({group: None})[group]
    eq(offsets[TopicPartition(topic, 0)].offset, 7, "the committed offset")
    delete = admin.delete_consumer_groups if OLD else admin.delete_groups
    refused = delete([group])
    check("NonEmptyGroup" in str(refused) or "NON_EMPTY" in str(refused).upper(), f"a group with members stays: {refused}")
    reader.close()
    eventually(lambda: group_states(admin, group)[0] == "Empty", "the group is empty")
    delete([group])
    eventually(lambda: group not in group_names(admin), "the group is gone")
    admin.close()


@test()
def admin_records_and_offsets(t):
    if OLD:
        raise Skip("2.0.2 has neither")
    from kafka.admin import OffsetSpec

    topic, group = create(t, "trim"), t.name("g")
    fill(t, topic, 20)
    place = TopicPartition(topic, 0)
    admin = KafkaAdminClient(bootstrap_servers=t.servers)
    admin.delete_records({place: 8})
    eq(admin.list_partition_offsets({place: OffsetSpec.EARLIEST})[place].offset, 8, "the first offset")
    eq(admin.list_partition_offsets({place: OffsetSpec.LATEST})[place].offset, 20, "the end")
    newest = admin.list_partition_offsets({place: OffsetSpec.MAX_TIMESTAMP})[place]
    eq((newest.offset, newest.timestamp), (19, 1_000_190), "the newest")
    reader = consumer(t, topic, group_id=group)
    eq([record.offset for record in take(reader, 12)], list(range(8, 20)), "what is left")
    reader.commit()
    reader.close()
    eventually(lambda: group_states(admin, group)[0] == "Empty", "the group is empty")
    admin.reset_group_offsets(group, {place: OffsetSpec.EARLIEST})
    eq(admin.list_group_offsets({group: None})[group][place].offset, 8, "after the reset")
    admin.delete_group_offsets(group, [place])
    eq(admin.list_group_offsets({group: None})[group].get(place), None, "after the deletion")
    logs = admin.describe_log_dirs()
    check(topic in str(logs), "the topic's log is in the directories")
    admin.close()


@test(quick=False)
def static_and_sticky_members(t):
    if OLD:
        raise Skip("2.0.2 has no static members")
    from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

    topic, group = create(t, "static", partitions=4), t.name("g")
    for partition in range(4):
        fill(t, topic, 5, partition=partition)

    def member(instance):
        return consumer(t, topic, group_id=group, group_instance_id=instance, client_id=instance, session_timeout_ms=20_000,
                        partition_assignment_strategy=[CooperativeStickyAssignor])

    first, second = member("one"), member("two")
    records = []

    def settled():
        for reader in (first, second):
            for batch in reader.poll(100).values():
                records.extend(batch)
        return len(first.assignment()) == 2 and len(second.assignment()) == 2

    eventually(settled, "two partitions each", 20)
    held = second.assignment()
    for reader in (first, second):
        reader.commit()
    second.close(autocommit=False)
    second = member("two")
    eventually(lambda: settled() and second.assignment() == held, "the same partitions after a restart", 20)
    eq({(record.partition, record.offset) for record in records}, {(p, n) for p in range(4) for n in range(5)}, "records")
    first.close()
    second.close()


if __name__ == "__main__":
    main(f"kafka-python {kafka.__version__}")
