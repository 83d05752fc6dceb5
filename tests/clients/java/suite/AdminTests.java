package suite;

import static suite.Suite.check;
import static suite.Suite.eq;
import static suite.Suite.eventually;
import static suite.Suite.fails;

import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.ElectionNotNeededException;
import org.apache.kafka.common.errors.GroupNotEmptyException;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.InvalidReplicationFactorException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;

/** The Java admin client. */
final class AdminTests {
    static void add(Suite suite) {
        suite.test("admin_topics", AdminTests::topics);
        suite.test("admin_assignments", AdminTests::assignments);
        suite.test("admin_configs", AdminTests::configs);
        suite.test("admin_offsets", AdminTests::offsets);
        suite.test("admin_groups", AdminTests::groups);
        suite.test("admin_cluster", AdminTests::cluster);
    }

    private static TopicDescription describe(Admin admin, String topic) throws Exception {
        return admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
    }

    private static void topics(Suite suite) throws Exception {
        String name = suite.topic("admin", 10);
        try (Admin admin = suite.admin()) {
            TopicDescription described = describe(admin, name);
            check(described.partitions().stream().allMatch(one -> one.replicas().size() == suite.replicas && !one.isr().isEmpty()), "replicas");
            eq(admin.describeTopics(org.apache.kafka.common.TopicCollection.ofTopicIds(List.of(described.topicId()))).allTopicIds().get()
                .get(described.topicId()).name(), name, "the topic by its id");
            fails(TopicExistsException.class, () -> admin.createTopics(List.of(new NewTopic(name, 1, (short) 1))).all().get(), "again");
            fails(InvalidReplicationFactorException.class,
                () -> admin.createTopics(List.of(new NewTopic(Suite.name("x"), 1, (short) 17))).all().get(), "too many replicas");
            fails(InvalidPartitionsException.class, () -> admin.createTopics(List.of(new NewTopic(Suite.name("x"), 0, (short) 1))).all().get(),
                "no partitions");
            admin.createPartitions(Map.of(name, NewPartitions.increaseTo(12))).all().get();
            eventually("twelve partitions", () -> describe(admin, name).partitions().size() == 12);
            fails(InvalidPartitionsException.class, () -> admin.createPartitions(Map.of(name, NewPartitions.increaseTo(3))).all().get(), "fewer");
            admin.deleteTopics(List.of(name)).all().get();
            eventually("the topic is gone", () -> !admin.listTopics().names().get().contains(name));
            fails(UnknownTopicOrPartitionException.class, () -> admin.deleteTopics(List.of(name)).all().get(), "a topic that is gone");
        }
    }

    private static void assignments(Suite suite) throws Exception {
        try (Admin admin = suite.admin()) {
            List<Integer> nodes = admin.describeCluster().nodes().get().stream().map(Node::id).sorted().toList();
            Map<Integer, List<Integer>> wanted = Map.of(0, nodes, 1, List.of(nodes.get(1), nodes.get(2), nodes.get(0)));
            String name = Suite.name("assigned");
            admin.createTopics(List.of(new NewTopic(name, wanted))).all().get();
            eventually("the topic is described", () -> describe(admin, name).partitions().size() == 2);
            for (var partition : describe(admin, name).partitions()) {
                Set<Integer> found = partition.replicas().stream().map(Node::id).collect(Collectors.toCollection(TreeSet::new));
                eq(found, new TreeSet<>(wanted.get(partition.partition())), "replicas");
            }
            ClientTests.fill(suite, name, 1, 3);
        }
    }

    private static Config config(Admin admin, ConfigResource resource) throws Exception {
        return admin.describeConfigs(List.of(resource)).all().get().get(resource);
    }

