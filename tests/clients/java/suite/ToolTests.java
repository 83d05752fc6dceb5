package suite;

import static suite.Suite.check;
import static suite.Suite.eq;
import static suite.Suite.eventually;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.kafka.common.utils.Exit;

/** The console tools, called as their scripts call them, in this process: starting a JVM for each would take most of the time. */
final class ToolTests {
    private static final String TOOLS = "org.apache.kafka.tools.";

    static void add(Suite suite) {
        suite.test("kafka_topics", ToolTests::topics);
        suite.test("kafka_console_producer_and_consumer", ToolTests::console);
        suite.test("kafka_consumer_groups", ToolTests::groups);
        suite.test("kafka_configs", ToolTests::configs);
        suite.test("kafka_get_offsets", ToolTests::getOffsets);
        suite.test("kafka_verifiable_producer_and_consumer", ToolTests::verifiable);
        suite.test("kafka_perf_tests", ToolTests::perf);
        suite.test("kafka_log_dirs", ToolTests::logDirs);
        suite.test("kafka_leader_election", ToolTests::leaderElection);
        suite.test("kafka_reassign_partitions_list", ToolTests::reassignments);
        suite.test("kafka_broker_api_versions", ToolTests::apiVersions);
        suite.test("kafka_delete_records", ToolTests::deleteRecords);
    }

    /** What a tool printed, on both of its outputs, and how it ended. */
    private record Ended(int status, String text) {
        Ended ok() {
            check(status == 0, "the tool ended with " + status + ": " + text);
            return this;
        }

        String find(String pattern) {
            Matcher matcher = Pattern.compile(pattern, Pattern.MULTILINE).matcher(text);
            check(matcher.find(), "no " + pattern + " in: " + text);
            return matcher.group(matcher.groupCount() == 0 ? 0 : 1);
        }
    }

    private static final class Exited extends RuntimeException {}

    private static Ended run(String tool, String input, Object... arguments) throws Exception {
        int[] status = {0};
        boolean[] ended = {false};
        Exit.Procedure exit = (code, message) -> {
            // Some tools catch what this throws, and end again: the first code stands.
            if (!ended[0]) {
                ended[0] = true;
                status[0] = code;
            }
            throw new Exited();
        };
        Exit.setExitProcedure(exit);
        Exit.setHaltProcedure(exit);
        Exit.setShutdownHookAdder((name, hook) -> {});
        PrintStream out = System.out;
        PrintStream err = System.err;
        InputStream in = System.in;
        ByteArrayOutputStream printed = new ByteArrayOutputStream();
        PrintStream both = new PrintStream(printed, true);
        System.setOut(both);
        System.setErr(both);
        System.setIn(new ByteArrayInputStream(input.getBytes()));
        try {
            scala(both, () -> Class.forName(tool).getMethod("main", String[].class).invoke(null, (Object) strings(arguments)));
        } catch (InvocationTargetException error) {
            if (!(error.getCause() instanceof Exited)) {
                throw new AssertionError(tool + " failed: " + error.getCause() + "; printed " + printed);
            }
        } finally {
            System.setOut(out);
            System.setErr(err);
            System.setIn(in);
        }
        return new Ended(status[0], printed.toString());
    }

    /** A process of its own, for a tool that ends its work in what runs when the process ends. */
    private static Ended process(String tool, Object... arguments) throws Exception {
        List<String> command = new ArrayList<>(List.of("java", "-XX:TieredStopAtLevel=1", "-cp", System.getProperty("java.class.path"), tool));
        command.addAll(List.of(strings(arguments)));
        Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
        process.getOutputStream().close();
        String text = new String(process.getInputStream().readAllBytes());
        return new Ended(process.waitFor(), text);
    }

    /** kafka-configs is Scala, whose own console does not follow System.setOut. */
    private static void scala(PrintStream out, java.util.concurrent.Callable<Object> action) throws Exception {
        Exception[] error = {null};
        scala.Console.withOut(out, () -> {
            try {
                return action.call();
            } catch (Exception failed) {
                error[0] = failed;
                return null;
            }
        });
        if (error[0] != null) {
            throw error[0];
        }
    }

    private static String[] strings(Object... arguments) {
        List<String> all = new ArrayList<>();
        for (Object argument : arguments) {
            all.add(String.valueOf(argument));
        }
        return all.toArray(new String[0]);
    }

    private static Ended topicsTool(Suite suite, Object... arguments) throws Exception {
        List<Object> all = new ArrayList<>(List.of("--bootstrap-server", suite.bootstrap));
        all.addAll(List.of(arguments));
        return run(TOOLS + "TopicCommand", "", all.toArray());
    }

