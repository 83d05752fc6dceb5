package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

var franzTests = []test{
	{name: "produces_and_consumes", run: franzProduces},
	{name: "compression", run: franzCompression},
	{name: "shapes", run: franzShapes},
	{name: "acks", run: franzAcks},
	{name: "offsets", run: franzOffsets},
	{name: "group_commits", run: franzGroupCommits},
	{name: "rebalance_under_load_cooperative", run: franzRebalance, seconds: 60},
	{name: "static_members", run: franzStatic, seconds: 40},
	{name: "admin_topics", run: franzTopics},
	{name: "admin_groups", run: franzGroups},
	{name: "kill_leader_under_load", run: franzKill, seconds: 120, kills: true, long: true},
}

func (b *bench) franz(options ...kgo.Opt) *kgo.Client {
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(b.bootstrap...)}, options...)...)
	if err != nil {
		panic(err)
	}
	return client
}

// topic makes a topic and waits until each of its partitions has a leader.
func (b *bench) topic(ctx context.Context, what string, partitions int32, configs map[string]*string) (string, error) {
	client := b.franz()
	defer client.Close()
	name := unique(what)
	admin := kadm.NewClient(client)
	if _, err := admin.CreateTopic(ctx, partitions, b.replicas, configs, name); err != nil {
		return "", err
	}
	return name, eventually(ctx, "leaders of "+name, func() (bool, error) {
		found, err := admin.ListTopics(ctx, name)
		if err != nil || found[name].Err != nil {
			return false, err
		}
		led := 0
		for _, partition := range found[name].Partitions {
			if partition.Leader >= 0 {
				led++
			}
		}
		return led == int(partitions), nil
	})
}

func send(ctx context.Context, client *kgo.Client, records ...*kgo.Record) error {
	return client.ProduceSync(ctx, records...).FirstErr()
}

// take reads until it has `count` records.
func take(ctx context.Context, client *kgo.Client, count int) ([]*kgo.Record, error) {
	var records []*kgo.Record
	for len(records) < count {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return nil, fmt.Errorf("%d records of %d: %w", len(records), count, err)
		}
		for _, failed := range fetches.Errors() {
			return nil, fmt.Errorf("partition %d: %w", failed.Partition, failed.Err)
		}
		records = append(records, fetches.Records()...)
	}
	return records, eq(len(records), count, "records read")
}

func numbered(topic string, from, to int, partitions int) []*kgo.Record {
	var records []*kgo.Record
	for n := from; n < to; n++ {
		records = append(records, &kgo.Record{Topic: topic, Partition: int32(n % partitions), Value: []byte(strconv.Itoa(n)),
			Timestamp: time.UnixMilli(int64(1_000_000 + n*10))})
	}
	return records
}

