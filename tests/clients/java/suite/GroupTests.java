package suite;

import static suite.Suite.check;
import static suite.Suite.eq;
import static suite.Suite.eventually;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.errors.TimeoutException;

/** Members that join, leave and come back while records flow, and a node that is killed. */
final class GroupTests {
    private static final String ASSIGNORS = "org.apache.kafka.clients.consumer.";

    static void add(Suite suite) {
        suite.test("rebalance_under_load", one -> rebalance(one, "RangeAssignor"));
        suite.test("cooperative_sticky_under_load", one -> rebalance(one, "CooperativeStickyAssignor"));
        suite.test("static_member_comes_back", GroupTests::staticMember);
        suite.killTest("kill_leader_under_load", GroupTests::kill);
    }

    /** A consumer in a thread of its own, which commits what it has seen. */
    private static final class Member {
        final Map<Integer, String> seen = new ConcurrentHashMap<>();
        final List<String> wrong = Collections.synchronizedList(new ArrayList<>());
        volatile Set<Integer> assigned = Set.of();
        private volatile boolean stopping;
        private final Thread thread;

        Member(Suite suite, String topic, String... options) {
            KafkaConsumer<String, String> consumer = suite.consumer(options);
            consumer.subscribe(List.of(topic));
            thread = new Thread(() -> work(consumer));
            thread.setDaemon(true);
            thread.start();
        }

