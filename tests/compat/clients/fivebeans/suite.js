'use strict'
// fivebeans: every command of its client, its worker and its runner. It has no reserve-job.

const { mkdtempSync, rmSync, writeFileSync } = require('node:fs')
const { once } = require('node:events')
const os = require('node:os')
const path = require('node:path')
const fivebeans = require('fivebeans')
const {
  BINARY, LARGE, TEXT, Suite,
  assert, hasKeys, host, pick, port, setting, unixSocket, until, unusedPort, within,
} = require('../node/harness')

const suite = new Suite('fivebeans')
const { deepEqual, equal, ok } = assert

/** A connected client. */
async function connect(toPort = port) {
  const client = new fivebeans.client(host, toPort)
  client.connect()
  await within(once(client, 'connect'))
  return client
}

/** Calls a command and gives its one result, or the array of several; rejects with its error. */
function call(client, command, ...args) {
  return new Promise((resolve, reject) => {
    client[command](...args, (error, ...results) => {
      if (error) reject(error)
      else resolve(results.length > 1 ? results : results[0])
    })
  })
}

const refused = async (message, promise) => {
  const outcome = await promise.then(result => `the result ${result}`, error => error)
  equal(outcome, message)
}

/** Runs `body` with clients that use and watch only that tube, and closes them. */
async function withClients(tube, count, body) {
  const clients = []
  try {
    for (let i = 0; i < count; i++) {
      const client = await connect()
      clients.push(client)
      await call(client, 'use', tube)
      await call(client, 'watch', tube)
      await call(client, 'ignore', 'default')
    }
    return await body(...clients)
  } finally {
    for (const client of clients) client.end()
  }
}

/** Registers a check that is given such clients. */
function check(title, count, body) {
  suite.check(title, tube => withClients(tube, count, (...clients) => body(tube, ...clients)))
}

/** Puts a job with the defaults of these checks and returns its id. */
const put = (client, body, { pri = 100, delay = 0, ttr = 60 } = {}) =>
  call(client, 'put', pri, delay, ttr, body)

suite.check('connect, end, quit, and a refused connection', async () => {
  for (const close of ['end', 'quit']) {
    const client = await connect()
    equal(await call(client, 'list_tube_used'), 'default')
    const closed = once(client, 'close')
    client[close]()
    await within(closed)
  }
  const dead = new fivebeans.client('127.0.0.1', await unusedPort())
  const failed = once(dead, 'error')
  dead.connect()
  equal((await within(failed))[0].code, 'ECONNREFUSED')
})

check('put keeps priority, delay and ttr', 1, async (tube, client) => {
  let id = await put(client, 'x', { pri: 2 ** 32 - 1, delay: 60, ttr: 2 ** 32 - 1 })
  const stats = await call(client, 'stats_job', id)
  deepEqual(pick(stats, 'pri', 'delay', 'ttr'), [2 ** 32 - 1, 60, 2 ** 32 - 1])
  deepEqual(pick(stats, 'state', 'tube'), ['delayed', tube])
  await call(client, 'destroy', id)
  id = await put(client, 'x', { delay: 1 })
  equal((await call(client, 'reserve_with_timeout', 5))[0], id)
  await call(client, 'destroy', id)
})

check('bodies come back as they were: empty, UTF-8, binary, large', 1, async (tube, client) => {
  for (const body of [
    '',
    TEXT,
    BINARY,
    Buffer.concat(Array(Math.floor(LARGE / BINARY.length)).fill(BINARY)),
    Buffer.alloc(LARGE, 0xff),
  ]) {
    const id = await put(client, body)
    deepEqual(await call(client, 'peek', id), [id, Buffer.from(body)])
    deepEqual(await call(client, 'reserve_with_timeout', 5), [id, Buffer.from(body)])
    await call(client, 'destroy', id)
  }
})

