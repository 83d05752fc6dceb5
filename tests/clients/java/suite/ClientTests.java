package suite;

import static suite.Suite.check;
import static suite.Suite.eq;
import static suite.Suite.fails;
import static suite.Suite.offsets;
import static suite.Suite.range;
import static suite.Suite.take;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.utils.Utils;

/** Producers and consumers by themselves. */
final class ClientTests {
    static void add(Suite suite) {
        suite.test("producer_with_each_acks", ClientTests::acks);
        suite.test("keys_choose_partitions", ClientTests::keys);
        suite.test("compression", ClientTests::compression);
        suite.test("shapes", ClientTests::shapes);
        suite.test("idempotent_in_small_batches", ClientTests::idempotent);
        suite.test("positions", ClientTests::positions);
        suite.test("commits", ClientTests::commits);
        suite.test("out_of_range", ClientTests::outOfRange);
    }

    static void fill(Suite suite, String topic, int partition, int count) throws Exception {
        try (KafkaProducer<String, String> producer = suite.producer()) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (int n = 0; n < count; n++) {
                sent.add(producer.send(new ProducerRecord<>(topic, partition, 1_000_000L + n * 10, "k" + n, "v" + n)));
            }
            long first = sent.get(0).get().offset();
            for (int n = 0; n < count; n++) {
                eq(sent.get(n).get().offset(), first + n, "offset of record " + n);
            }
        }
    }

    private static void acks(Suite suite) throws Exception {
        for (String acks : List.of("0", "1", "all")) {
            String topic = suite.topic("acks", 1);
            String idempotent = String.valueOf(acks.equals("all"));
            try (KafkaProducer<String, String> producer = suite.producer("acks", acks, "enable.idempotence", idempotent)) {
                List<Future<RecordMetadata>> sent = new ArrayList<>();
                for (int n = 0; n < 500; n++) {
                    sent.add(producer.send(new ProducerRecord<>(topic, "v" + n)));
                }
                producer.flush();
                for (int n = 0; n < 500; n++) {
                    eq(sent.get(n).get().offset(), acks.equals("0") ? -1L : n, "offset with acks=" + acks);
                }
            }
            try (KafkaConsumer<String, String> consumer = suite.consumer("group.id", Suite.name("g"))) {
                consumer.subscribe(List.of(topic));
                List<ConsumerRecord<String, String>> records = take(consumer, 500);
                eq(offsets(records), range(0, 500), "offsets with acks=" + acks);
                for (int n = 0; n < 500; n++) {
                    eq(records.get(n).value(), "v" + n, "value");
                }
            }
        }
    }

    private static void keys(Suite suite) throws Exception {
        String topic = suite.topic("keys", 7);
        try (KafkaProducer<String, String> producer = suite.producer()) {
            for (int n = 0; n < 50; n++) {
                String key = "key-" + n;
                int wanted = Utils.toPositive(Utils.murmur2(key.getBytes())) % 7;
                eq(producer.send(new ProducerRecord<>(topic, key, "v")).get().partition(), wanted, "partition of " + key);
            }
        }
    }

    private static void compression(Suite suite) throws Exception {
        String topic = suite.topic("codecs", 1);
        List<String> expected = new ArrayList<>();
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            try (KafkaProducer<String, String> producer = suite.producer("compression.type", codec, "linger.ms", "20")) {
                for (int n = 0; n < 60; n++) {
                    expected.add(codec + n + "-".repeat(500));
                    producer.send(new ProducerRecord<>(topic, expected.get(expected.size() - 1)));
                }
            }
        }
        try (KafkaConsumer<String, String> consumer = suite.consumer()) {
            consumer.assign(List.of(new TopicPartition(topic, 0)));
            List<ConsumerRecord<String, String>> records = take(consumer, expected.size());
            eq(records.stream().map(ConsumerRecord::value).toList(), expected, "values");
            eq(offsets(records), range(0, expected.size()), "offsets");
        }
    }

    private static void shapes(Suite suite) throws Exception {
        String topic = suite.topic("shapes", 1, "max.message.bytes", "2097152");
        String large = "0123456789abcdef".repeat(1 << 16);
        try (KafkaProducer<String, String> producer = suite.producer("max.request.size", "4194304")) {
            ProducerRecord<String, String> first = new ProducerRecord<>(topic, 0, 1_234_567_890_123L, null, "v");
            first.headers().add("a", "1".getBytes()).add("a", null).add("b", new byte[0]);
            producer.send(first).get();
            producer.send(new ProducerRecord<>(topic, "gone", null)).get();
            producer.send(new ProducerRecord<>(topic, "", "")).get();
            eq(producer.send(new ProducerRecord<>(topic, large)).get().offset(), 3L, "the offset of 1 MiB");
            String usual = suite.topic("usual", 1);
            fails(RecordTooLargeException.class, () -> producer.send(new ProducerRecord<>(usual, large + large)).get(), "2 MiB");
            eq(producer.send(new ProducerRecord<>(usual, "goes on")).get().offset(), 0L, "the next record");
        }
        try (KafkaConsumer<String, String> consumer = suite.consumer()) {
            consumer.assign(List.of(new TopicPartition(topic, 0)));
            List<ConsumerRecord<String, String>> records = take(consumer, 4);
            Header[] headers = records.get(0).headers().toArray();
            eq(headers.length, 3, "headers");
            eq(new String(headers[0].value()) + headers[1].value() + headers[2].value().length, "1null0", "values of headers");
            eq(records.get(0).timestamp(), 1_234_567_890_123L, "the time");
            eq(records.get(0).timestampType(), TimestampType.CREATE_TIME, "its type");
            eq(records.get(0).key(), null, "no key");
            eq(records.get(0).leaderEpoch().isPresent(), true, "a leader epoch");
            eq(List.of(records.get(1).key(), String.valueOf(records.get(1).value())), List.of("gone", "null"), "the tombstone");
            eq(List.of(records.get(2).key(), records.get(2).value()), List.of("", ""), "the empty record");
            check(records.get(3).value().equals(large), "1 MiB comes back as it was");
        }
    }

    /** Many batches in flight: sequences follow each other although answers come later. */
    private static void idempotent(Suite suite) throws Exception {
        String topic = suite.topic("idempotent", 2);
        try (KafkaProducer<String, String> producer = suite.producer("batch.size", "300", "linger.ms", "0")) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (int n = 0; n < 4000; n++) {
                sent.add(producer.send(new ProducerRecord<>(topic, n % 2, null, "value " + n)));
            }
            for (int n = 0; n < 4000; n++) {
                eq(sent.get(n).get().offset(), n / 2L, "offset of record " + n);
            }
        }
    }

    private static void positions(Suite suite) throws Exception {
        String topic = suite.topic("positions", 2);
        TopicPartition zero = new TopicPartition(topic, 0);
        TopicPartition one = new TopicPartition(topic, 1);
        fill(suite, topic, 0, 40);
        try (KafkaConsumer<String, String> consumer = suite.consumer()) {
            consumer.assign(List.of(zero, one));
            eq(consumer.endOffsets(List.of(zero, one)), Map.of(zero, 40L, one, 0L), "ends");
            eq(consumer.beginningOffsets(List.of(zero)), Map.of(zero, 0L), "beginnings");
            var found = consumer.offsetsForTimes(Map.of(zero, 1_000_055L, one, 1L));
            eq(found.get(zero).offset() + "@" + found.get(zero).timestamp(), "6@1000060", "the first at or after a time");
            eq(found.get(one), null, "the time in an empty partition");
            eq(consumer.offsetsForTimes(Map.of(zero, 1_000_391L)).get(zero), null, "a time after all");
            consumer.seek(zero, 30);
            eq(offsets(take(consumer, 10)), range(30, 40), "after a seek");
            consumer.seekToEnd(List.of(zero));
            eq(consumer.position(zero), 40L, "the end");
            consumer.seekToBeginning(List.of(zero));
            consumer.pause(List.of(zero));
            eq(consumer.poll(Duration.ofMillis(300)).count(), 0, "while paused");
            consumer.resume(List.of(zero));
            eq(offsets(take(consumer, 40)), range(0, 40), "after the pause");
            eq(consumer.currentLag(zero).getAsLong(), 0L, "the lag");
            eq(consumer.partitionsFor(topic).size(), 2, "partitions");
            check(consumer.listTopics().containsKey(topic), "the topic is listed");
        }
    }

    private static void commits(Suite suite) throws Exception {
        String topic = suite.topic("commits", 1);
        String group = Suite.name("g");
        TopicPartition place = new TopicPartition(topic, 0);
        fill(suite, topic, 0, 30);
        try (KafkaConsumer<String, String> consumer = suite.consumer("group.id", group, "max.poll.records", "10")) {
            consumer.subscribe(List.of(topic));
            take(consumer, 10);
            consumer.commitSync();
            eq(consumer.committed(java.util.Set.of(place)).get(place).offset(), 10L, "committed");
            consumer.commitSync(Map.of(place, new OffsetAndMetadata(12, "note")));
            eq(consumer.committed(java.util.Set.of(place)).get(place).metadata(), "note", "the note");
        }
        try (KafkaConsumer<String, String> consumer = suite.consumer("group.id", group, "enable.auto.commit", "true")) {
            consumer.subscribe(List.of(topic));
            eq(offsets(take(consumer, 18)), range(12, 30), "where the group goes on");
        }
        try (KafkaConsumer<String, String> consumer = suite.consumer("group.id", group)) {
            eq(consumer.committed(java.util.Set.of(place)).get(place).offset(), 30L, "committed at the close");
        }
    }

    private static void outOfRange(Suite suite) throws Exception {
        String topic = suite.topic("range", 1);
        TopicPartition place = new TopicPartition(topic, 0);
        fill(suite, topic, 0, 5);
        try (KafkaConsumer<String, String> consumer = suite.consumer("auto.offset.reset", "none")) {
            consumer.assign(List.of(place));
            consumer.seek(place, 100);
            OffsetOutOfRangeException error = fails(OffsetOutOfRangeException.class, () -> {
                for (int n = 0; n < 30; n++) {
                    consumer.poll(Duration.ofMillis(200));
                }
                return null;
            }, "reading beyond the end");
            eq(error.offsetOutOfRangePartitions(), Map.of(place, 100L), "what is out of range");
        }
    }
}
