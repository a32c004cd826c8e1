#!/usr/bin/env node
// Counts the primes below "args.below". A handler that stays up (mode = "persistent"): a job a line
// in, an answer a line out, in the same order.
"use strict";

const readline = require("node:readline");

const MOST = 10_000_000;

function say(line) {
  process.stdout.write(JSON.stringify(line) + "\n");
}

function primes(below) {
  if (!Number.isInteger(below) || below < 0 || below > MOST) {
    throw new RangeError(`args.below must be a whole number up to ${MOST}`);
  }
  const composite = new Uint8Array(below);
  let count = 0;
  for (let number = 2; number < below; number++) {
    if (composite[number]) continue;
    count++;
    for (let more = number * number; more < below; more += number) composite[more] = 1;
  }
  return count;
}

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  try {
    const job = JSON.parse(line);
    say({ output: { primes: primes(job.args?.below) } });
  } catch (error) {
    // The job fails, and this process goes on to the next one.
    say({ error: { message: error.message, retry: false } });
  }
});
