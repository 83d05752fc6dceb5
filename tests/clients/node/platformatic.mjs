// @platformatic/kafka: young, and the client that asks for the newest versions of the protocol.

import { Admin, Consumer, MessagesStreamModes, Producer, stringDeserializers, stringSerializers } from '@platformatic/kafka'
import { check, eq, eventually, fails, main, numbers, sleep, unique } from './harness.mjs'

const common = (bench, what) => ({ clientId: what, bootstrapBrokers: bench.bootstrap, retries: 20, retryDelay: 100 })
const producing = bench => new Producer({ ...common(bench, 'producer'), serializers: stringSerializers })
const consuming = (bench, groupId, options = {}) => new Consumer({
  ...common(bench, 'consumer'), groupId, deserializers: stringDeserializers, sessionTimeout: 10_000, heartbeatInterval: 500, maxWaitTime: 200, ...options
})

async function using (client, action) {
  try {
    return await action(client)
  } finally {
    await (client instanceof Consumer ? client.close(true) : client.close())
  }
}

async function create (bench, what, partitions = 1, configs = []) {
  const topic = unique(what)
  await using(new Admin(common(bench, 'admin')), async admin => {
    await admin.createTopics({ topics: [topic], partitions, replicas: bench.replicas, configs })
    await eventually(`leaders of ${topic}`, async () => {
      try {
        const found = await admin.metadata({ topics: [topic], forceUpdate: true })
        return found.topics.get(topic).partitions.filter(partition => partition.leader >= 0).length === partitions
      } catch {
        return false
      }
    })
  })
  return topic
}

async function read (bench, topic, count, options = {}) {
  const records = []
  await using(consuming(bench, unique('g')), async consumer => {
    const stream = await consumer.consume({ topics: [topic], mode: MessagesStreamModes.EARLIEST, autocommit: false, ...options })
    stream.on('data', message => records.push(message))
    await eventually(`${count} records`, () => records.length >= count)
  })
  eq(records.length, count, 'records read')
  return records
}

const send = (bench, messages, options = {}) => using(producing(bench), producer => producer.send({ acks: -1, messages, ...options }))

