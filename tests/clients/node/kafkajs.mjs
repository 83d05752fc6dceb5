// kafkajs: its last version, of 2023, still the most used client of Node.js. Codecs but gzip are plugged in as its users do.

import zlib from 'node:zlib'
import kafkajs from 'kafkajs'
import lz4 from 'lz4js'
import snappy from 'kafkajs-snappy'
import xxhash from 'lz4js/xxh32.js'
import { check, eq, eventually, fails, main, numbers, sleep, unique } from './harness.mjs'

const { CompressionCodecs, CompressionTypes, ConfigResourceTypes, Kafka, logLevel } = kafkajs
CompressionCodecs[CompressionTypes.Snappy] = snappy
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => zlib.zstdCompressSync(encoder.buffer),
  decompress: async buffer => zlib.zstdDecompressSync(buffer)
})
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async encoder => independent(Buffer.from(lz4.compress(encoder.buffer))),
  decompress: async buffer => Buffer.from(lz4.decompress(buffer))
})

// Kafka takes frames of independent blocks only, and this package does not say that its (here always single) block is one.
function independent (frame) {
  frame[4] |= 0x20
  frame[6] = xxhash.hash(0, frame, 4, 2) >> 8
  return frame
}

const connect = bench => new Kafka({ clientId: 'suite', brokers: bench.bootstrap, logLevel: logLevel.NOTHING, retry: { retries: 8, initialRetryTime: 50 } })

async function using (client, action) {
  await client.connect()
  try {
    return await action(client)
  } finally {
    await client.disconnect()
  }
}

async function create (bench, what, numPartitions = 1, configEntries = []) {
  const topic = unique(what)
  await using(connect(bench).admin(), admin =>
    admin.createTopics({ waitForLeaders: true, topics: [{ topic, numPartitions, replicationFactor: bench.replicas, configEntries }] }))
  return topic
}

// Reads from the beginning until `count` records have come.
async function read (bench, topic, count) {
  const records = []
  const consumer = connect(bench).consumer({ groupId: unique('g'), maxWaitTimeInMs: 200 })
  await using(consumer, async () => {
    await consumer.subscribe({ topic, fromBeginning: true })
    await consumer.run({ autoCommit: false, eachMessage: async ({ partition, message }) => { records.push({ partition, ...message }) } })
    await eventually(`${count} records`, () => records.length >= count)
  })
  eq(records.length, count, 'records read')
  return records
}

const send = (bench, topic, messages, options = {}) =>
  using(connect(bench).producer(options.producer), producer => producer.send({ topic, messages, ...options }))