suite.check('use and list-tube-used', async tube => {
  const client = await connect()
  equal(await call(client, 'use', tube), tube)
  equal(await call(client, 'list_tube_used'), tube)
  await refused('BAD_FORMAT', call(client, 'use', '-dash'))
  equal(await call(client, 'list_tube_used'), tube)
  client.end()
})

suite.check('watch, ignore, NOT_IGNORED, and the order of list-tubes-watched', async tube => {
  const [a, b] = [`${tube}-a`, `${tube}-b`]
  const client = await connect()
  for (const [name, count] of [[a, '2'], [b, '3'], [b, '3']]) {
    equal(await call(client, 'watch', name), count)
  }
  deepEqual(await call(client, 'list_tubes_watched'), ['default', a, b])
  for (const [name, count] of [['default', '2'], [tube, '2'], [a, '1']]) {
    equal(await call(client, 'ignore', name), count)
  }
  await refused('NOT_IGNORED', call(client, 'ignore', b))
  deepEqual(await call(client, 'list_tubes_watched'), [b])
  client.end()
})

check('reserve takes the lowest (priority, id) of all watched tubes', 1, async (tube, client) => {
  await call(client, 'watch', `${tube}-b`)
  const last = await put(client, 'last', { pri: 9 })
  await call(client, 'use', `${tube}-b`)
  const first = await put(client, 'first', { pri: 0 })
  const second = await put(client, 'second', { pri: 0 })
  for (const id of [first, second, last]) equal((await call(client, 'reserve'))[0], id)
  for (const id of [first, second, last]) await call(client, 'destroy', id)
})

check('commands sent at once are answered in order', 1, async (tube, client) => {
  const puts = Array.from({ length: 50 }, (_, i) => put(client, `body ${i}`))
  const reserves = puts.map(() => call(client, 'reserve_with_timeout', 0))
  const ids = await Promise.all(puts)
  const jobs = await Promise.all(reserves)
  deepEqual(jobs.map(([id, body]) => [id, String(body)]), ids.map((id, i) => [id, `body ${i}`]))
  await Promise.all(ids.map(id => call(client, 'destroy', id)))
})

check('reserve-with-timeout times out', 1, async (tube, client) => {
  await refused('TIMED_OUT', call(client, 'reserve_with_timeout', 0))
  await refused('TIMED_OUT', call(client, 'reserve_with_timeout', 1))
})

check("delete: anyone's job, unless another connection has reserved it", 2, async (tube, client, other) => {
  const id = await put(client, 'x')
  await call(client, 'reserve')
  await refused('NOT_FOUND', call(other, 'destroy', id))
  await call(client, 'release', id, 1, 0)
  await call(other, 'destroy', id)
  await refused('NOT_FOUND', call(client, 'destroy', id))
})

check('release with priority and delay', 1, async (tube, client) => {
  const id = await put(client, 'x', { pri: 7 })
  await call(client, 'reserve')
  await call(client, 'release', id, 5, 60)
  const stats = await call(client, 'stats_job', id)
  deepEqual(pick(stats, 'state', 'pri', 'delay', 'releases'), ['delayed', 5, 60, 1])
  await call(client, 'kick_job', id)
  await call(client, 'reserve')
  await call(client, 'release', id, fivebeans.LOWEST_PRIORITY, 1)
  equal((await call(client, 'reserve_with_timeout', 5))[0], id)
  await call(client, 'release', id, 0, 0)
  await refused('NOT_FOUND', call(client, 'release', id, 0, 0))
  await call(client, 'destroy', id)
})