const tests = {
  async acks (bench) {
    for (const acks of [0, 1, -1]) {
      const topic = await create(bench, 'acks')
      const answer = await send(bench, numbers(100).map(n => ({ topic, value: `v${n}` })), { acks })
      if (acks !== 0) eq(answer.offsets.map(place => [place.partition, place.offset]), [[0, 0n]], `the answer with acks=${acks}`)
      const records = await read(bench, topic, 100)
      eq(records.map(record => `${record.offset} ${record.value}`), numbers(100).map(n => `${n} v${n}`), `records with acks=${acks}`)
    }
  },

  async compression (bench) {
    const topic = await create(bench, 'codecs')
    const expected = []
    for (const compression of ['none', 'gzip', 'snappy', 'lz4', 'zstd']) {
      const values = numbers(30).map(n => `${compression}-${n}-${'d'.repeat(600)}`)
      await send(bench, values.map(value => ({ topic, value })), { compression })
      expected.push(...values)
    }
    const records = await read(bench, topic, expected.length)
    eq(records.map(record => record.value), expected, 'values')
    eq(records.map(record => Number(record.offset)), numbers(expected.length), 'offsets')
  },

  async shapes (bench) {
    const topic = await create(bench, 'shapes', 1, [{ name: 'max.message.bytes', value: '2097152' }])
    const large = 'L'.repeat(1 << 20)
    await send(bench, [
      { topic, key: 'k', value: 'v', headers: { one: '1', two: '2' }, timestamp: 1234567890123n }, { topic, key: 'gone' },
      { topic, value: 'no key' }, { topic, value: large }
    ])
    const [first, tombstone, keyless, big] = await read(bench, topic, 4)
    eq([[...first.headers], first.timestamp], [[['one', '1'], ['two', '2']], 1234567890123n], 'headers and time')
    eq([tombstone.key, tombstone.value ?? null, keyless.key ?? null], ['gone', null, null], 'nulls')
    check(big.value === large, '1 MiB comes back as it was')
  },

  async idempotent (bench) {
    const topic = await create(bench, 'idempotent')
    await using(producing(bench), async producer => {
      for (const n of numbers(20)) {
        const { offsets: [place] } = await producer.send({ idempotent: true, acks: -1, messages: numbers(10).map(m => ({ topic, value: String(n * 10 + m) })) })
        eq(place.offset, BigInt(n * 10), 'the first offset')
      }
    })
    eq((await read(bench, topic, 200)).map(record => Number(record.value)), numbers(200), 'records')
  },

  async offsets (bench) {
    const topic = await create(bench, 'offsets')
    await send(bench, numbers(20).map(n => ({ topic, value: String(n), timestamp: BigInt(1_000_000 + n * 10) })))
    await using(consuming(bench, unique('g')), async consumer => {
      eq((await consumer.listOffsets({ topics: [topic] })).get(topic), [20n], 'the end')
      eq((await consumer.listOffsets({ topics: [topic], timestamp: -2n })).get(topic), [0n], 'the beginning')
      const found = (await consumer.listOffsetsWithTimestamps({ topics: [topic], timestamp: 1_000_055n })).get(topic).get(0)
      eq([found.offset, found.timestamp], [6n, 1_000_060n], 'the offset of a time')
    })
    const rest = await read(bench, topic, 5, { mode: MessagesStreamModes.MANUAL, offsets: [{ topic, partition: 0, offset: 15n }] })
    eq(rest.map(record => record.value), ['15', '16', '17', '18', '19'], 'from 15 on')
  },

  async group_under_load (bench) {
    const topic = await create(bench, 'group', 4)
    const groupId = unique('g')
    const seen = new Map()
    const total = 800
    const join = async () => {
      const consumer = consuming(bench, groupId)
      const stream = await consumer.consume({ topics: [topic], mode: MessagesStreamModes.COMMITTED, fallbackMode: 'earliest', autocommit: 200 })
      stream.on('error', () => {})
      stream.on('data', message => {
        const place = `${message.partition}/${message.offset}`
        check((seen.get(message.value) ?? place) === place, 'a record lies in one place')
        seen.set(message.value, place)
      })
      return consumer
    }
    const members = [await join()]
    const partitioner = message => Number(message.value) % 4
    await using(producing(bench), async producer => {
      for (let n = 0; n < total; n += 4) {
        await producer.send({ messages: numbers(4).map(m => ({ topic, value: String(n + m) })), partitioner })
        if (n === 200) members.push(await join())
      }
    })
    await eventually('all records', () => seen.size === total)
    for (const n of numbers(total)) eq(seen.get(String(n)), `${n % 4}/${Math.floor(n / 4)}`, `the place of record ${n}`)
    await using(new Admin(common(bench, 'admin')), async admin => {
      const described = await eventually('two members', async () => {
        const found = (await admin.describeGroups({ groups: [groupId] })).get(groupId)
        return found.members.size === 2 && found.state.toLowerCase() === 'stable' && found
      })
      eq(described.protocolType, 'consumer', 'the group')
      await sleep(500)
      for (const member of members) await member.close(true)
      const [committed] = await admin.listConsumerGroupOffsets({ groups: [groupId] })
      eq(committed.topics[0].partitions.map(place => Number(place.committedOffset)), [200, 200, 200, 200], 'committed offsets')
      check((await admin.listGroups()).has(groupId), 'the group is listed')
      await eventually('the group can be deleted', async () => {
        try {
          await admin.deleteGroups({ groups: [groupId] })
          return true
        } catch {
          return false
        }
      })
    })
  },

  async admin (bench) {
    const topic = await create(bench, 'admin', 10)
    await using(new Admin(common(bench, 'admin')), async admin => {
      await fails(/TOPIC_ALREADY_EXISTS/, () => admin.createTopics({ topics: [topic], partitions: 1, replicas: 1 }), 'the same topic again')
      await admin.createPartitions({ topics: [{ name: topic, count: 12, assignments: null }] })
      await eventually('twelve partitions', async () => (await admin.metadata({ topics: [topic], forceUpdate: true })).topics.get(topic).partitionsCount === 12)
      await admin.incrementalAlterConfigs({ resources: [{ resourceType: 2, resourceName: topic, configs: [{ name: 'compression.type', configOperation: 0, value: 'lz4' }] }] })
      await eventually('the setting', async () => {
        const [found] = await admin.describeConfigs({ resources: [{ resourceType: 2, resourceName: topic, configurationKeys: ['compression.type'] }] })
        return found.configs[0].value === 'lz4'
      })
      await send(bench, numbers(10).map(n => ({ topic, value: String(n) })), { partitioner: () => 0 })
      await admin.deleteRecords({ topics: [{ name: topic, partitions: [{ partition: 0, offset: 4n }] }] })
      const [listed] = await admin.listOffsets({ topics: [{ name: topic, partitions: [{ partitionIndex: 0, timestamp: -2n }] }] })
      eq(listed.partitions[0].offset, 4n, 'the first offset')
      await admin.deleteTopics({ topics: [topic] })
      await eventually('the topic is gone', async () => !(await admin.listTopics()).includes(topic))
    })
  }
}

await main(tests)
