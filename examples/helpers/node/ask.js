#!/usr/bin/env node
// Asks for the average of numbers, or of whatever else is given as JSON.
//
//     node ask.js TYPE '{"numbers": [1, 2, 6]}'
//
// Prints the output. If the job fails, prints why, and ends with 1.
"use strict";

const { JobFailed, Queue, TooLate } = require("./jq-call");

const { QUEUE = "127.0.0.1:11300", TUBE = "simulations", WITHIN = "60" } = process.env;
const { RESULTS = "http://127.0.0.1:11380" } = process.env;

async function main([type, args]) {
  const queue = new Queue(QUEUE, TUBE, RESULTS);
  try {
    console.log(JSON.stringify(await queue.call(type, JSON.parse(args), { within: Number(WITHIN) })));
  } catch (error) {
    if (error instanceof JobFailed) console.error(`${error.kind}: ${error.message}`);
    else if (error instanceof TooLate) console.error(`too late: ${error.message}`);
    else throw error;
    process.exitCode = 1;
  } finally {
    await queue.close();
  }
}

main(process.argv.slice(2));