    private static void topics(Suite suite) throws Exception {
        String name = Suite.name("tool");
        topicsTool(suite, "--create", "--topic", name, "--partitions", 10, "--replication-factor", suite.replicas, "--config",
            "compression.type=gzip").ok().find("Created topic " + name);
        eventually("the topic is listed", () -> topicsTool(suite, "--list").ok().text.lines().anyMatch(name::equals));
        Ended described = topicsTool(suite, "--describe", "--topic", name).ok();
        eq(described.find("PartitionCount: (\\d+)"), "10", "partitions");
        described.find("Configs: .*compression.type=gzip");
        eq(described.text.lines().filter(line -> line.contains("Partition: ") && line.matches(".*Leader: \\d.*")).count(), 10L, "leaders");
        check(topicsTool(suite, "--create", "--topic", name).status != 0, "the same topic again is refused");
        topicsTool(suite, "--alter", "--topic", name, "--partitions", 12).ok();
        eventually("twelve partitions", () -> topicsTool(suite, "--describe", "--topic", name).text.contains("PartitionCount: 12"));
        topicsTool(suite, "--delete", "--topic", name).ok();
        eventually("the topic is gone", () -> topicsTool(suite, "--list").ok().text.lines().noneMatch(name::equals));
    }

    private static void console(Suite suite) throws Exception {
        String name = suite.topic("console", 1);
        run(TOOLS + "ConsoleProducer", "k1:one\nk2:two\nk1:three\n", "--bootstrap-server", suite.bootstrap, "--topic", name, "--reader-property",
            "parse.key=true", "--reader-property", "key.separator=:").ok();
        Ended read = run(TOOLS + "consumer.ConsoleConsumer", "", "--bootstrap-server", suite.bootstrap, "--topic", name, "--from-beginning",
            "--max-messages", 3, "--timeout-ms", 15000, "--formatter-property", "print.key=true", "--formatter-property", "print.offset=true").ok();
        List<String> lines = read.text.lines().filter(line -> line.startsWith("Offset:")).toList();
        eq(lines, List.of("Offset:0\tk1\tone", "Offset:1\tk2\ttwo", "Offset:2\tk1\tthree"), "what was read");
    }

    private static void groups(Suite suite) throws Exception {
        String name = suite.topic("groups", 1);
        String group = Suite.name("g");
        ClientTests.fill(suite, name, 0, 20);
        run(TOOLS + "consumer.ConsoleConsumer", "", "--bootstrap-server", suite.bootstrap, "--topic", name, "--group", group, "--from-beginning",
            "--max-messages", 20, "--timeout-ms", 15000).ok();
        String tool = TOOLS + "consumer.group.ConsumerGroupCommand";
        eventually("the group is listed", () -> run(tool, "", "--bootstrap-server", suite.bootstrap, "--list").ok().text.lines().anyMatch(group::equals));
        Ended described = run(tool, "", "--bootstrap-server", suite.bootstrap, "--describe", "--group", group).ok();
        described.find(group + "\\s+" + name + "\\s+0\\s+20\\s+20\\s+0\\s");
        run(tool, "", "--bootstrap-server", suite.bootstrap, "--describe", "--group", group, "--state").ok().find("Empty");
        run(tool, "", "--bootstrap-server", suite.bootstrap, "--reset-offsets", "--group", group, "--topic", name, "--to-offset", 5, "--execute").ok()
            .find(group + "\\s+" + name + "\\s+0\\s+5");
        run(tool, "", "--bootstrap-server", suite.bootstrap, "--describe", "--group", group).ok()
            .find(group + "\\s+" + name + "\\s+0\\s+5\\s+20\\s+15\\s");
        run(tool, "", "--bootstrap-server", suite.bootstrap, "--reset-offsets", "--group", group, "--topic", name, "--to-earliest", "--execute").ok();
        Ended read = run(TOOLS + "consumer.ConsoleConsumer", "", "--bootstrap-server", suite.bootstrap, "--topic", name, "--group", group,
            "--max-messages", 1, "--timeout-ms", 15000).ok();
        read.find("^v0$");
        eventually("the group can be deleted",
            () -> run(tool, "", "--bootstrap-server", suite.bootstrap, "--delete", "--group", group).text.contains("successful"));
        eventually("the group is gone", () -> run(tool, "", "--bootstrap-server", suite.bootstrap, "--list").ok().text.lines().noneMatch(group::equals));
    }

    private static void configs(Suite suite) throws Exception {
        String name = suite.topic("configs", 1);
        Object[] common = {"--bootstrap-server", suite.bootstrap, "--entity-type", "topics", "--entity-name", name};
        String tool = "kafka.admin.ConfigCommand";
        run(tool, "", with(common, "--alter", "--add-config", "max.message.bytes=222222,compression.type=lz4")).ok().find("Completed updating config");
        eventually("the settings", () -> {
            String text = run(tool, "", with(common, "--describe")).ok().text;
            return text.contains("max.message.bytes=222222") && text.contains("compression.type=lz4");
        });
        run(tool, "", with(common, "--alter", "--delete-config", "compression.type")).ok();
        eventually("one setting is gone", () -> !run(tool, "", with(common, "--describe")).ok().text.contains("compression.type=lz4"));
        run(tool, "", with(common, "--describe", "--all")).ok().find("cleanup.policy=delete");
        Ended broker = run(tool, "", "--bootstrap-server", suite.bootstrap, "--entity-type", "brokers", "--entity-name", 1, "--describe", "--all");
        broker.ok().find("configs for broker 1");
    }

