import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.Socket;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** What the console tools do not measure. Each command prints one line of NAME=VALUE; the program knows nothing of who serves it. */
public final class Bench {
    private final String bootstrap;
    private final String topic;

    private Bench(String bootstrap, String topic) {
        this.bootstrap = bootstrap;
        this.topic = topic;
    }

    public static void main(String[] arguments) throws Exception {
        Bench bench = new Bench(arguments[1], arguments[2]);
        String[] rest = Arrays.copyOfRange(arguments, 3, arguments.length);
        switch (arguments[0]) {
            case "create" -> bench.create(Integer.parseInt(rest[0]));
            case "single" -> bench.single(Double.parseDouble(rest[0]), Integer.parseInt(rest[1]));
            case "fixed" -> bench.fixed(Double.parseDouble(rest[0]), Integer.parseInt(rest[1]), Integer.parseInt(rest[2]));
            case "kill" -> bench.kill(rest[0], Double.parseDouble(rest[1]));
            case "group" -> bench.group(rest[0], Integer.parseInt(rest[1]));
            default -> throw new IllegalArgumentException(arguments[0]);
        }
        System.out.flush();
        // Clients that wait for a dead broker need not be waited for.
        Runtime.getRuntime().halt(0);
    }

    private Properties properties(String... more) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        for (int at = 0; at < more.length; at += 2) {
            properties.put(more[at], more[at + 1]);
        }
        return properties;
    }

    private KafkaProducer<byte[], byte[]> producer(String... more) {
        return new KafkaProducer<>(properties(more), new ByteArraySerializer(), new ByteArraySerializer());
    }

    /** Makes the topic with three replicas, unless it is there, and waits for its leaders. */
    private void create(int partitions) throws Exception {
        try (Admin admin = Admin.create(properties())) {
            if (!admin.listTopics().names().get().contains(topic)) {
                admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 3))).all().get();
            }
            long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(30);
            while (System.nanoTime() < deadline) {
                try {
                    var found = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions();
                    if (found.size() == partitions && found.stream().allMatch(one -> one.leader() != null)) {
                        return;
                    }
                } catch (java.util.concurrent.ExecutionException notYet) {
                    // A broker may hear of a new topic a moment late.
                }
                Thread.sleep(50);
            }
            throw new IllegalStateException(topic + " has no leaders");
        }
    }

    private static String percentiles(long[] nanos, int count) {
        Arrays.sort(nanos, 0, count);
        return String.format("p50_ms=%.3f p99_ms=%.3f max_ms=%.3f count=%d", at(nanos, count, 0.5), at(nanos, count, 0.99), nanos[count - 1] / 1e6, count);
    }

    private static double at(long[] nanos, int count, double part) {
        return nanos[(int) Math.min(count - 1, Math.ceil(part * count) - 1)] / 1e6;
    }

    /** One record at a time, its answer awaited before the next. The first quarter of the time warms this program up. */
    private void single(double seconds, int bytes) throws Exception {
        long[] nanos = new long[1 << 20];
        int count = 0;
        byte[] value = new byte[bytes];
        try (KafkaProducer<byte[], byte[]> producer = producer("acks", "all", "linger.ms", "0")) {
            long began = System.nanoTime();
            long warm = began + (long) (seconds * 0.25e9);
            for (long now = began; now < began + seconds * 1e9 && count < nanos.length; ) {
                producer.send(new ProducerRecord<>(topic, value)).get();
                long after = System.nanoTime();
                if (now >= warm) {
                    nanos[count++] = after - now;
                }
                now = after;
            }
        }
        System.out.println(percentiles(nanos, count));
    }

    /** A fixed rate. A record's time counts from when it was due, so that a stall counts for all that it held up. */
    private void fixed(double seconds, int bytes, int rate) throws Exception {
        int total = (int) (seconds * rate);
        int first = total / 4;
        long[] nanos = new long[total];
        byte[] value = new byte[bytes];
        CountDownLatch answered = new CountDownLatch(total);
        int[] refused = {0};
        try (KafkaProducer<byte[], byte[]> producer = producer("acks", "all", "linger.ms", "0")) {
            producer.partitionsFor(topic);
            long began = System.nanoTime();
            for (int n = 0; n < total; n++) {
                long due = began + (long) (n * 1e9 / rate);
                for (long now = System.nanoTime(); now < due; now = System.nanoTime()) {
                    java.util.concurrent.locks.LockSupport.parkNanos(due - now);
                }
                int number = n;
                producer.send(new ProducerRecord<>(topic, value), (metadata, error) -> {
                    nanos[number] = System.nanoTime() - due;
                    refused[0] += error == null ? 0 : 1;
                    answered.countDown();
                });
            }
            if (!answered.await(60, TimeUnit.SECONDS)) {
                throw new IllegalStateException(answered.getCount() + " records have no answer");
            }
        }
        long[] counted = Arrays.copyOfRange(nanos, first, total);
        System.out.println(percentiles(counted, counted.length) + " refused=" + refused[0]);
    }

    private void killNode(String control, int node) throws Exception {
        String[] address = control.split(":");
        try (Socket socket = new Socket(address[0], Integer.parseInt(address[1]))) {
            socket.getOutputStream().write(("kill " + node + "\n").getBytes());
            String answer = new BufferedReader(new InputStreamReader(socket.getInputStream())).readLine();
            if (!"ok".equals(answer)) {
                throw new IllegalStateException("not killed: " + answer);
            }
        }
    }

    /** The longest time between two acknowledgements, with a producer that has no setting but its address. */
    private void kill(String control, double seconds) throws Exception {
        long[] last = {0};
        long[] gap = {0};
        int[] count = {0};
        int[] refused = {0};
        try (KafkaProducer<byte[], byte[]> producer = producer()) {
            boolean killed = false;
            long began = System.nanoTime();
            for (long now = began; now < began + seconds * 1e9; now = System.nanoTime()) {
                producer.send(new ProducerRecord<>(topic, new byte[100]), (metadata, error) -> {
                    long time = System.nanoTime();
                    refused[0] += error == null ? 0 : 1;
                    if (error == null) {
                        count[0]++;
                        gap[0] = last[0] == 0 ? 0 : Math.max(gap[0], time - last[0]);
                        last[0] = time;
                    }
                });
                if (!killed && now > began + 3e9) {
                    killNode(control, producer.partitionsFor(topic).get(0).leader().id());
                    killed = true;
                }
                Thread.sleep(5);
            }
        }
        System.out.printf("gap_ms=%.1f acknowledged=%d refused=%d%n", gap[0] / 1e6, count[0], refused[0]);
    }

    /** Members of a group, a partition for each: how long until each has its own, and until each commits again after a kill. */
    private void group(String control, int members) throws Exception {
        String group = "bench-" + System.nanoTime();
        long[] committed = new long[members];
        ConcurrentHashMap<Integer, Set<TopicPartition>> assigned = new ConcurrentHashMap<>();
        ConcurrentLinkedQueue<String> wrong = new ConcurrentLinkedQueue<>();
        List<Thread> threads = new ArrayList<>();
        long began = System.nanoTime();
        for (int n = 0; n < members; n++) {
            int member = n;
            Thread thread = new Thread(() -> work(group, member, assigned, committed, wrong));
            thread.setDaemon(true);
            thread.start();
            threads.add(thread);
        }
        double stable = until(began, 60, () -> assigned.size() == members && assigned.values().stream().allMatch(one -> one.size() == 1)
            && assigned.values().stream().distinct().count() == members);
        Thread.sleep(2000);
        int coordinator;
        try (Admin admin = Admin.create(properties())) {
            coordinator = admin.describeConsumerGroups(List.of(group)).all().get().get(group).coordinator().id();
        }
        long killed = System.nanoTime();
        killNode(control, coordinator);
        double again = until(killed, 60, () -> Arrays.stream(committed).allMatch(time -> time > killed + 20_000_000));
        System.out.printf("stable_s=%.2f after_kill_s=%.2f errors=%d%n", stable, again, wrong.size());
        wrong.stream().limit(3).forEach(System.err::println);
    }

    private static double until(long from, int seconds, java.util.function.BooleanSupplier condition) throws InterruptedException {
        while (!condition.getAsBoolean()) {
            if (System.nanoTime() > from + seconds * 1_000_000_000L) {
                return Double.NaN;
            }
            Thread.sleep(5);
        }
        return (System.nanoTime() - from) / 1e9;
    }

    private void work(String group, int member, Map<Integer, Set<TopicPartition>> assigned, long[] committed, ConcurrentLinkedQueue<String> wrong) {
        Properties settings = properties("group.id", group, "auto.offset.reset", "earliest", "enable.auto.commit", "false");
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of(topic));
            while (true) {
                consumer.poll(Duration.ofMillis(100));
                assigned.put(member, Set.copyOf(consumer.assignment()));
                for (TopicPartition place : consumer.assignment()) {
                    long sent = System.nanoTime();
                    try {
                        var offset = new org.apache.kafka.clients.consumer.OffsetAndMetadata(consumer.position(place));
                        consumer.commitSync(Map.of(place, offset), Duration.ofSeconds(5));
                        // The time of the request: an answer may have been on its way when the node died.
                        committed[member] = sent;
                    } catch (RuntimeException error) {
                        wrong.add(error.toString());
                    }
                }
            }
        }
    }
}
