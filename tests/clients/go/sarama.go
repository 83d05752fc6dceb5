package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

var saramaTests = []test{
	{name: "produces_with_each_acks", run: saramaAcks},
	{name: "idempotent_producer", run: saramaIdempotent},
	{name: "compression_and_shapes", run: saramaCompression},
	{name: "offsets", run: saramaOffsets},
	{name: "group", run: saramaGroup, seconds: 45},
	{name: "admin", run: saramaAdmin},
}

func saramaConfig() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.V3_6_0_0
	config.Producer.Return.Successes = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	return config
}

// saramaRead reads `count` records of partition 0 from an offset on.
func saramaRead(ctx context.Context, b *bench, topic string, from int64, count int) ([]*sarama.ConsumerMessage, error) {
	consumer, err := sarama.NewConsumer(b.bootstrap, saramaConfig())
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	partition, err := consumer.ConsumePartition(topic, 0, from)
	if err != nil {
		return nil, err
	}
	defer partition.Close()
	var found []*sarama.ConsumerMessage
	for len(found) < count {
		select {
		case message := <-partition.Messages():
			found = append(found, message)
		case <-ctx.Done():
			return nil, fmt.Errorf("%d records of %d", len(found), count)
		}
	}
	return found, nil
}

func saramaSend(b *bench, config *sarama.Config, topic string, values []string) error {
	producer, err := sarama.NewSyncProducer(b.bootstrap, config)
	if err != nil {
		return err
	}
	defer producer.Close()
	var messages []*sarama.ProducerMessage
	for _, value := range values {
		messages = append(messages, &sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(value)})
	}
	if err := producer.SendMessages(messages); err != nil {
		return err
	}
	for n := 1; n < len(messages); n++ {
		if config.Producer.RequiredAcks != sarama.NoResponse && messages[n].Offset != messages[n-1].Offset+1 {
			return fmt.Errorf("offsets %d and %d follow each other", messages[n-1].Offset, messages[n].Offset)
		}
	}
	return nil
}

func values(count int) (found []string) {
	for n := range count {
		found = append(found, strconv.Itoa(n))
	}
	return
}

func same(found []*sarama.ConsumerMessage, wanted []string) error {
	for n, message := range found {
		if message.Offset != int64(n) || string(message.Value) != wanted[n] {
			return fmt.Errorf("at %d lies %.30q instead of %.30q", message.Offset, message.Value, wanted[n])
		}
	}
	return eq(len(found), len(wanted), "records")
}

func saramaAcks(ctx context.Context, b *bench) error {
	for _, acks := range []sarama.RequiredAcks{sarama.NoResponse, sarama.WaitForLocal, sarama.WaitForAll} {
		topic, err := b.topic(ctx, "sarama", 1, nil)
		if err != nil {
			return err
		}
		config := saramaConfig()
		config.Producer.RequiredAcks = acks
		if err := saramaSend(b, config, topic, values(300)); err != nil {
			return fmt.Errorf("acks %d: %w", acks, err)
		}
		found, err := saramaRead(ctx, b, topic, sarama.OffsetOldest, 300)
		if err = all(err, same(found, values(300))); err != nil {
			return fmt.Errorf("acks %d: %w", acks, err)
		}
	}
	return nil
}

func saramaIdempotent(ctx context.Context, b *bench) error {
	topic, err := b.topic(ctx, "idempotent", 1, nil)
	if err != nil {
		return err
	}
	config := saramaConfig()
	config.Producer.Idempotent = true
	config.Net.MaxOpenRequests = 1
	config.Producer.Flush.MaxMessages = 20
	if err := saramaSend(b, config, topic, values(2000)); err != nil {
		return err
	}
	found, err := saramaRead(ctx, b, topic, 0, 2000)
	return all(err, same(found, values(2000)))
}