// franzProduces: the default is an idempotent producer with acks=all.
func franzProduces(ctx context.Context, b *bench) error {
	topic, err := b.topic(ctx, "franz", 3, nil)
	if err != nil {
		return err
	}
	producer := b.franz(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	defer producer.Close()
	records := numbered(topic, 0, 6000, 3)
	if err := send(ctx, producer, records...); err != nil {
		return err
	}
	for n, record := range records {
		if record.Offset != int64(n/3) {
			return fmt.Errorf("record %d lies at %d", n, record.Offset)
		}
	}
	reader := b.franz(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer reader.Close()
	found, err := take(ctx, reader, 6000)
	if err != nil {
		return err
	}
	return inOrder(found, 6000, 3)
}

// inOrder: record n lies in partition n % partitions at n / partitions, and each partition came in order.
func inOrder(found []*kgo.Record, total, partitions int) error {
	next := make([]int, partitions)
	for _, record := range found {
		wanted := next[record.Partition]*partitions + int(record.Partition)
		if string(record.Value) != strconv.Itoa(wanted) || record.Offset != int64(next[record.Partition]) {
			return fmt.Errorf("partition %d: %s at %d instead of %d", record.Partition, record.Value, record.Offset, wanted)
		}
		next[record.Partition]++
	}
	sum := 0
	for _, count := range next {
		sum += count
	}
	return eq(sum, total, "records")
}

func franzCompression(ctx context.Context, b *bench) error {
	topic, err := b.topic(ctx, "codecs", 1, nil)
	if err != nil {
		return err
	}
	codecs := []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()}
	var expected []string
	for number, codec := range codecs {
		producer := b.franz(kgo.ProducerBatchCompression(codec), kgo.DefaultProduceTopic(topic))
		var records []*kgo.Record
		for n := range 40 {
			value := fmt.Sprintf("%d-%d-%s", number, n, bytes.Repeat([]byte("z"), 600))
			records = append(records, kgo.StringRecord(value))
			expected = append(expected, value)
		}
		err := send(ctx, producer, records...)
		producer.Close()
		if err != nil {
			return fmt.Errorf("codec %d: %w", number, err)
		}
	}
	reader := b.franz(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer reader.Close()
	found, err := take(ctx, reader, len(expected))
	if err != nil {
		return err
	}
	types := map[uint8]int{}
	for n, record := range found {
		types[record.Attrs.CompressionType()]++
		if string(record.Value) != expected[n] || record.Offset != int64(n) {
			return fmt.Errorf("record %d is %.20s at %d", n, record.Value, record.Offset)
		}
	}
	return eqText(types, map[uint8]int{0: 40, 1: 40, 2: 40, 3: 40, 4: 40}, "records by codec, as stored")
}

func franzShapes(ctx context.Context, b *bench) error {
	limit := "2097152"
	topic, err := b.topic(ctx, "shapes", 1, map[string]*string{"max.message.bytes": &limit})
	if err != nil {
		return err
	}
	producer := b.franz(kgo.DefaultProduceTopic(topic), kgo.ProducerBatchMaxBytes(2<<20))
	defer producer.Close()
	headers := []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "a", Value: nil}, {Key: "", Value: []byte{}}}
	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	sent := []*kgo.Record{
		{Value: []byte("v"), Headers: headers, Timestamp: time.UnixMilli(1_234_567_890_123)}, {Key: []byte("gone")},
		{Key: []byte{}, Value: []byte{}}, {Value: large},
	}
	if err := send(ctx, producer, sent...); err != nil {
		return err
	}
	reader := b.franz(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer reader.Close()
	found, err := take(ctx, reader, 4)
	if err != nil {
		return err
	}
	return all(
		eq(len(found[0].Headers), 3, "headers"), eq(found[0].Headers[1].Key, "a", "the second header"),
		eq(found[0].Headers[1].Value == nil, true, "a header without a value"), eq(found[0].Headers[2].Value != nil, true, "an empty header"),
		eq(found[0].Key == nil, true, "no key"), eq(found[0].Timestamp.UnixMilli(), 1_234_567_890_123, "the time"),
		eq(string(found[1].Key), "gone", "the tombstone's key"), eq(found[1].Value == nil, true, "the tombstone"),
		eq(found[2].Key != nil && found[2].Value != nil, true, "empty is not null"), eq(bytes.Equal(found[3].Value, large), true, "1 MiB"),
	)
}

func franzAcks(ctx context.Context, b *bench) error {
	for name, acks := range map[string]kgo.Acks{"0": kgo.NoAck(), "1": kgo.LeaderAck(), "all": kgo.AllISRAcks()} {
		topic, err := b.topic(ctx, "acks", 1, nil)
		if err != nil {
			return err
		}
		producer := b.franz(kgo.RequiredAcks(acks), kgo.DisableIdempotentWrite(), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		err = send(ctx, producer, numbered(topic, 0, 100, 1)...)
		producer.Close()
		if err != nil {
			return fmt.Errorf("acks=%s: %w", name, err)
		}
		reader := b.franz(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		found, err := take(ctx, reader, 100)
		reader.Close()
		if err = all(err, inOrder(found, 100, 1)); err != nil {
			return fmt.Errorf("acks=%s: %w", name, err)
		}
	}
	return nil
}

func franzOffsets(ctx context.Context, b *bench) error {
	topic, err := b.topic(ctx, "offsets", 1, nil)
	if err != nil {
		return err
	}
	client := b.franz(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	defer client.Close()
	if err := send(ctx, client, numbered(topic, 0, 50, 1)...); err != nil {
		return err
	}
	admin := kadm.NewClient(client)
	if _, err := admin.DeleteRecords(ctx, kadm.Offsets{topic: {0: {Topic: topic, Partition: 0, At: 10}}}); err != nil {
		return err
	}
	start, err1 := admin.ListStartOffsets(ctx, topic)
	end, err2 := admin.ListEndOffsets(ctx, topic)
	after, err3 := admin.ListOffsetsAfterMilli(ctx, 1_000_205, topic)
	newest, err4 := admin.ListMaxTimestampOffsets(ctx, topic)
	if err := all(err1, err2, err3, err4); err != nil {
		return err
	}
	err = all(eq(start[topic][0].Offset, 10, "the start"), eq(end[topic][0].Offset, 50, "the end"), eq(after[topic][0].Offset, 21, "by time"),
		eq(newest[topic][0].Offset, 49, "the newest"))
	if err != nil {
		return err
	}
	// An offset that is gone: with no reset policy it is an error, never a silent jump.
	strict := b.franz(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().At(3)}}), kgo.ConsumeResetOffset(kgo.NoResetOffset()))
	defer strict.Close()
	fetches := strict.PollFetches(ctx)
	if len(fetches.Errors()) != 1 || !errors.Is(fetches.Errors()[0].Err, kerr.OffsetOutOfRange) {
		return fmt.Errorf("reading before the start: %v, %d records", fetches.Errors(), fetches.NumRecords())
	}
	middle := b.franz(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().At(30)}}))
	defer middle.Close()
	found, err := take(ctx, middle, 20)
	if err != nil {
		return err
	}
	return eq(string(found[0].Value), "30", "the first from 30 on")
}

