'use strict'
// jackd: every method of its client, and its option useLegacyStringPayloads.
//
// Of jackd 2.2.2 itself: `put` turns a Buffer into JSON and refuses an empty body, so those two
// bodies are put by hand; replies that hold YAML are given out as text; `pauseTube` forgets the
// end of its line, so the suite sends it.

const { once } = require('node:events')
const Jackd = require('jackd')
const { parse } = require('yaml')
const {
  BINARY, LARGE, TEXT, Suite,
  assert, hasKeys, host, pick, port, putByHand, setting, unixSocket, until, unusedPort, within,
} = require('../node/harness')

const suite = new Suite('jackd')
const { deepEqual, equal, ok } = assert

/** Runs `body` with clients that use and watch only that tube, and closes them. */
async function withClients(tube, count, body) {
  const clients = []
  try {
    for (let i = 0; i < count; i++) {
      const client = await new Jackd().connect({ host, port })
      clients.push(client)
      await client.use(tube)
      await client.watch(tube)
      await client.ignore('default')
    }
    return await body(...clients)
  } finally {
    for (const client of clients) await client.quit()
  }
}

/** Registers a check that is given such clients. */
function check(title, count, body) {
  suite.check(title, tube => withClients(tube, count, (...clients) => body(tube, ...clients)))
}

const refused = (message, promise) =>
  assert.rejects(promise, error => {
    equal(error.response ?? error.message, message)
    return true
  })

const statsJob = async (client, id) => parse(await client.statsJob(id))
const statsTube = async (client, tube) => parse(await client.statsTube(tube))

async function pauseTube(client, tube, delay) {
  const paused = client.pauseTube(tube, { delay })
  await client.write(Buffer.from('\r\n'))
  return paused
}

suite.check('connect, and the three names of quit', async () => {
  for (const close of ['quit', 'close', 'disconnect']) {
    const client = new Jackd()
    equal(client.isConnected(), false)
    await client.connect({ host, port })
    equal(client.isConnected(), true)
    equal(await client.getCurrentTube(), 'default')
    const closed = new Promise(resolve => client.socket.once('close', resolve))
    await client[close]()
    await within(closed)
    equal(client.isConnected(), false)
  }
  const dead = new Jackd().connect({ host: '127.0.0.1', port: await unusedPort() })
  await assert.rejects(dead, { code: 'ECONNREFUSED' })
})

check('put keeps priority, delay and ttr', 1, async (tube, client) => {
  let id = await client.put('x', { priority: 2 ** 32 - 1, delay: 60, ttr: 2 ** 32 - 1 })
  let stats = await statsJob(client, id)
  deepEqual(pick(stats, 'pri', 'delay', 'ttr'), [2 ** 32 - 1, 60, 2 ** 32 - 1])
  deepEqual(pick(stats, 'state', 'tube'), ['delayed', tube])
  await client.delete(id)

  id = await client.put('x')
  deepEqual(pick(await statsJob(client, id), 'pri', 'delay', 'ttr'), [0, 0, 60])
  await client.delete(id)

  id = await client.put('x', { delay: 1 })
  equal((await client.reserveWithTimeout(5)).id, id)
  await client.delete(id)
})

check('bodies come back as they were: empty, UTF-8, binary, JSON, large', 1, async (tube, client) => {
  const ascii = BINARY.toString('latin1').replace(/[^\0-\x7f]/g, '')
  const sent = [
    [await putByHand(tube, Buffer.alloc(0)), Buffer.alloc(0)],
    [await putByHand(tube, BINARY), BINARY],
    [await client.put(TEXT), Buffer.from(TEXT)],
    [await client.put(ascii), Buffer.from(ascii)],
    [await client.put({ a: [1, TEXT] }), Buffer.from(JSON.stringify({ a: [1, TEXT] }))],
    [await client.put('\r\n'.repeat(LARGE / 2)), Buffer.from('\r\n'.repeat(LARGE / 2))],
  ]
  for (const [id, body] of sent) {
    deepEqual(await client.peek(id), { id, payload: body })
    const job = await client.reserveJob(id)
    deepEqual(job, { id, payload: body })
    await client.delete(id)
  }
})