    private static Object[] with(Object[] common, Object... more) {
        List<Object> all = new ArrayList<>(List.of(common));
        all.addAll(List.of(more));
        return all.toArray();
    }

    private static void getOffsets(Suite suite) throws Exception {
        String name = suite.topic("offsets", 2);
        ClientTests.fill(suite, name, 1, 20);
        String tool = TOOLS + "GetOffsetShell";
        Object[] common = {"--bootstrap-server", suite.bootstrap, "--topic", name, "--time"};
        eq(run(tool, "", with(common, "latest")).ok().text.trim().lines().toList(), List.of(name + ":0:0", name + ":1:20"), "latest");
        eq(run(tool, "", with(common, "earliest")).ok().text.trim().lines().toList(), List.of(name + ":0:0", name + ":1:0"), "earliest");
        run(tool, "", with(common, "max-timestamp")).ok().find("^" + name + ":1:19$");
        run(tool, "", with(common, "1000105")).ok().find("^" + name + ":1:11$");
    }

    private static void verifiable(Suite suite) throws Exception {
        String name = suite.topic("verifiable", 1);
        Ended sent = process(TOOLS + "VerifiableProducer", "--bootstrap-server", suite.bootstrap, "--topic", name, "--max-messages", 200).ok();
        eq(sent.text.lines().filter(line -> line.contains("producer_send_success")).count(), 200L, "acknowledged records");
        sent.find("\"acked\":200");
        Ended read = run(TOOLS + "VerifiableConsumer", "", "--bootstrap-server", suite.bootstrap, "--topic", name, "--group-id", Suite.name("g"),
            "--max-messages", 200, "--reset-policy", "earliest", "--verbose");
        eq(read.text.lines().filter(line -> line.contains("\"record_data\"")).count(), 200L, "records read");
        read.find("offsets_committed");
    }

    private static void perf(Suite suite) throws Exception {
        String name = suite.topic("perf", 1);
        int count = suite.quick ? 20_000 : 200_000;
        Ended sent = run(TOOLS + "ProducerPerformance", "", "--bootstrap-server", suite.bootstrap, "--topic", name, "--num-records", count,
            "--record-size", 100, "--throughput", -1, "--command-property", "acks=all");
        check(sent.text.contains(count + " records sent"), "all were sent: " + sent.text);
        Ended read = run(TOOLS + "ConsumerPerformance", "", "--bootstrap-server", suite.bootstrap, "--topic", name, "--num-records", count,
            "--timeout", 20000, "--hide-header");
        eq(read.text.strip().split(", ")[4], String.valueOf(count), "records read, in: " + read.text);
    }

    private static void logDirs(Suite suite) throws Exception {
        String name = suite.topic("logdirs", 1);
        ClientTests.fill(suite, name, 0, 10);
        Ended found = run(TOOLS + "LogDirsCommand", "", "--bootstrap-server", suite.bootstrap, "--describe", "--topic-list", name).ok();
        eq(Pattern.compile("\"partition\":\"" + name + "-0\"").matcher(found.text).results().count(), (long) suite.replicas, "logs");
        check(Integer.parseInt(found.find("\"partition\":\"" + name + "-0\",\"size\":(\\d+)")) > 0, "a size");
    }

    private static void leaderElection(Suite suite) throws Exception {
        String name = suite.topic("election", 1);
        ClientTests.fill(suite, name, 0, 1);
        Ended found = run(TOOLS + "LeaderElectionCommand", "", "--bootstrap-server", suite.bootstrap, "--election-type", "preferred", "--topic", name,
            "--partition", 0).ok();
        found.find("(Valid replica already elected|Successfully completed leader election).*" + name);
    }

    private static void reassignments(Suite suite) throws Exception {
        run(TOOLS + "reassign.ReassignPartitionsCommand", "", "--bootstrap-server", suite.bootstrap, "--list").ok()
            .find("No partition reassignments found");
    }

    private static void apiVersions(Suite suite) throws Exception {
        Ended found = run(TOOLS + "BrokerApiVersionsCommand", "", "--bootstrap-server", suite.bootstrap).ok();
        eq(found.text.lines().filter(line -> line.contains("(id: ")).count(), (long) suite.bootstrap.split(",").length, "nodes");
        found.find("Produce\\(0\\): .*usable: (\\d+)");
    }

    private static void deleteRecords(Suite suite) throws Exception {
        String name = suite.topic("delete", 1);
        ClientTests.fill(suite, name, 0, 10);
        Path file = Files.createTempFile("delete-records", ".json");
        try {
            Files.writeString(file, "{\"partitions\": [{\"topic\": \"" + name + "\", \"partition\": 0, \"offset\": 4}], \"version\": 1}");
            run(TOOLS + "DeleteRecordsCommand", "", "--bootstrap-server", suite.bootstrap, "--offset-json-file", file).ok().find("low_watermark: 4");
        } finally {
            Files.delete(file);
        }
    }
}