const tests = {
  async acks (bench) {
    for (const acks of [0, 1, -1]) {
      const topic = await create(bench, 'acks')
      const answer = await send(bench, topic, numbers(100).map(n => ({ value: `v${n}` })), { acks })
      if (acks !== 0) eq(answer.map(place => [place.partition, place.baseOffset]), [[0, '0']], `the answer with acks=${acks}`)
      const records = await read(bench, topic, 100)
      eq(records.map(record => `${record.offset} ${record.value}`), numbers(100).map(n => `${n} v${n}`), `records with acks=${acks}`)
    }
  },

  async compression (bench) {
    const topic = await create(bench, 'codecs')
    const expected = []
    for (const codec of ['None', 'GZIP', 'Snappy', 'LZ4', 'ZSTD']) {
      const values = numbers(30).map(n => `${codec}-${n}-${'c'.repeat(600)}`)
      await send(bench, topic, values.map(value => ({ value })), { compression: CompressionTypes[codec] })
      expected.push(...values)
    }
    const records = await read(bench, topic, expected.length)
    eq(records.map(record => record.value.toString()), expected, 'values')
    eq(records.map(record => record.offset), numbers(expected.length).map(String), 'offsets')
  },

  async shapes (bench) {
    const topic = await create(bench, 'shapes', 1, [{ name: 'max.message.bytes', value: '2097152' }])
    const large = 'L'.repeat(1 << 20)
    await send(bench, topic, [
      { key: 'k', value: 'v', headers: { one: '1', list: ['a', 'b'] }, timestamp: '1234567890123' }, { key: 'gone', value: null },
      { value: 'no key' }, { value: large }
    ])
    const [first, tombstone, keyless, big] = await read(bench, topic, 4)
    eq([first.headers.one.toString(), first.headers.list.map(String), first.timestamp], ['1', ['a', 'b'], '1234567890123'], 'headers and time')
    eq([tombstone.key.toString(), tombstone.value, keyless.key], ['gone', null, null], 'nulls')
    check(big.value.toString() === large, '1 MiB comes back as it was')
  },

  async idempotent (bench) {
    const topic = await create(bench, 'idempotent')
    await using(connect(bench).producer({ idempotent: true, maxInFlightRequests: 1 }), async producer => {
      for (const n of numbers(20)) {
        const [place] = await producer.send({ topic, messages: numbers(10).map(m => ({ value: String(n * 10 + m) })) })
        eq(place.baseOffset, String(n * 10), 'the first offset')
      }
    })
    eq((await read(bench, topic, 200)).map(record => Number(record.value)), numbers(200), 'records')
  },

  async seek_and_pause (bench) {
    const topic = await create(bench, 'seek')
    await send(bench, topic, numbers(20).map(n => ({ value: String(n), timestamp: String(1_000_000 + n * 10) })))
    await using(connect(bench).admin(), async admin => {
      const [found] = await admin.fetchTopicOffsetsByTimestamp(topic, 1_000_055)
      eq(found.offset, '6', 'the offset of a time')
      const [ends] = await admin.fetchTopicOffsets(topic)
      eq([ends.low, ends.high], ['0', '20'], 'both ends')
    })
    const consumer = connect(bench).consumer({ groupId: unique('g'), maxWaitTimeInMs: 200 })
    const records = []
    await using(consumer, async () => {
      await consumer.subscribe({ topic, fromBeginning: true })
      await consumer.run({ autoCommit: false, eachMessage: async ({ message }) => { records.push(Number(message.offset)) } })
      await eventually('all records', () => records.length === 20)
      consumer.seek({ topic, partition: 0, offset: '15' })
      await eventually('five again', () => records.length === 25)
      eq(records.slice(20), [15, 16, 17, 18, 19], 'after a seek')
      consumer.pause([{ topic }])
      await send(bench, topic, [{ value: 'x' }])
      await sleep(600)
      eq(records.length, 25, 'records while paused')
      consumer.resume([{ topic }])
      await eventually('the record after the pause', () => records.length === 26)
    })
  },

  async group_under_load (bench) {
    const topic = await create(bench, 'group', 4)
    const groupId = unique('g')
    const seen = new Map()
    const total = 800
    const join = async () => {
      const consumer = connect(bench).consumer({ groupId, sessionTimeout: 10_000, heartbeatInterval: 500, maxWaitTimeInMs: 100 })
      await consumer.connect()
      await consumer.subscribe({ topic, fromBeginning: true })
      await consumer.run({
        autoCommitInterval: 200,
        eachMessage: async ({ partition, message }) => {
          const place = `${partition}/${message.offset}`
          check((seen.get(message.value.toString()) ?? place) === place, 'a record lies in one place')
          seen.set(message.value.toString(), place)
        }
      })
      return consumer
    }
    const members = [await join()]
    await using(connect(bench).producer(), async producer => {
      for (let n = 0; n < total; n += 4) {
        await producer.send({ topic, messages: numbers(4).map(partition => ({ partition, value: String(n + partition) })) })
        if (n === 200) members.push(await join())
      }
    })
    await eventually('all records', () => seen.size === total)
    for (const n of numbers(total)) eq(seen.get(String(n)), `${n % 4}/${Math.floor(n / 4)}`, `the place of record ${n}`)
    await using(connect(bench).admin(), async admin => {
      const { groups: [described] } = await admin.describeGroups([groupId])
      eq([described.state, described.members.length, described.protocolType], ['Stable', 2, 'consumer'], 'the group')
      for (const member of members) await member.disconnect()
      const [committed] = await admin.fetchOffsets({ groupId, topics: [topic] })
      eq(committed.partitions.map(place => place.offset), ['200', '200', '200', '200'], 'committed offsets')
      await admin.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset: '7' }] })
      const [changed] = await admin.fetchOffsets({ groupId, topics: [topic] })
      eq(changed.partitions.find(place => place.partition === 0).offset, '7', 'a changed offset')
      check((await admin.listGroups()).groups.some(group => group.groupId === groupId), 'the group is listed')
      await admin.deleteGroups([groupId])
      await eventually('the group is gone', async () => !(await admin.listGroups()).groups.some(group => group.groupId === groupId))
    })
  },

  async admin (bench) {
    const topic = await create(bench, 'admin', 10)
    await using(connect(bench).admin(), async admin => {
      eq(await admin.createTopics({ topics: [{ topic }] }), false, 'the same topic again')
      await admin.createPartitions({ topicPartitions: [{ topic, count: 12 }] })
      await eventually('twelve partitions', async () => (await admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length === 12)
      await admin.alterConfigs({ resources: [{ type: ConfigResourceTypes.TOPIC, name: topic, configEntries: [{ name: 'compression.type', value: 'lz4' }] }] })
      await eventually('the setting', async () => {
        const { resources: [found] } = await admin.describeConfigs({ resources: [{ type: ConfigResourceTypes.TOPIC, name: topic, configNames: ['compression.type'] }] })
        return found.configEntries[0].configValue === 'lz4'
      })
      eq((await admin.describeCluster()).brokers.length, bench.bootstrap.length, 'brokers')
      await send(bench, topic, numbers(10).map(n => ({ partition: 0, value: String(n) })))
      await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '4' }] })
      eq((await admin.fetchTopicOffsets(topic)).find(place => place.partition === 0).low, '4', 'the first offset')
      await admin.deleteTopics({ topics: [topic] })
      await eventually('the topic is gone', async () => !(await admin.listTopics()).includes(topic))
      await fails(/does not host this topic-partition|UNKNOWN_TOPIC/, () => admin.deleteTopics({ topics: [topic] }), 'a topic that is gone')
    })
  }
}

await main(tests)