suite.check('useLegacyStringPayloads', async tube => {
  const client = await new Jackd({ useLegacyStringPayloads: true }).connect({ host, port })
  await client.use(tube)
  const id = await client.put('text')
  deepEqual(await client.peekReady(), { id, payload: 'text' })
  await client.delete(id)
  await client.quit()
})

suite.check('use and list-tube-used', async tube => {
  const client = await new Jackd().connect({ host, port })
  equal(await client.use(tube), tube)
  equal(await client.listTubeUsed(), tube)
  await refused('BAD_FORMAT', client.use('-dash'))
  equal(await client.getCurrentTube(), tube)
  await client.quit()
})

suite.check('watch, ignore, NOT_IGNORED, and the order of list-tubes-watched', async tube => {
  const [a, b] = [`${tube}-a`, `${tube}-b`]
  const client = await new Jackd().connect({ host, port })
  deepEqual([await client.watch(a), await client.watch(b), await client.watch(b)], [2, 3, 3])
  deepEqual(parse(await client.listTubesWatched()), ['default', a, b])
  deepEqual([await client.ignore('default'), await client.ignore(tube)], [2, 2])
  equal(await client.ignore(a), 1)
  await refused('NOT_IGNORED', client.ignore(b))
  deepEqual(parse(await client.listTubesWatched()), [b])
  await client.quit()
})

check('reserve takes the lowest (priority, id) of all watched tubes', 1, async (tube, client) => {
  await client.watch(`${tube}-b`)
  const last = await client.put('last', { priority: 9 })
  await client.use(`${tube}-b`)
  const [first, second] = [await client.put('first'), await client.put('second')]
  for (const id of [first, second, last]) equal((await client.reserve()).id, id)
  for (const id of [first, second, last]) await client.delete(id)
})

check('reserve-with-timeout times out', 1, async (tube, client) => {
  await refused('TIMED_OUT', client.reserveWithTimeout(0))
  await refused('TIMED_OUT', client.reserveWithTimeout(1))
})

check('reserve-job takes ready, delayed and buried jobs', 2, async (tube, client, other) => {
  const buried = await client.put('buried')
  await client.reserve()
  await client.bury(buried)
  const ready = await client.put('ready')
  const delayed = await client.put('delayed', { delay: 60 })
  for (const [id, body] of [[ready, 'ready'], [delayed, 'delayed'], [buried, 'buried']]) {
    deepEqual(await client.reserveJob(id), { id, payload: Buffer.from(body) })
    await refused('NOT_FOUND', other.reserveJob(id))
    await client.delete(id)
    await refused('NOT_FOUND', client.reserveJob(id))
  }
})

check("delete: anyone's job, unless another connection has reserved it", 2, async (tube, client, other) => {
  const id = await client.put('x')
  await client.reserve()
  await refused('NOT_FOUND', other.delete(id))
  await client.release(id)
  await other.delete(id)
  await refused('NOT_FOUND', client.delete(id))
})

check('release with priority and delay', 1, async (tube, client) => {
  const id = await client.put('x', { priority: 7 })
  await client.reserve()
  await client.release(id, { priority: 5, delay: 60 })
  const stats = await statsJob(client, id)
  deepEqual(pick(stats, 'state', 'pri', 'delay', 'releases'), ['delayed', 5, 60, 1])
  await client.kickJob(id)
  await client.reserve()
  await client.release(id, { delay: 1 })
  equal((await client.reserveWithTimeout(5)).id, id)
  await client.release(id)
  await refused('NOT_FOUND', client.release(id))
  await client.delete(id)
})

check('bury, kick (buried jobs first, then delayed ones) and kick-job', 1, async (tube, client) => {
  const ids = [await client.put('x'), await client.put('x')]
  for (const _ of ids) await client.bury((await client.reserve()).id, 3)
  deepEqual(pick(await statsJob(client, ids[0]), 'state', 'pri', 'buries'), ['buried', 3, 1])
  ids.push(await client.put('x', { delay: 60 }))
  for (const kicked of [1, 1, 1, 0]) equal(await client.kick(1), kicked)
  for (const id of ids) equal((await statsJob(client, id)).state, 'ready')
  await refused('NOT_FOUND', client.kickJob(ids[0]))

  const { id } = await client.reserve()
  await client.bury(id)
  await refused('NOT_FOUND', client.bury(id))
  await client.kickJob(id)
  equal((await statsJob(client, id)).state, 'ready')
  for (const id of ids) await client.delete(id)
})