func franzGroupCommits(ctx context.Context, b *bench) error {
	topic, err := b.topic(ctx, "commits", 1, nil)
	if err != nil {
		return err
	}
	group := unique("g")
	producer := b.franz(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	defer producer.Close()
	if err := send(ctx, producer, numbered(topic, 0, 30, 1)...); err != nil {
		return err
	}
	reset := kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())
	first := b.franz(kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(), reset)
	found, err := take(ctx, first, 30)
	if err == nil {
		err = first.CommitRecords(ctx, found[11])
	}
	first.Close()
	if err != nil {
		return err
	}
	second := b.franz(kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), reset)
	found, err = take(ctx, second, 18)
	// What a poll gave counts as done once the next poll begins.
	again, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	second.PollFetches(again)
	cancel()
	second.Close() // leaves, with a last commit by itself
	if err != nil {
		return err
	}
	if err := eq(found[0].Offset, 12, "where the group goes on"); err != nil {
		return err
	}
	committed, err := kadm.NewClient(producer).FetchOffsetsForTopics(ctx, group, topic)
	if err != nil {
		return err
	}
	at, _ := committed.Lookup(topic, 0)
	return eq(at.At, int64(30), "committed by itself")
}

// work is a group of members in goroutines, and what they were given.
type work struct {
	mutex   sync.Mutex
	seen    map[string]string // value → partition/offset
	wrong   []error
	members sync.WaitGroup
}

func (w *work) join(ctx context.Context, client *kgo.Client) {
	w.members.Add(1)
	go func() {
		defer w.members.Done()
		defer client.Close()
		for ctx.Err() == nil {
			poll, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
			fetches := client.PollRecords(poll, 200)
			cancel()
			w.note(fetches)
			if fetches.NumRecords() > 0 {
				// A rebalance may take a partition away before its commit; its next owner reads again.
				_ = client.CommitRecords(ctx, fetches.Records()...)
			}
			client.AllowRebalance()
		}
	}()
}

func (w *work) note(fetches kgo.Fetches) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	fetches.EachError(func(_ string, partition int32, err error) {
		if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
			w.wrong = append(w.wrong, fmt.Errorf("partition %d: %w", partition, err))
		}
	})
	fetches.EachRecord(func(record *kgo.Record) {
		place := fmt.Sprintf("%d/%d", record.Partition, record.Offset)
		if before, known := w.seen[string(record.Value)]; known && before != place {
			w.wrong = append(w.wrong, fmt.Errorf("record %s lies at %s and at %s", record.Value, before, place))
		}
		w.seen[string(record.Value)] = place
	})
}

