package suite;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.Socket;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Properties;
import java.util.UUID;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Runs the tests of the Java client and of the console tools, one after the other in this process, and prints a line for each. */
public final class Suite {
    @FunctionalInterface
    interface Test {
        void run(Suite suite) throws Exception;
    }

    record Entry(Test test, boolean quick, int seconds, boolean kills) {}

    final String bootstrap;
    final boolean quick;
    final String control;
    final short replicas = 3;
    private final Map<String, Entry> tests = new LinkedHashMap<>();

    private Suite(Map<String, String> options) {
        bootstrap = Objects.requireNonNull(options.get("--bootstrap"), "--bootstrap");
        quick = options.containsKey("--quick");
        control = options.get("--control");
    }

    void test(String name, Test test) {
        tests.put(name, new Entry(test, true, 40, false));
    }

    void longTest(String name, Test test) {
        tests.put(name, new Entry(test, false, 90, false));
    }

    void killTest(String name, Test test) {
        tests.put(name, new Entry(test, true, 120, true));
    }

    public static void main(String[] arguments) throws Exception {
        Map<String, String> options = new LinkedHashMap<>();
        for (int at = 0; at < arguments.length; at++) {
            boolean flag = arguments[at].equals("--quick") || arguments[at].equals("--kills");
            options.put(arguments[at], flag ? "" : arguments[++at]);
        }
        Suite suite = new Suite(options);
        ClientTests.add(suite);
        GroupTests.add(suite);
        AdminTests.add(suite);
        ToolTests.add(suite);
        suite.all(options.containsKey("--kills"), options.getOrDefault("--only", ""));
    }

    private void all(boolean kills, String only) throws Exception {
        PrintStream out = System.out;
        int passed = 0;
        int failed = 0;
        for (Map.Entry<String, Entry> named : tests.entrySet()) {
            Entry entry = named.getValue();
            if ((quick && !entry.quick) || entry.kills != kills || !named.getKey().contains(only)) {
                continue;
            }
            long began = System.nanoTime();
            Throwable wrong = limited(entry);
            String time = String.format("(%.2f s)", (System.nanoTime() - began) / 1e9);
            if (wrong == null) {
                passed++;
                out.println("ok " + named.getKey() + " " + time);
            } else {
                failed++;
                Throwable cause = wrong instanceof ExecutionException && wrong.getCause() != null ? wrong.getCause() : wrong;
                out.println("FAILED " + named.getKey() + " " + time + ": " + cause.toString().replace('\n', ' ') + place(wrong));
            }
            out.flush();
        }
        out.println(passed + " passed, " + failed + " failed");
        out.flush();
        // Not a return: a client that a failed test left behind must not hold the process.
        Runtime.getRuntime().halt(failed > 0 || passed == 0 ? 1 : 0);
    }

    private Throwable limited(Entry entry) throws InterruptedException {
        Throwable[] wrong = {null};
        Thread thread = new Thread(() -> {
            try {
                entry.test.run(this);
            } catch (Throwable error) {
                wrong[0] = error;
            }
        });
        thread.setDaemon(true);
        thread.start();
        thread.join(entry.seconds * 1000L);
        if (thread.isAlive()) {
            AssertionError late = new AssertionError("not done after " + entry.seconds + " s");
            late.setStackTrace(thread.getStackTrace());
            thread.interrupt();
            return late;
        }
        return wrong[0];
    }

    private static String place(Throwable error) {
        for (StackTraceElement frame : error.getStackTrace()) {
            if (frame.getClassName().startsWith("suite.") && !frame.getClassName().startsWith("suite.Suite")) {
                return " (" + frame.getFileName() + ":" + frame.getLineNumber() + ")";
            }
        }
        return "";
    }

    // What tests are made of.

    static String name(String what) {
        return what + "-" + UUID.randomUUID().toString().substring(0, 10);
    }

    static void eq(Object found, Object wanted, String what) {
        if (!Objects.equals(found, wanted)) {
            String text = String.valueOf(found);
            throw new AssertionError(what + ": " + text.substring(0, Math.min(400, text.length())) + " instead of " + wanted);
        }
    }

    static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }

    /** Repeats a question until its answer is yes. An error is not an answer: a broker may hear of a new topic a moment late. */
    static void eventually(String what, Callable<Boolean> condition) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
        while (true) {
            Exception last = null;
            try {
                if (condition.call()) {
                    return;
                }
            } catch (ExecutionException error) {
                last = error;
            }
            check(System.nanoTime() < deadline, "did not happen in 20 s: " + what + (last == null ? "" : " (" + last + ")"));
            Thread.sleep(50);
        }
    }

    /** The error that an action must fail with, as cause of an ExecutionException or by itself. */
    static <E extends Throwable> E fails(Class<E> kind, Callable<?> action, String what) {
        try {
            action.call();
        } catch (Throwable error) {
            Throwable cause = error instanceof ExecutionException ? error.getCause() : error;
            check(kind.isInstance(cause), what + ": " + cause);
            return kind.cast(cause);
        }
        throw new AssertionError(what + ": no error");
    }

    void kill(int node) throws Exception {
        String[] address = control.split(":");
        try (Socket socket = new Socket(address[0], Integer.parseInt(address[1]))) {
            socket.getOutputStream().write(("kill " + node + "\n").getBytes());
            String answer = new BufferedReader(new InputStreamReader(socket.getInputStream())).readLine();
            eq(answer, "ok", "the kill");
        }
    }

    private Properties properties(String... options) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        for (int at = 0; at < options.length; at += 2) {
            properties.put(options[at], options[at + 1]);
        }
        return properties;
    }

    KafkaProducer<String, String> producer(String... options) {
        return new KafkaProducer<>(properties(options), new StringSerializer(), new StringSerializer());
    }

    KafkaConsumer<String, String> consumer(String... options) {
        Properties properties = properties("auto.offset.reset", "earliest", "enable.auto.commit", "false");
        properties.putAll(properties(options));
        return new KafkaConsumer<>(properties, new StringDeserializer(), new StringDeserializer());
    }

    Admin admin() {
        return Admin.create(properties());
    }

    String topic(String what, int partitions, String... configs) throws Exception {
        String name = name(what);
        Map<String, String> settings = new LinkedHashMap<>();
        for (int at = 0; at < configs.length; at += 2) {
            settings.put(configs[at], configs[at + 1]);
        }
        try (Admin admin = admin()) {
            admin.createTopics(List.of(new NewTopic(name, partitions, replicas).configs(settings))).all().get();
            eventually("leaders of " + name, () -> {
                var described = admin.describeTopics(List.of(name)).allTopicNames().get().get(name);
                return described.partitions().size() == partitions && described.partitions().stream().allMatch(one -> one.leader() != null);
            });
        }
        return name;
    }

    static List<ConsumerRecord<String, String>> take(KafkaConsumer<String, String> consumer, int count) {
        List<ConsumerRecord<String, String>> records = new ArrayList<>();
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
        while (records.size() < count && System.nanoTime() < deadline) {
            consumer.poll(Duration.ofMillis(200)).forEach(records::add);
        }
        eq(records.size(), count, "records read");
        return records;
    }

    static List<Long> offsets(List<ConsumerRecord<String, String>> records) {
        return records.stream().map(ConsumerRecord::offset).toList();
    }

    static List<Long> range(long from, long to) {
        return java.util.stream.LongStream.range(from, to).boxed().toList();
    }
}