check('touch gives a reserved job its whole ttr again', 2, async (tube, client, other) => {
  const id = await client.put('x', { ttr: 60 })
  await client.reserve()
  const timeLeft = async () => (await statsJob(client, id))['time-left']
  await until(async () => (await timeLeft()) < 59)
  const before = await timeLeft()
  await until(async () => {
    await client.touch(id)
    return (await timeLeft()) > before
  })
  await refused('NOT_FOUND', other.touch(id))
  await client.delete(id)
})

check('peek, peek-ready, peek-delayed, peek-buried', 1, async (tube, client) => {
  for (const peek of ['peekReady', 'peekDelayed', 'peekBuried']) {
    await refused('NOT_FOUND', client[peek]())
  }
  const buried = await client.put('buried')
  await client.reserve()
  await client.bury(buried)
  const ready = await client.put('ready')
  const delayed = await client.put('delayed', { delay: 60 })
  for (const [id, body, peek] of [
    [ready, 'ready', 'peekReady'],
    [delayed, 'delayed', 'peekDelayed'],
    [buried, 'buried', 'peekBuried'],
  ]) {
    deepEqual(await client[peek](), { id, payload: Buffer.from(body) })
    deepEqual(await client.peek(id), { id, payload: Buffer.from(body) })
    await client.delete(id)
    await refused('NOT_FOUND', client.peek(id))
  }
})

check('stats has every key and counts', 1, async (tube, client) => {
  const before = parse(await client.stats())
  hasKeys(before, 'stats')
  await client.delete(await client.put('x'))
  const after = parse(await client.stats())
  for (const key of ['cmd-put', 'cmd-delete', 'cmd-stats', 'total-jobs']) {
    ok(after[key] > before[key], key)
  }
  for (const key of ['current-connections', 'current-producers', 'current-tubes', 'pid']) {
    ok(after[key] > 0, key)
  }
  equal(after.draining, false)
  for (const key of ['version', 'hostname', 'platform']) ok(after[key], key)
})

check('stats-job has every key and the right values', 1, async (tube, client) => {
  const id = await client.put('x', { priority: 4, ttr: 100 })
  await client.reserve()
  const stats = await statsJob(client, id)
  hasKeys(stats, 'stats-job')
  ok(stats['time-left'] >= 97 && stats['time-left'] <= 100)
  deepEqual(
    pick(stats, 'id', 'tube', 'state', 'pri', 'delay', 'ttr', 'reserves', 'timeouts'),
    [Number(id), tube, 'reserved', 4, 0, 100, 1, 0],
  )
  await client.delete(id)
  await refused('NOT_FOUND', client.statsJob(id))
})

check('stats-tube has every key and the right values', 1, async (tube, client) => {
  await refused('NOT_FOUND', client.statsTube(`${tube}-unknown`))
  const ids = [
    await client.put('x', { priority: 1023 }),
    await client.put('x', { priority: 1024 }),
    await client.put('x', { delay: 60 }),
  ]
  const stats = await statsTube(client, tube)
  hasKeys(stats, 'stats-tube')
  deepEqual(
    pick(stats, 'name', 'total-jobs', 'current-using', 'current-watching', 'current-waiting'),
    [tube, 3, 1, 1, 0],
  )
  const counts = ['urgent', 'ready', 'reserved', 'delayed', 'buried'].map(s => `current-jobs-${s}`)
  deepEqual(pick(stats, ...counts), [1, 2, 0, 1, 0])
  for (const id of ids) await client.delete(id)
  equal((await statsTube(client, tube))['cmd-delete'], 3)
})

suite.check('list-tubes', async tube => {
  const client = await new Jackd().connect({ host, port })
  ok(!parse(await client.listTubes()).includes(tube))
  await client.use(tube)
  const tubes = parse(await client.listTubes())
  ok(tubes.includes(tube) && tubes.includes('default'))
  await client.quit()
})