func (w *work) count() int {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return len(w.seen)
}

// underLoad: members join and leave, or something else happens halfway, while numbered records flow. All of them come.
func underLoad(ctx context.Context, b *bench, total int, halfway func(leader int32) error) error {
	topic, err := b.topic(ctx, "load", 6, nil)
	if err != nil {
		return err
	}
	group := unique("g")
	member := func() *kgo.Client {
		return b.franz(kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
			kgo.Balancers(kgo.CooperativeStickyBalancer()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.SessionTimeout(10*time.Second))
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	leaving, leave := context.WithCancel(running)
	w := &work{seen: map[string]string{}}
	w.join(leaving, member())
	producer := b.franz(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(5*time.Millisecond))
	defer producer.Close()
	records := numbered(topic, 0, total, 6)
	var refused []error
	for n, record := range records {
		producer.Produce(ctx, record, func(record *kgo.Record, err error) {
			if err != nil {
				refused = append(refused, err)
			}
		})
		switch n {
		case total / 6, total / 4:
			w.join(running, member())
		case total / 2:
			leave()
			meta, err := kadm.NewClient(producer).ListTopics(ctx, topic)
			if err != nil {
				return err
			}
			if err := halfway(meta[topic].Partitions[0].Leader); err != nil {
				return err
			}
		}
		if n%50 == 0 {
			time.Sleep(25 * time.Millisecond)
		}
	}
	if err := producer.Flush(ctx); err != nil {
		return err
	}
	if err := errors.Join(refused...); err != nil {
		return fmt.Errorf("refused records: %w", err)
	}
	if err := eventually(ctx, "all records come", func() (bool, error) { return w.count() == total, nil }); err != nil {
		return fmt.Errorf("%d records of %d: %w", w.count(), total, err)
	}
	stop()
	w.members.Wait()
	if err := errors.Join(w.wrong...); err != nil {
		return err
	}
	for n, record := range records {
		place := fmt.Sprintf("%d/%d", record.Partition, record.Offset)
		if w.seen[string(record.Value)] != place {
			return fmt.Errorf("record %d was acknowledged at %s and read at %s", n, place, w.seen[string(record.Value)])
		}
	}
	reader := b.franz(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer reader.Close()
	found, err := take(ctx, reader, total)
	return all(err, inOrder(found, total, 6))
}

func franzRebalance(ctx context.Context, b *bench) error {
	total := 6000
	if b.quick {
		total = 1800
	}
	return underLoad(ctx, b, total, func(int32) error { return nil })
}

func franzKill(ctx context.Context, b *bench) error {
	return underLoad(ctx, b, 12_000, b.kill)
}

func franzStatic(ctx context.Context, b *bench) error {
	topic, err := b.topic(ctx, "static", 2, nil)
	if err != nil {
		return err
	}
	group := unique("g")
	var mutex sync.Mutex
	given := map[string][]int32{}
	member := func(instance string) *kgo.Client {
		note := func(_ context.Context, _ *kgo.Client, assigned map[string][]int32) {
			mutex.Lock()
			defer mutex.Unlock()
			given[instance] = append(given[instance], assigned[topic]...)
		}
		return b.franz(kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.InstanceID(instance), kgo.SessionTimeout(20*time.Second),
			kgo.HeartbeatInterval(300*time.Millisecond), kgo.Balancers(kgo.RangeBalancer()), kgo.OnPartitionsAssigned(note))
	}
	admin := kadm.NewClient(b.franz())
	settled := func() (bool, error) {
		found, err := admin.DescribeGroups(ctx, group)
		return err == nil && found[group].State == "Stable" && len(found[group].Members) == 2, err
	}
	one, two := member("one"), member("two")
	defer one.Close()
	if err := eventually(ctx, "two members", settled); err != nil {
		return err
	}
	before, err := admin.DescribeGroups(ctx, group)
	if err != nil {
		return err
	}
	two.Close()
	two = member("two")
	defer two.Close()
	time.Sleep(time.Second)
	after, err := admin.DescribeGroups(ctx, group)
	if err != nil {
		return err
	}
	ids := func(described kadm.DescribedGroup) (found []string) {
		for _, member := range described.Members {
			found = append(found, fmt.Sprint(*member.InstanceID))
		}
		sort.Strings(found)
		return
	}
	return all(eqText(ids(before[group]), "[one two]", "members"), eqText(ids(after[group]), "[one two]", "members after a restart"),
		eq(after[group].State, "Stable", "the state after a restart"))
}

func franzTopics(ctx context.Context, b *bench) error {
	client := b.franz()
	defer client.Close()
	admin := kadm.NewClient(client)
	topic, err := b.topic(ctx, "admin", 10, nil)
	if err != nil {
		return err
	}
	if _, err := admin.CreateTopic(ctx, 1, 1, nil, topic); !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("the same topic again: %v", err)
	}
	if _, err := admin.UpdatePartitions(ctx, 12, topic); err != nil {
		return err
	}
	value := "55555"
	if _, err := admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "max.message.bytes", Value: &value}}, topic); err != nil {
		return err
	}
	err = eventually(ctx, "the change of a setting", func() (bool, error) {
		configs, err := admin.DescribeTopicConfigs(ctx, topic)
		if err != nil {
			return false, err
		}
		for _, config := range configs[0].Configs {
			if config.Key == "max.message.bytes" && config.MaybeValue() == value {
				return true, nil
			}
		}
		return false, configs[0].Err
	})
	if err != nil {
		return err
	}
	err = eventually(ctx, "twelve partitions", func() (bool, error) {
		found, err := admin.ListTopics(ctx, topic)
		return err == nil && len(found[topic].Partitions) == 12, err
	})
	if err != nil {
		return err
	}
	brokers, err := admin.ListBrokers(ctx)
	if err = all(err, eq(len(brokers), len(b.bootstrap), "brokers")); err != nil {
		return err
	}
	if _, err := admin.DeleteTopic(ctx, topic); err != nil {
		return err
	}
	return eventually(ctx, "the topic is gone", func() (bool, error) {
		found, err := admin.ListTopics(ctx)
		return err == nil && !found.Has(topic), err
	})
}

