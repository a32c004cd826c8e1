#!/usr/bin/env node
// The average of "args.numbers".
"use strict";

const { Invalid, Retry, serve } = require("./jq-handler");

serve(async (job) => {
  const { numbers, fails = 0 } = job.args;
  if (!Array.isArray(numbers) || numbers.length === 0) {
    throw new Invalid("args.numbers must be a list of numbers");
  }
  if (job.attempt <= fails) throw new Retry(`attempt ${job.attempt} is one that fails`);
  let total = 0;
  for (const [index, value] of numbers.entries()) {
    total += value;
    console.log(`${value} makes ${total}`);
    job.progress((100 * (index + 1)) / numbers.length);
  }
  return { average: total / numbers.length };
});