check('pause-tube holds jobs back, ends by itself, and 0 resumes', 1, async (tube, client) => {
  await refused('NOT_FOUND', pauseTube(client, `${tube}-unknown`, 1))
  const id = await client.put('x')
  await pauseTube(client, tube, 60)
  await refused('TIMED_OUT', client.reserveWithTimeout(0))
  const stats = await statsTube(client, tube)
  deepEqual(pick(stats, 'pause', 'cmd-pause-tube'), [60, 1])
  ok(stats['pause-time-left'] >= 57 && stats['pause-time-left'] <= 60)
  await pauseTube(client, tube, 0)
  await client.reserve()
  await client.release(id)
  await pauseTube(client, tube, 1)
  equal((await client.reserveWithTimeout(5)).id, id)
  await client.delete(id)
})

check('DEADLINE_SOON ends a waiting reserve', 1, async (tube, client) => {
  const id = await client.put('x', { ttr: 2 })
  await client.reserve()
  await refused('DEADLINE_SOON', client.reserve())
  await client.delete(id)
})

check('a job whose ttr has passed goes to another worker', 2, async (tube, slow, other) => {
  const id = await slow.put('x', { ttr: 1 })
  await slow.reserve()
  // The slow worker keeps asking, since beanstalkd 1.12 loses timers of silent connections.
  await until(async () => (await statsJob(slow, id)).timeouts === 1)
  equal((await other.reserveWithTimeout(5)).id, id)
  await refused('NOT_FOUND', slow.release(id))
  await other.delete(id)
})

check('errors leave the connection usable: JOB_TOO_BIG, BAD_FORMAT', 1, async (tube, client) => {
  const limit = parse(await client.stats())['max-job-size']
  await refused('JOB_TOO_BIG', client.put('x'.repeat(limit + 1)))
  await client.delete(await client.put('x'.repeat(limit)))
  await refused('BAD_FORMAT', client.watch('two words'))
  equal(await client.listTubeUsed(), tube)
})

check('a full tube refuses a put, and a server with too many connections closes', 1, async (tube, client) => {
  await client.use(setting('JQ_FULL_TUBE'))
  await refused('OUT_OF_MEMORY', client.put('x'))
  await client.use(tube)
  await client.delete(await client.put('x'))
  const crowded = await new Jackd().connect({ host, port: Number(setting('JQ_CROWDED_PORT')) })
  await within(once(crowded.socket, 'close'))
  equal(crowded.isConnected(), false)
})

check('what is not allowed is an error, and a put does not break the connection', 1, async () => {
  const denied = await new Jackd().connect({ host, port: Number(setting('JQ_DENIED_PORT')) })
  await refused('INTERNAL_ERROR', denied.put('quit'))
  await refused('INTERNAL_ERROR', denied.reserveWithTimeout(0))
  await refused('INTERNAL_ERROR', denied.put('quit'))
  await denied.disconnect()
})

check('closing the connection gives its reserved jobs back', 1, async (tube, other) => {
  const id = await withClients(tube, 1, async client => {
    const id = await client.put('x', { ttr: 600 })
    await client.reserve()
    return id
  })
  equal((await other.reserveWithTimeout(5)).id, id)
  await other.delete(id)
})

check('a blocked reserve is satisfied by another connection', 2, async (tube, worker, producer) => {
  const reserved = worker.reserve()
  await until(async () => (await statsTube(producer, tube))['current-waiting'] === 1)
  const id = await producer.put('x')
  equal((await within(reserved)).id, id)
  await worker.delete(id)
})

suite.check('unix socket', async tube => {
  // Undocumented, but Node takes a path wherever it takes a port, and so does jackd.
  const client = await new Jackd().connect({ port: unixSocket() })
  await client.use(tube)
  const id = await client.put(TEXT)
  deepEqual(await client.peekReady(), { id, payload: Buffer.from(TEXT) })
  await client.delete(id)
  await client.quit()
})

suite.run(async () => {
  const client = await new Jackd().connect({ host, port })
  const tubes = parse(await client.listTubes())
  await client.quit()
  return tubes
})