check('bury, kick (buried jobs first, then delayed ones) and kick-job', 1, async (tube, client) => {
  const ids = [await put(client, 'x'), await put(client, 'x')]
  for (const _ of ids) await call(client, 'bury', (await call(client, 'reserve'))[0], 3)
  const stats = await call(client, 'stats_job', ids[0])
  deepEqual(pick(stats, 'state', 'pri', 'buries'), ['buried', 3, 1])
  ids.push(await put(client, 'x', { delay: 60 }))
  for (const kicked of ['1', '1', '1', '0']) equal(await call(client, 'kick', 1), kicked)
  for (const id of ids) equal((await call(client, 'stats_job', id)).state, 'ready')
  await refused('NOT_FOUND', call(client, 'kick_job', ids[0]))

  const [id] = await call(client, 'reserve')
  await call(client, 'bury', id, 0)
  await refused('NOT_FOUND', call(client, 'bury', id, 0))
  await call(client, 'kick_job', id)
  equal((await call(client, 'stats_job', id)).state, 'ready')
  for (const id of ids) await call(client, 'destroy', id)
})

check('touch gives a reserved job its whole ttr again', 2, async (tube, client, other) => {
  const id = await put(client, 'x', { ttr: 60 })
  await call(client, 'reserve')
  const timeLeft = async () => (await call(client, 'stats_job', id))['time-left']
  await until(async () => (await timeLeft()) < 59)
  const before = await timeLeft()
  await until(async () => {
    await call(client, 'touch', id)
    return (await timeLeft()) > before
  })
  await refused('NOT_FOUND', call(other, 'touch', id))
  await call(client, 'destroy', id)
})

check('peek, peek-ready, peek-delayed, peek-buried', 1, async (tube, client) => {
  for (const peek of ['peek_ready', 'peek_delayed', 'peek_buried']) {
    await refused('NOT_FOUND', call(client, peek))
  }
  const buried = await put(client, 'buried')
  await call(client, 'reserve')
  await call(client, 'bury', buried, 0)
  const ready = await put(client, 'ready')
  const delayed = await put(client, 'delayed', { delay: 60 })
  for (const [id, body, peek] of [
    [ready, 'ready', 'peek_ready'],
    [delayed, 'delayed', 'peek_delayed'],
    [buried, 'buried', 'peek_buried'],
  ]) {
    deepEqual(await call(client, peek), [id, Buffer.from(body)])
    deepEqual(await call(client, 'peek', id), [id, Buffer.from(body)])
    await call(client, 'destroy', id)
    await refused('NOT_FOUND', call(client, 'peek', id))
  }
})

check('stats has every key and counts', 1, async (tube, client) => {
  const before = await call(client, 'stats')
  hasKeys(before, 'stats')
  await call(client, 'destroy', await put(client, 'x'))
  const after = await call(client, 'stats')
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
  const id = await put(client, 'x', { pri: 4, ttr: 100 })
  await call(client, 'reserve')
  const stats = await call(client, 'stats_job', id)
  hasKeys(stats, 'stats-job')
  ok(stats['time-left'] >= 97 && stats['time-left'] <= 100)
  deepEqual(
    pick(stats, 'id', 'tube', 'state', 'pri', 'delay', 'ttr', 'reserves', 'timeouts'),
    [Number(id), tube, 'reserved', 4, 0, 100, 1, 0],
  )
  await call(client, 'destroy', id)
  await refused('NOT_FOUND', call(client, 'stats_job', id))
})

check('stats-tube has every key and the right values', 1, async (tube, client) => {
  await refused('NOT_FOUND', call(client, 'stats_tube', `${tube}-unknown`))
  const ids = [
    await put(client, 'x', { pri: 1023 }),
    await put(client, 'x', { pri: 1024 }),
    await put(client, 'x', { delay: 60 }),
  ]
  const stats = await call(client, 'stats_tube', tube)
  hasKeys(stats, 'stats-tube')
  deepEqual(
    pick(stats, 'name', 'total-jobs', 'current-using', 'current-watching', 'current-waiting'),
    [tube, 3, 1, 1, 0],
  )
  const counts = ['urgent', 'ready', 'reserved', 'delayed', 'buried'].map(s => `current-jobs-${s}`)
  deepEqual(pick(stats, ...counts), [1, 2, 0, 1, 0])
  for (const id of ids) await call(client, 'destroy', id)
  equal((await call(client, 'stats_tube', tube))['cmd-delete'], 3)
})