    private static void configs(Suite suite) throws Exception {
        String name = suite.topic("configs", 1, "max.message.bytes", "300000");
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, name);
        try (Admin admin = suite.admin()) {
            eventually("as created", () -> config(admin, resource).get("max.message.bytes").value().equals("300000"));
            eq(config(admin, resource).get("max.message.bytes").source(), ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, "its source");
            eq(config(admin, resource).get("cleanup.policy").source(), ConfigEntry.ConfigSource.DEFAULT_CONFIG, "the source of a default");
            Collection<AlterConfigOp> changes = List.of(
                new AlterConfigOp(new ConfigEntry("max.message.bytes", null), AlterConfigOp.OpType.DELETE),
                new AlterConfigOp(new ConfigEntry("compression.type", "lz4"), AlterConfigOp.OpType.SET));
            admin.incrementalAlterConfigs(Map.of(resource, changes)).all().get();
            eventually("the changes", () -> config(admin, resource).get("compression.type").value().equals("lz4"));
            check(config(admin, resource).get("max.message.bytes").isDefault(), "back to the default");
            Collection<AlterConfigOp> wrong = List.of(new AlterConfigOp(new ConfigEntry("retention.ms", "soon"), AlterConfigOp.OpType.SET));
            fails(InvalidConfigurationException.class, () -> admin.incrementalAlterConfigs(Map.of(resource, wrong)).all().get(), "nonsense");
            eq(config(admin, resource).get("compression.type").value(), "lz4", "after the refusal");
            String node = admin.describeCluster().controller().get().idString();
            check(!config(admin, new ConfigResource(ConfigResource.Type.BROKER, node)).entries().isEmpty(), "settings of a broker");
        }
    }

    private static void offsets(Suite suite) throws Exception {
        String name = suite.topic("offsets", 1);
        TopicPartition place = new TopicPartition(name, 0);
        ClientTests.fill(suite, name, 0, 20);
        try (Admin admin = suite.admin()) {
            long low = admin.deleteRecords(Map.of(place, RecordsToDelete.beforeOffset(8))).lowWatermarks().get(place).get().lowWatermark();
            eq(low, 8L, "the first offset after a deletion of records");
            List<Long> found = new ArrayList<>();
            for (OffsetSpec spec : List.of(OffsetSpec.earliest(), OffsetSpec.latest(), OffsetSpec.maxTimestamp(), OffsetSpec.forTimestamp(1_000_105))) {
                found.add(admin.listOffsets(Map.of(place, spec)).all().get().get(place).offset());
            }
            eq(found, List.of(8L, 20L, 19L, 11L), "earliest, latest, newest, by time");
            var producers = admin.describeProducers(List.of(place)).all().get().get(place).activeProducers();
            eq(producers.size(), 1, "active producers");
            eq(producers.get(0).lastSequence(), 19, "its last sequence");
        }
    }

    private static void groups(Suite suite) throws Exception {
        String name = suite.topic("groups", 2);
        String group = Suite.name("g");
        TopicPartition place = new TopicPartition(name, 0);
        ClientTests.fill(suite, name, 0, 10);
        try (Admin admin = suite.admin()) {
            try (KafkaConsumer<String, String> consumer = suite.consumer("group.id", group, "client.id", "the-reader")) {
                consumer.subscribe(List.of(name));
                Suite.take(consumer, 10);
                consumer.commitSync();
                var described = admin.describeConsumerGroups(List.of(group)).all().get().get(group);
                eq(described.groupState(), GroupState.STABLE, "the state");
                eq(described.partitionAssignor(), "range", "the protocol");
                var member = described.members().iterator().next();
                eq(member.clientId(), "the-reader", "the client");
                eq(member.assignment().topicPartitions(), Set.of(place, new TopicPartition(name, 1)), "its assignment");
                check(admin.listGroups().all().get().stream().anyMatch(one -> one.groupId().equals(group)), "the group is listed");
                fails(GroupNotEmptyException.class, () -> admin.deleteConsumerGroups(List.of(group)).all().get(), "deleting it");
            }
            eq(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().get(place).offset(), 10L, "the committed offset");
            eventually("the group is empty",
                () -> admin.describeConsumerGroups(List.of(group)).all().get().get(group).groupState() == GroupState.EMPTY);
            admin.alterConsumerGroupOffsets(group, Map.of(place, new OffsetAndMetadata(3))).all().get();
            eq(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().get(place).offset(), 3L, "after the change");
            admin.deleteConsumerGroupOffsets(group, Set.of(place)).all().get();
            eq(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().get(place), null, "after the deletion");
            admin.deleteConsumerGroups(List.of(group)).all().get();
            eventually("the group is gone", () -> admin.listGroups().all().get().stream().noneMatch(one -> one.groupId().equals(group)));
        }
    }

    private static void cluster(Suite suite) throws Exception {
        String name = suite.topic("cluster", 1);
        TopicPartition place = new TopicPartition(name, 0);
        ClientTests.fill(suite, name, 0, 5);
        try (Admin admin = suite.admin()) {
            Collection<Node> nodes = admin.describeCluster().nodes().get();
            eq(nodes.size(), suite.bootstrap.split(",").length, "nodes");
            check(!admin.describeCluster().clusterId().get().isEmpty(), "a cluster id");
            List<Integer> ids = nodes.stream().map(Node::id).toList();
            var logs = admin.describeLogDirs(ids).allDescriptions().get();
            long copies = logs.values().stream().flatMap(one -> one.values().stream()).filter(one -> one.replicaInfos().containsKey(place)).count();
            eq(copies, (long) suite.replicas, "logs of the partition");
            eq(admin.listPartitionReassignments().reassignments().get(), Map.of(), "reassignments");
            var elected = admin.electLeaders(ElectionType.PREFERRED, Set.of(place)).partitions().get();
            var error = elected.get(place);
            check(error == null || error.isEmpty() || error.get() instanceof ElectionNotNeededException, "an election: " + error);
            check(admin.describeMetadataQuorum().quorumInfo().get().voters().size() >= 1, "voters of the quorum");
            check(admin.describeFeatures().featureMetadata().get() != null, "features");
        }
    }
}
