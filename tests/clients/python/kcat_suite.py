"""kcat, Debian's, with the librdkafka that it brings: what people type to look into a topic."""

import json
import os
import subprocess
import time

from harness import check, eq, eventually, main, test

KCAT = os.environ.get("KCAT", "kcat")


def kcat(t, *arguments, stdin="", seconds=25):
    done = subprocess.run([KCAT, "-b", t.bootstrap, "-X", "topic.metadata.refresh.interval.ms=1000", *arguments], input=stdin.encode(),
                          capture_output=True, timeout=seconds)
    check(done.returncode == 0, f"kcat {' '.join(arguments)} ended with {done.returncode}: {done.stderr.decode()[-400:]}")
    return done.stdout.decode()


def create(t, what):
    """kcat has no admin commands: asking about a topic makes it, with the broker's default of partitions."""
    name = t.name(what)
    kcat(t, "-P", "-t", name, stdin="")

    def led():
        (topic,) = json.loads(kcat(t, "-L", "-J", "-t", name))["topics"]
        return topic["partitions"] and all(partition["leader"] >= 0 for partition in topic["partitions"])

    eventually(led, f"{name} was made by asking")
    return name


@test()
def lists(t):
    name = create(t, "lists")
    found = json.loads(kcat(t, "-L", "-J"))
    eq(len(found["brokers"]), len(t.servers), "brokers")
    eq({broker["name"] for broker in found["brokers"]}, set(t.servers), "their addresses")
    check(found["controllerid"] in {broker["id"] for broker in found["brokers"]}, "the controller is one of them")
    (topic,) = [topic for topic in found["topics"] if topic["topic"] == name]
    check(all(len(partition["replicas"]) == t.replicas and len(partition["isrs"]) >= 1 for partition in topic["partitions"]), f"replicas: {topic}")


@test()
def produces_and_consumes(t):
    name = create(t, "lines")
    kcat(t, "-P", "-t", name, "-p", "0", "-K:", "-X", "acks=all", stdin="".join(f"k{n}:v{n}\n" for n in range(500)))
    found = kcat(t, "-C", "-t", name, "-p", "0", "-o", "beginning", "-e", "-q", "-f", "%o %k %s\n").splitlines()
    eq(found, [f"{n} k{n} v{n}" for n in range(500)], "all records")
    tail = kcat(t, "-C", "-t", name, "-p", "0", "-o", "-3", "-e", "-q", "-f", "%o\n").split()
    eq(tail, ["497", "498", "499"], "the last three")
    middle = kcat(t, "-C", "-t", name, "-p", "0", "-o", "250", "-c", "2", "-q", "-f", "%s\n").split()
    eq(middle, ["v250", "v251"], "from 250 on")


@test()
def each_acks(t):
    for acks in ("0", "1", "all"):
        name = create(t, "acks")
        kcat(t, "-P", "-t", name, "-p", "0", "-X", f"acks={acks}", stdin="a\nb\nc\n")

        def read():
            return kcat(t, "-C", "-t", name, "-p", "0", "-o", "beginning", "-e", "-q").split()  # noqa: B023

        eventually(lambda: read() == ["a", "b", "c"], f"records with acks={acks}", 10)  # noqa: B023


@test()
def compression(t):
    name, lines = create(t, "codecs"), []
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        sent = [f"{codec}-{n}-{'w' * 400}" for n in range(50)]
        kcat(t, "-P", "-t", name, "-p", "0", "-z", codec, stdin="\n".join(sent) + "\n")
        lines += sent
    found = kcat(t, "-C", "-t", name, "-p", "0", "-o", "beginning", "-e", "-q", "-X", "check.crcs=true", "-f", "%o %s\n").splitlines()
    eq(found, [f"{n} {line}" for n, line in enumerate(lines)], "records")


@test()
def headers_and_nulls(t):
    name = create(t, "shapes")
    kcat(t, "-P", "-t", name, "-p", "0", "-H", "a=1", "-H", "a=2", "-k", "key", stdin="value\n")
    kcat(t, "-P", "-t", name, "-p", "0", "-Z", "-K:", stdin="gone:\n:keyless\n")
    found = [json.loads(line) for line in kcat(t, "-C", "-t", name, "-p", "0", "-o", "beginning", "-e", "-q", "-J").splitlines()]
    first, tombstone, keyless = found
    eq((first["headers"], first["key"], first["payload"]), (["a", "1", "a", "2"], "key", "value"), "headers")
    check(abs(first["ts"] - time.time() * 1000) < 60_000, f"the time: {first['ts']}")
    eq((tombstone["key"], tombstone["payload"]), ("gone", None), "the tombstone")
    eq((keyless["key"], keyless["payload"]), (None, "keyless"), "the record without a key")


@test()
def idempotent(t):
    name = create(t, "idempotent")
    kcat(t, "-P", "-t", name, "-p", "0", "-X", "enable.idempotence=true", "-X", "batch.num.messages=20", stdin="".join(f"{n}\n" for n in range(2000)))
    found = kcat(t, "-C", "-t", name, "-p", "0", "-o", "beginning", "-e", "-q", "-f", "%o %s\n").splitlines()
    eq(found, [f"{n} {n}" for n in range(2000)], "records")


@test()
def offsets_by_time(t):
    name = create(t, "times")
    kcat(t, "-P", "-t", name, "-p", "0", stdin="before\n")
    time.sleep(0.05)
    moment = int(time.time() * 1000)
    time.sleep(0.05)
    kcat(t, "-P", "-t", name, "-p", "0", stdin="after\n")
    check("offset 1" in kcat(t, "-Q", "-t", f"{name}:0:{moment}"), "the offset of a moment")
    eq(kcat(t, "-C", "-t", name, "-p", "0", "-o", f"s@{moment}", "-e", "-q").split(), ["after"], "records from a moment on")


@test()
def group(t):
    name, own = create(t, "group"), t.name("g")
    kcat(t, "-P", "-t", name, stdin="".join(f"{n}\n" for n in range(50)))
    first = kcat(t, "-X", "auto.offset.reset=earliest", "-G", own, name, "-c", "50", "-q").split()
    eq(sorted(map(int, first)), list(range(50)), "records of the group")
    kcat(t, "-P", "-t", name, stdin="more\n")
    second = kcat(t, "-X", "auto.offset.reset=earliest", "-G", own, name, "-c", "1", "-q").split()
    eq(second, ["more"], "where the group went on")


@test()
def one_mebibyte(t):
    """Just below the largest that a broker takes by default."""
    name, line = create(t, "large"), "m" * (1_048_576 - 200)
    kcat(t, "-P", "-t", name, "-p", "0", "-X", "message.max.bytes=2000000", stdin=line + "\n" + line + "\n")
    found = kcat(t, "-C", "-t", name, "-p", "0", "-o", "beginning", "-e", "-q").splitlines()
    check(found == [line, line], f"records of {[len(text) for text in found]} bytes")


if __name__ == "__main__":
    main("kcat")