suite.check('list-tubes', async tube => {
  const client = await connect()
  ok(!(await call(client, 'list_tubes')).includes(tube))
  await call(client, 'use', tube)
  const tubes = await call(client, 'list_tubes')
  ok(tubes.includes(tube) && tubes.includes('default'))
  client.end()
})

check('pause-tube holds jobs back, ends by itself, and 0 resumes', 1, async (tube, client) => {
  await refused('NOT_FOUND', call(client, 'pause_tube', `${tube}-unknown`, 1))
  const id = await put(client, 'x')
  await call(client, 'pause_tube', tube, 60)
  await refused('TIMED_OUT', call(client, 'reserve_with_timeout', 0))
  const stats = await call(client, 'stats_tube', tube)
  deepEqual(pick(stats, 'pause', 'cmd-pause-tube'), [60, 1])
  ok(stats['pause-time-left'] >= 57 && stats['pause-time-left'] <= 60)
  await call(client, 'pause_tube', tube, 0)
  await call(client, 'reserve')
  await call(client, 'release', id, 0, 0)
  await call(client, 'pause_tube', tube, 1)
  equal((await call(client, 'reserve_with_timeout', 5))[0], id)
  await call(client, 'destroy', id)
})

check('DEADLINE_SOON ends a waiting reserve', 1, async (tube, client) => {
  const id = await put(client, 'x', { ttr: 2 })
  await call(client, 'reserve')
  await refused('DEADLINE_SOON', call(client, 'reserve'))
  await call(client, 'destroy', id)
})

check('a job whose ttr has passed goes to another worker', 2, async (tube, slow, other) => {
  const id = await put(slow, 'x', { ttr: 1 })
  await call(slow, 'reserve')
  // The slow worker keeps asking, since beanstalkd 1.12 loses timers of silent connections.
  await until(async () => (await call(slow, 'stats_job', id)).timeouts === 1)
  equal((await call(other, 'reserve_with_timeout', 5))[0], id)
  await refused('NOT_FOUND', call(slow, 'release', id, 0, 0))
  await call(other, 'destroy', id)
})

check('errors leave the connection usable: JOB_TOO_BIG, BAD_FORMAT', 1, async (tube, client) => {
  const limit = (await call(client, 'stats'))['max-job-size']
  await refused('JOB_TOO_BIG', put(client, Buffer.alloc(limit + 1)))
  await call(client, 'destroy', await put(client, Buffer.alloc(limit)))
  await refused('BAD_FORMAT', call(client, 'watch', 'two words'))
  equal(await call(client, 'list_tube_used'), tube)
})

check('a full tube refuses a put, and a server with too many connections closes', 1, async (tube, client) => {
  await call(client, 'use', setting('JQ_FULL_TUBE'))
  await refused('OUT_OF_MEMORY', put(client, 'x'))
  await call(client, 'use', tube)
  await call(client, 'destroy', await put(client, 'x'))
  const crowded = new fivebeans.client(host, setting('JQ_CROWDED_PORT'))
  const closed = once(crowded, 'close')
  crowded.connect()
  await within(closed)
})

check('what is not allowed is an error, and a put does not break the connection', 1, async () => {
  const denied = new fivebeans.client(host, setting('JQ_DENIED_PORT'))
  const connected = once(denied, 'connect')
  denied.connect()
  await within(connected)
  await refused('INTERNAL_ERROR', put(denied, 'quit'))
  await refused('INTERNAL_ERROR', call(denied, 'reserve_with_timeout', 0))
  await refused('INTERNAL_ERROR', put(denied, 'quit'))
  denied.end()
})

check('closing the connection gives its reserved jobs back', 1, async (tube, other) => {
  const id = await withClients(tube, 1, async client => {
    const id = await put(client, 'x', { ttr: 600 })
    await call(client, 'reserve')
    return id
  })
  equal((await call(other, 'reserve_with_timeout', 5))[0], id)
  await call(other, 'destroy', id)
})