func franzGroups(ctx context.Context, b *bench) error {
	topic, err := b.topic(ctx, "groups", 1, nil)
	if err != nil {
		return err
	}
	group := unique("g")
	producer := b.franz(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	defer producer.Close()
	admin := kadm.NewClient(producer)
	if err := send(ctx, producer, numbered(topic, 0, 10, 1)...); err != nil {
		return err
	}
	reader := b.franz(kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.ClientID("reader"))
	if _, err := take(ctx, reader, 10); err != nil {
		return err
	}
	lag, err := admin.Lag(ctx, group)
	if err != nil {
		return err
	}
	if err := all(eq(lag[group].State, "Stable", "the state"), eq(len(lag[group].Members), 1, "members")); err != nil {
		return err
	}
	if _, err := admin.DeleteGroup(ctx, group); !errors.Is(err, kerr.NonEmptyGroup) {
		return fmt.Errorf("deleting a group with members: %v", err)
	}
	reader.Close()
	offsets := kadm.Offsets{topic: {0: {Topic: topic, Partition: 0, At: 4, LeaderEpoch: -1, Metadata: "set"}}}
	if err := admin.CommitAllOffsets(ctx, group, offsets); err != nil {
		return err
	}
	lag, err = admin.Lag(ctx, group)
	if err != nil {
		return err
	}
	if err := all(eq(lag[group].Lag.Total(), 6, "the lag"), eq(lag[group].State, "Empty", "the state")); err != nil {
		return err
	}
	if _, err := admin.DeleteGroup(ctx, group); err != nil {
		return err
	}
	return eventually(ctx, "the group is gone", func() (bool, error) {
		listed, err := admin.ListGroups(ctx)
		_, there := listed[group]
		return err == nil && !there, err
	})
}