func saramaCompression(ctx context.Context, b *bench) error {
	topic, err := b.topic(ctx, "codecs", 1, nil)
	if err != nil {
		return err
	}
	codecs := []sarama.CompressionCodec{sarama.CompressionNone, sarama.CompressionGZIP, sarama.CompressionSnappy, sarama.CompressionLZ4, sarama.CompressionZSTD}
	var expected []string
	for _, codec := range codecs {
		config := saramaConfig()
		config.Producer.Compression = codec
		var sent []string
		for n := range 30 {
			sent = append(sent, fmt.Sprintf("%v-%d-%s", codec, n, bytes.Repeat([]byte("q"), 900)))
		}
		if err := saramaSend(b, config, topic, sent); err != nil {
			return fmt.Errorf("%v: %w", codec, err)
		}
		expected = append(expected, sent...)
	}
	producer, err := sarama.NewSyncProducer(b.bootstrap, saramaConfig())
	if err != nil {
		return err
	}
	defer producer.Close()
	shaped := &sarama.ProducerMessage{Topic: topic, Key: sarama.StringEncoder("k"), Timestamp: time.UnixMilli(1_234_567_890_123),
		Headers: []sarama.RecordHeader{{Key: []byte("h"), Value: []byte("1")}, {Key: []byte("h"), Value: []byte("2")}}}
	if _, _, err := producer.SendMessage(shaped); err != nil {
		return err
	}
	found, err := saramaRead(ctx, b, topic, 0, len(expected)+1)
	if err != nil {
		return err
	}
	last := found[len(expected)]
	return all(same(found[:len(expected)], expected), eq(string(last.Key), "k", "the key"), eq(last.Value == nil, true, "the tombstone"),
		eq(last.Timestamp.UnixMilli(), 1_234_567_890_123, "the time"), eq(len(last.Headers), 2, "headers"), eq(string(last.Headers[1].Value), "2", "the second header"))
}

func saramaOffsets(ctx context.Context, b *bench) error {
	topic, err := b.topic(ctx, "offsets", 1, nil)
	if err != nil {
		return err
	}
	if err := saramaSend(b, saramaConfig(), topic, values(20)); err != nil {
		return err
	}
	client, err := sarama.NewClient(b.bootstrap, saramaConfig())
	if err != nil {
		return err
	}
	defer client.Close()
	oldest, err1 := client.GetOffset(topic, 0, sarama.OffsetOldest)
	newest, err2 := client.GetOffset(topic, 0, sarama.OffsetNewest)
	if err := all(err1, err2, eq(oldest, 0, "the oldest"), eq(newest, 20, "the newest")); err != nil {
		return err
	}
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		return err
	}
	if _, err := consumer.ConsumePartition(topic, 0, 99); !errors.Is(err, sarama.ErrOffsetOutOfRange) {
		return fmt.Errorf("reading beyond the end: %v", err)
	}
	found, err := saramaRead(ctx, b, topic, 15, 5)
	return all(err, eq(string(found[0].Value), "15", "the record at 15"))
}

// saramaMember marks what it reads; the library commits it.
type saramaMember struct {
	mutex *sync.Mutex
	seen  map[string]int
}

func (m saramaMember) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (m saramaMember) Cleanup(sarama.ConsumerGroupSession) error { return nil }
func (m saramaMember) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case message, open := <-claim.Messages():
			if !open {
				return nil
			}
			m.mutex.Lock()
			m.seen[string(message.Value)]++
			m.mutex.Unlock()
			session.MarkMessage(message, "")
		case <-session.Context().Done():
			return nil
		}
	}
}