check('a blocked reserve is satisfied by another connection', 2, async (tube, worker, producer) => {
  const reserved = call(worker, 'reserve')
  await until(async () => (await call(producer, 'stats_tube', tube))['current-waiting'] === 1)
  const id = await put(producer, 'x')
  equal((await within(reserved))[0], id)
  await call(worker, 'destroy', id)
})

check('the worker deletes, releases and buries as its handlers say', 1, async (tube, client) => {
  const handler = (type, work) => ({ type, work })
  const handlers = {
    good: handler('good', (payload, done) => done('success')),
    again: handler('again', (payload, done) => done('release', 60)),
    broken: handler('broken', () => { throw new Error('broken on purpose') }),
    // With three parameters a handler is given the job's id as well.
    checked: handler('checked', (id, payload, done) => done(payload === id ? 'success' : 'bury')),
  }
  const job = (type, payload) => put(client, JSON.stringify({ type, payload }))
  const good = await job('good')
  const stalker = await put(client, JSON.stringify([tube, { type: 'good' }]))
  const again = await job('again')
  const buried = [await job('broken'), await job('unknown'), await put(client, 'no JSON')]
  buried.push(await job('checked', 'not its id'))

  const worker = new fivebeans.worker({
    id: 'w', host, port, handlers, ignoreDefault: true, timeout: 1,
  })
  const warnings = []
  const actions = []
  worker.on('warning', warning => warnings.push(warning.message))
  worker.on('job.handled', ({ action }) => actions.push(action))
  const [started, stopped] = [once(worker, 'started'), once(worker, 'stopped')]
  worker.start([tube])
  await within(started)

  const counts = ['ready', 'reserved', 'delayed', 'buried'].map(s => `current-jobs-${s}`)
  await until(async () => {
    const stats = await call(client, 'stats_tube', tube)
    return String(pick(stats, ...counts)) === '0,0,1,4'
  })
  worker.stop()
  await within(stopped)
  deepEqual(actions, ['success', 'success', 'release', 'bury'])
  deepEqual(warnings, ['exception in job handler', 'no handler found', 'parsing job JSON'])
  for (const id of [good, stalker]) await refused('NOT_FOUND', call(client, 'peek', id))
  for (const id of [again, ...buried]) await call(client, 'destroy', id)
})

check('the runner starts a worker from a configuration file', 1, async (tube, client) => {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'fivebeans-'))
  try {
    const handler = path.join(dir, 'handler.js')
    writeFileSync(handler, "module.exports = () => ({ type: 'good', work: (p, done) => done('success') })")
    const config = path.join(dir, 'config.yml')
    // A path relative to the working directory is the only one that the runner takes.
    const handlers = `["${path.relative(process.cwd(), handler)}"]`
    const lines = { id: 'r', host, port, watch: `["${tube}"]`, ignoreDefault: true, handlers, timeout: 1 }
    writeFileSync(config, Object.entries(lines).map(([k, v]) => `${k}: ${v}\n`).join(''))
    const id = await put(client, JSON.stringify({ type: 'good' }))
    const { worker } = new fivebeans.runner('r', config).go()
    const deleted = once(worker, 'job.deleted')
    const stopped = once(worker, 'stopped')
    deepEqual(await within(deleted), [id])
    worker.stop()
    await within(stopped)
  } finally {
    rmSync(dir, { recursive: true })
  }
})

suite.check('unix socket', async tube => {
  // Undocumented, but Node takes a path wherever it takes a port, and so does fivebeans.
  const client = await connect(unixSocket())
  await call(client, 'use', tube)
  const id = await put(client, TEXT)
  deepEqual(await call(client, 'peek_ready'), [id, Buffer.from(TEXT)])
  await call(client, 'destroy', id)
  client.end()
})

suite.run(async () => {
  const client = await connect()
  const tubes = await call(client, 'list_tubes')
  client.end()
  return tubes
})