        private void work(KafkaConsumer<String, String> consumer) {
            try (consumer) {
                while (!stopping) {
                    for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(100))) {
                        String place = record.partition() + "/" + record.offset();
                        String before = seen.put(Integer.parseInt(record.value()), place);
                        if (before != null && !before.equals(place)) {
                            wrong.add(record.value() + " lies at " + before + " and at " + place);
                        }
                    }
                    assigned = new TreeSet<>(consumer.assignment().stream().map(TopicPartition::partition).toList());
                    try {
                        consumer.commitSync(Duration.ofSeconds(5));
                    } catch (CommitFailedException | RebalanceInProgressException | TimeoutException expected) {
                        // A rebalance or an election came between: the next owner reads again.
                    }
                }
            } catch (RuntimeException error) {
                wrong.add(error.toString());
            }
        }

        void stop() throws InterruptedException {
            stopping = true;
            thread.join(30_000);
        }
    }

    private static int seen(List<Member> members) {
        Set<Integer> all = new TreeSet<>();
        members.forEach(member -> all.addAll(member.seen.keySet()));
        return all.size();
    }

    private static String[] options(String group, String assignor) {
        return new String[] {"group.id", group, "partition.assignment.strategy", ASSIGNORS + assignor, "session.timeout.ms", "10000",
            "heartbeat.interval.ms", "500"};
    }

    private static void rebalance(Suite suite, String assignor) throws Exception {
        int total = suite.quick ? 2400 : 9000;
        String topic = suite.topic("rebalance", 6);
        String[] options = options(Suite.name("g"), assignor);
        List<Member> members = new ArrayList<>(List.of(new Member(suite, topic, options)));
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (KafkaProducer<String, String> producer = suite.producer()) {
            for (int n = 0; n < total; n++) {
                sent.add(producer.send(new ProducerRecord<>(topic, n % 6, null, String.valueOf(n))));
                if (n == total / 5 || n == total / 4) {
                    members.add(new Member(suite, topic, options));
                } else if (n == total / 2) {
                    members.get(0).stop();
                }
                if (n % 100 == 0) {
                    Thread.sleep(50);
                }
            }
        }
        finish(suite, topic, members, sent);
    }

    /** Everything comes, from where it was acknowledged; the log has each record once and in order. */
    private static void finish(Suite suite, String topic, List<Member> members, List<Future<RecordMetadata>> sent) throws Exception {
        for (int n = 0; n < sent.size(); n++) {
            eq(sent.get(n).get().partition() + "/" + sent.get(n).get().offset(), n % 6 + "/" + n / 6, "place of record " + n);
        }
        eventually("all records come", () -> seen(members) == sent.size());
        for (Member member : members) {
            member.stop();
            eq(member.wrong, List.of(), "what a member saw");
            member.seen.forEach((number, place) -> eq(place, number % 6 + "/" + number / 6, "place of record " + number));
        }
        try (KafkaConsumer<String, String> consumer = suite.consumer()) {
            for (int partition = 0; partition < 6; partition++) {
                TopicPartition place = new TopicPartition(topic, partition);
                int count = (sent.size() - partition + 5) / 6;
                eq(consumer.endOffsets(List.of(place)).get(place), (long) count, "the end of partition " + partition);
                consumer.assign(List.of(place));
                consumer.seekToBeginning(List.of(place));
                for (ConsumerRecord<String, String> record : Suite.take(consumer, count)) {
                    eq(record.value(), String.valueOf(record.offset() * 6 + partition), "record " + record.offset() + " of partition " + partition);
                }
            }
        }
    }

    private static void staticMember(Suite suite) throws Exception {
        String topic = suite.topic("static", 4);
        String group = Suite.name("g");
        String[] common = {"group.id", group, "session.timeout.ms", "20000", "heartbeat.interval.ms", "500", "group.instance.id"};
        Member one = new Member(suite, topic, with(common, "one"));
        Member two = new Member(suite, topic, with(common, "two"));
        eventually("two partitions each", () -> one.assigned.size() == 2 && two.assigned.size() == 2);
        Set<Integer> held = two.assigned;
        two.stop();
        Member again = new Member(suite, topic, with(common, "two"));
        eventually("the same partitions", () -> again.assigned.equals(held));
        eq(one.assigned.size(), 2, "partitions of the other");
        try (Admin admin = suite.admin()) {
            var described = admin.describeConsumerGroups(List.of(group)).all().get().get(group);
            Set<String> instances = new TreeSet<>(described.members().stream().map(member -> member.groupInstanceId().orElse("")).toList());
            eq(instances, Set.of("one", "two"), "static members");
        }
        one.stop();
        again.stop();
        eq(one.wrong, List.of(), "what the other saw");
    }

    private static String[] with(String[] common, String instance) {
        String[] all = java.util.Arrays.copyOf(common, common.length + 1);
        all[common.length] = instance;
        return all;
    }

    private static void kill(Suite suite) throws Exception {
        String topic = suite.topic("kill", 6);
        String[] options = options(Suite.name("g"), "CooperativeStickyAssignor");
        List<Member> members = new ArrayList<>();
        for (int n = 0; n < 3; n++) {
            members.add(new Member(suite, topic, options));
        }
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        long[] last = {0};
        long[] gap = {0};
        boolean killed = false;
        long began = System.nanoTime();
        try (KafkaProducer<String, String> producer = suite.producer()) {
            for (double seconds = 0; seconds < (suite.quick ? 7 : 25); seconds = (System.nanoTime() - began) / 1e9) {
                int n = sent.size();
                sent.add(producer.send(new ProducerRecord<>(topic, n % 6, null, String.valueOf(n)), (metadata, error) -> {
                    long now = System.nanoTime();
                    if (metadata.partition() == 0) {
                        gap[0] = last[0] == 0 ? 0 : Math.max(gap[0], now - last[0]);
                        last[0] = now;
                    }
                }));
                if (n % 20 == 0) {
                    Thread.sleep(10);
                }
                if (seconds > 2.5 && !killed) {
                    suite.kill(producer.partitionsFor(topic).stream().filter(one -> one.partition() == 0).findFirst().get().leader().id());
                    killed = true;
                }
            }
        }
        check(killed, "a node was killed");
        finish(suite, topic, members, sent);
        System.out.printf("note: the longest time without an acknowledgement was %.2f s%n", gap[0] / 1e9);
    }
}
