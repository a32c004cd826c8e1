// For programs in Node: has jq-worker do a job, and waits for what comes of it. Copy this file.
//
//     npm install jackd
//
//     const { Queue, JobFailed } = require("./jq-call");
//
//     const queue = new Queue("127.0.0.1:11300", "simulations", "http://127.0.0.1:11380");
//     console.log(await queue.call("average", { numbers: [1, 2, 6] }));
//     await queue.close();
"use strict";

const { randomUUID } = require("node:crypto");
const { setTimeout: sleep } = require("node:timers/promises");
const Jackd = require("jackd");

// The job is over and was not successful. `kind` is that of the error; `result` is the whole document.
class JobFailed extends Error {
  constructor(result) {
    super(result.error?.message ?? result.status);
    this.kind = result.error?.kind ?? result.status;
    this.result = result;
  }
}

// It takes longer than the caller waits. The job goes on all the same.
class TooLate extends Error {}

// Not known yet, or the worker is not ready. Anything else will not change.
const PENDING = [202, 404, 429, 500, 502, 503, 504];

// Where jobs are queued, and where their results are: the worker's `public_url`.
class Queue {
  #client;
  #ready;
  #results;

  constructor(server, tube, results) {
    const [, host, port] = server.match(/^(.*):(\d+)$/);
    this.#client = new Jackd();
    this.#ready = this.#client.connect({ host, port: Number(port) }).then(() => this.#client.use(tube));
    this.#ready.catch(() => {}); // Told by `submit`.
    this.#results = results.replace(/\/+$/, "");
  }

  async close() {
    // Where it could not be connected, there is nothing to close.
    await this.#ready.then(() => this.#client.quit(), () => {});
  }

  // Queues a job and returns its id. `members` are further ones of the job, such as { timeout: 60 }.
  async submit(type, args, members = {}) {
    await this.#ready;
    const id = randomUUID();
    await this.#client.put(JSON.stringify({ id, type, args, ...members }), { ttr: 60 });
    return id;
  }

  // Has a job done, and returns its output. Throws JobFailed, or TooLate after `within` seconds.
  async call(type, args, { within = 600, ...members } = {}) {
    return (await this.wait(await this.submit(type, args, members), within)).output;
  }

  // The result of a job, when it is there. Throws as `call` does.
  async wait(id, within = 600) {
    const url = `${this.#results}/${id}`;
    const end = performance.now() + 1000 * within;
    for (let pause = 50; ; pause = Math.min(2 * pause, 5000)) {
      // The worker has a minute to answer, however long we still wait.
      const answer = await fetch(url, { signal: AbortSignal.timeout(60_000) }).catch(() => null);
      if (answer?.status === 200) {
        const result = await answer.json();
        if (result.status !== "successful") throw new JobFailed(result);
        return result;
      }
      await answer?.body?.cancel();
      if (answer !== null && !PENDING.includes(answer.status)) {
        throw new Error(`${url} answers ${answer.status}`);
      }
      const left = end - performance.now();
      if (left <= 0) throw new TooLate(`there is no result at ${url} after ${within} s`);
      await sleep(Math.min(pause, left));
    }
  }
}

module.exports = { JobFailed, Queue, TooLate };