func saramaGroup(ctx context.Context, b *bench) error {
	topic, err := b.topic(ctx, "group", 4, nil)
	if err != nil {
		return err
	}
	config := saramaConfig()
	config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{sarama.NewBalanceStrategyRoundRobin()}
	config.Consumer.Offsets.AutoCommit.Interval = 200 * time.Millisecond
	name, member := unique("g"), saramaMember{mutex: &sync.Mutex{}, seen: map[string]int{}}
	running, stop := context.WithCancel(ctx)
	defer stop()
	var members sync.WaitGroup
	join := func() error {
		group, err := sarama.NewConsumerGroup(b.bootstrap, name, config)
		if err != nil {
			return err
		}
		members.Add(1)
		go func() {
			defer members.Done()
			for running.Err() == nil {
				_ = group.Consume(running, []string{topic}, member)
			}
			_ = group.Close()
		}()
		return nil
	}
	if err := join(); err != nil {
		return err
	}
	producer, err := sarama.NewSyncProducer(b.bootstrap, config)
	if err != nil {
		return err
	}
	defer producer.Close()
	for n := range 400 {
		message := &sarama.ProducerMessage{Topic: topic, Partition: int32(n % 4), Value: sarama.StringEncoder(strconv.Itoa(n))}
		if _, offset, err := producer.SendMessage(message); err != nil || offset != int64(n/4) {
			return fmt.Errorf("record %d: %d, %v", n, offset, err)
		}
		if n == 150 {
			if err := join(); err != nil {
				return err
			}
		}
	}
	if err := eventually(ctx, "all records come", func() (bool, error) {
		member.mutex.Lock()
		defer member.mutex.Unlock()
		return len(member.seen) == 400, nil
	}); err != nil {
		return err
	}
	stop()
	members.Wait()
	admin, err := sarama.NewClusterAdmin(b.bootstrap, config)
	if err != nil {
		return err
	}
	defer admin.Close()
	offsets, err := admin.ListConsumerGroupOffsets(name, map[string][]int32{topic: {0, 1, 2, 3}})
	if err != nil {
		return err
	}
	for partition := range int32(4) {
		if err := eq(offsets.GetBlock(topic, partition).Offset, 100, "committed"); err != nil {
			return err
		}
	}
	return admin.DeleteConsumerGroup(name)
}

func saramaAdmin(ctx context.Context, b *bench) error {
	admin, err := sarama.NewClusterAdmin(b.bootstrap, saramaConfig())
	if err != nil {
		return err
	}
	defer admin.Close()
	topic, codec := unique("admin"), "gzip"
	detail := &sarama.TopicDetail{NumPartitions: 10, ReplicationFactor: b.replicas, ConfigEntries: map[string]*string{"compression.type": &codec}}
	if err := admin.CreateTopic(topic, detail, false); err != nil {
		return err
	}
	err = eventually(ctx, "the topic is listed", func() (bool, error) {
		listed, err := admin.ListTopics()
		return err == nil && listed[topic].NumPartitions == 10, err
	})
	if err != nil {
		return err
	}
	if err := admin.CreateTopic(topic, detail, false); !errors.Is(err, sarama.ErrTopicAlreadyExists) {
		return fmt.Errorf("the same topic again: %v", err)
	}
	if err := admin.CreatePartitions(topic, 11, nil, false); err != nil {
		return err
	}
	if err := admin.IncrementalAlterConfig(sarama.TopicResource, topic, map[string]sarama.IncrementalAlterConfigsEntry{
		"max.message.bytes": {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: ptr("77777")}}, false); err != nil {
		return err
	}
	err = eventually(ctx, "the setting", func() (bool, error) {
		entries, err := admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: topic, ConfigNames: []string{"max.message.bytes"}})
		return err == nil && len(entries) == 1 && entries[0].Value == "77777", err
	})
	if err != nil {
		return err
	}
	brokers, _, err := admin.DescribeCluster()
	if err = all(err, eq(len(brokers), len(b.bootstrap), "brokers")); err != nil {
		return err
	}
	if err := saramaSend(b, saramaConfig(), topic, values(10)); err != nil {
		return err
	}
	if err := admin.DeleteRecords(topic, map[int32]int64{0: 4}); err != nil {
		return err
	}
	found, err := saramaRead(ctx, b, topic, sarama.OffsetOldest, 6)
	if err = all(err, eq(found[0].Offset, 4, "the first record after a deletion")); err != nil {
		return err
	}
	return admin.DeleteTopic(topic)
}

func ptr(text string) *string { return &text }
