#!/usr/bin/env node
// Mean and median of "args.numbers". A handler that is started for each job.
"use strict";

const fs = require("node:fs");

// The job is on standard input.
const job = JSON.parse(fs.readFileSync(0, "utf8"));
const numbers = job.args?.numbers;

if (!Array.isArray(numbers) || numbers.length === 0 || !numbers.every(Number.isFinite)) {
  console.error("args.numbers must be a list of numbers");
  // EX_DATAERR: the job is at fault, so trying again is of no use.
  process.exit(65);
}

const sorted = [...numbers].sort((a, b) => a - b);
const middle = sorted.length / 2;
const result = {
  count: sorted.length,
  mean: sorted.reduce((sum, number) => sum + number, 0) / sorted.length,
  median: (sorted[Math.ceil(middle) - 1] + sorted[Math.floor(middle)]) / 2,
};

// The result has a file of its own, so that anything may be written to standard output.
console.log(`attempt ${process.env.JQ_ATTEMPT}: ${sorted.length} numbers`);
fs.writeFileSync(process.env.JQ_RESULT_FILE, JSON.stringify(result));
