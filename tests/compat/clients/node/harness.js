'use strict'
// What the Node suites share: running checks, and a few words to write them with.

const assert = require('node:assert/strict')
const { randomBytes } = require('node:crypto')
const { readFileSync } = require('node:fs')
const net = require('node:net')
const path = require('node:path')
const { inspect } = require('node:util')

/** Milliseconds that a condition may take to come true. Only a broken server lets this pass. */
const PATIENCE = 6000

const BINARY = Buffer.concat([
  Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)),
  Buffer.from('\r\n\0\r\nINSERTED 1\r\n'),
])
const TEXT = 'naïve ☃ \u{1f40d}'
/** Just under the default limit of 65,535, and more than any socket hands over at once. */
const LARGE = 65000

const host = process.argv[2]
const port = Number(process.argv[3])

/** Thrown by a check that does not apply; its text says why. */
class Skip extends Error {}

class Suite {
  constructor(name) {
    this.name = name
    // Several suites and several runs share a server, hence names that nobody else has.
    this.prefix = `${name}-${process.pid}-${randomBytes(4).toString('hex')}`
    this.checks = []
  }

  /** Registers an async function of one argument: the name of a tube that is the check's own. */
  check(title, body) {
    this.checks.push([title, body])
  }

  /** Runs the checks and exits. `listTubes` asks the server over a new connection. */
  async run(listTubes) {
    this.check('every tube of this run is gone, so no job or watcher is left', () =>
      until(async () => !(await listTubes()).some(tube => tube.startsWith(this.prefix))),
    )
    let passed = 0
    let failed = 0
    for (const [number, [title, body]] of this.checks.entries()) {
      try {
        await within(body(`${this.prefix}-${number + 1}`), 2 * PATIENCE)
        passed++
        console.log(`ok   ${title}`)
      } catch (error) {
        if (error instanceof Skip) {
          console.log(`skip ${title}: ${error.message}`)
          continue
        }
        failed++
        console.log(`FAIL ${title}: ${oneLine(error)}`)
        console.error(error)
      }
    }
    console.log(`${this.name}: ${passed} passed, ${failed} failed`)
    process.exitCode = failed ? 1 : 0
    // Connections of failed checks would keep the process alive.
    setTimeout(() => process.exit(), 500).unref()
  }
}

/** What went wrong, in one line; a protocol error of fivebeans is a mere string. */
function oneLine(error) {
  if (error instanceof assert.AssertionError && error.generatedMessage) {
    const [expected, actual] = [error.expected, error.actual].map(v => inspect(v).slice(0, 200))
    return `expected ${expected}, got ${actual}`.replace(/\s+/g, ' ')
  }
  return String(error?.message ?? error).split('\n')[0]
}

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))

/** The promise's result, or an error after so many milliseconds. */
function within(promise, ms = PATIENCE) {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer after ${ms} ms`)), ms)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

/** Polls until the condition, which may be async, holds. */
async function until(condition) {
  const deadline = Date.now() + PATIENCE
  while (!(await condition())) {
    assert.ok(Date.now() < deadline, `still not so after ${PATIENCE} ms`)
    await sleep(20)
  }
}

/** Checks that a stats reply has all of beanstalkd's keys, in beanstalkd's order. */
function hasKeys(reply, name) {
  const file = path.join(__dirname, '..', 'expected', `${name}.txt`)
  const expected = readFileSync(file, 'utf8').trim().split('\n')
  assert.deepEqual(Object.keys(reply).filter(key => expected.includes(key)), expected)
}

/** The values of those keys. */
const pick = (reply, ...keys) => keys.map(key => reply[key])

function unixSocket() {
  if (!process.env.JQ_UNIX_SOCKET) throw new Skip('JQ_UNIX_SOCKET is not set')
  return process.env.JQ_UNIX_SOCKET
}

/** What the environment says; without it, the check does not apply. */
function setting(name) {
  if (!process.env[name]) throw new Skip(`${name} is not set`)
  return process.env[name]
}

/** Puts a job by hand, for bodies that a library cannot send, and returns its id. */
function putByHand(tube, body) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, host, () => {
      socket.write(`use ${tube}\r\nput 0 0 60 ${body.length}\r\n`)
      socket.write(body)
      socket.write('\r\nquit\r\n')
    })
    let received = ''
    socket.on('data', data => (received += data))
    socket.on('error', reject)
    socket.on('close', () => {
      const inserted = /INSERTED (\d+)\r\n/.exec(received)
      if (inserted) resolve(inserted[1])
      else reject(new Error(`no job inserted: ${received}`))
    })
  })
}

/** A port of this machine where nothing listens. */
function unusedPort() {
  return new Promise(resolve => {
    const server = net.createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })
}

module.exports = {
  BINARY, LARGE, TEXT, Suite,
  assert, hasKeys, host, pick, port, putByHand, setting, unixSocket, until, unusedPort, within,
}
