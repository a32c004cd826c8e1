'use strict'
// jackd over Node's tls: jackd_over_tls.js PORT CA_FILE. Without jackd, exits with 77.

const { strict: assert } = require('node:assert')
const { EventEmitter } = require('node:events')
const { readFileSync } = require('node:fs')
const { join } = require('node:path')
const net = require('node:net')
const tls = require('node:tls')

const clients = process.env.JQ_CLIENTS_DIR ?? join(__dirname, '../../../target/clients')
let Jackd
try {
  Jackd = require(join(clients, 'node/node_modules/jackd'))
} catch {
  console.log('jackd is not installed: run tests/compat/clients/install')
  process.exit(77)
}

const [port, ca] = [Number(process.argv[2]), readFileSync(process.argv[3])]

/** What jackd uses of a socket, with TLS below. */
class SecureSocket extends EventEmitter {
  connect(port, host, connected) {
    const options = { port, host, ca, servername: 'localhost', ALPNProtocols: ['beanstalk'] }
    this.secure = tls.connect(options, () => {
      this.emit('ready')
      connected()
    })
    for (const event of ['data', 'close', 'error']) {
      this.secure.on(event, value => this.emit(event, value))
    }
  }

  write(bytes, written) {
    return this.secure.write(bytes, written)
  }

  end(bytes) {
    return this.secure.end(bytes)
  }
}

/** jackd makes its socket when it is made itself. */
async function connect() {
  const plain = net.Socket
  net.Socket = SecureSocket
  const client = new Jackd()
  net.Socket = plain
  return client.connect({ host: '127.0.0.1', port })
}

async function main() {
  const [producer, worker] = [await connect(), await connect()]
  assert(producer.isConnected())
  await producer.use('mail')
  await worker.watch('mail')
  for (const size of [1, 5000, 60000]) {
    const body = 'x'.repeat(size)
    const id = await producer.put(body)
    const job = await worker.reserveWithTimeout(20)
    assert.equal(job.id, id)
    assert.equal(job.payload.toString(), body)
    await worker.delete(job.id)
  }
  // One that waits gets what comes later.
  const waiting = worker.reserve()
  const id = await producer.put('late')
  assert.equal((await waiting).id, id)
  await worker.delete(id)
  await Promise.all([producer, worker].map(client => client.quit()))
}

main().catch(error => {
  console.error(error)
  process.exit(1)
})
