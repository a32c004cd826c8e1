// For handlers in Node: takes jobs from jq-worker and answers them. Copy this file.
//
//     const { Invalid, serve } = require("./jq-handler");
//
//     serve(async (job) => {
//       if (!job.args.numbers?.length) throw new Invalid("args.numbers must be a list of numbers");
//       job.progress(50);
//       return { average: job.args.numbers.reduce((a, b) => a + b) / job.args.numbers.length };
//     });
//
// The same handler is started for each job, or stays up (mode = "persistent").
"use strict";

const fs = require("node:fs");
const readline = require("node:readline");

// The job is at fault: it fails, and is not tried again.
class Invalid extends Error {}

// It did not work this time: the job is tried again. So it is after any other error.
class Retry extends Error {}

function jobOf(members, tell) {
  return {
    ...members,
    args: members.args ?? {},
    // Paths, or undefined: what was fetched, and where artifacts go.
    inputFile: members.input_file ?? process.env.JQ_INPUT_FILE,
    outputDir: members.output_dir ?? process.env.JQ_OUTPUT_DIR,
    // How far it is: a number from 0 to 100.
    progress: (percent) => tell({ progress: percent }),
  };
}

// Answers jobs with what `handle` returns for them, which is JSON, until the worker has no more.
async function serve(handle) {
  if (process.env.JQ_RESULT_FILE !== undefined) return once(handle);
  // Answers are lines of standard output. Whatever else is logged must not be taken for one.
  const answers = process.stdout;
  console.log = console.info = console.debug = console.error;
  const tell = (line) => answers.write(JSON.stringify(line) + "\n");
  for await (const line of readline.createInterface({ input: process.stdin })) {
    let answer;
    try {
      answer = { output: (await handle(jobOf(JSON.parse(line), tell))) ?? null };
    } catch (error) {
      answer = { error: { message: why(error), retry: !(error instanceof Invalid) } };
    }
    tell(answer);
  }
}

async function once(handle) {
  const tell = (line) => process.stderr.write(JSON.stringify(line) + "\n");
  try {
    const job = jobOf(JSON.parse(fs.readFileSync(0, "utf8")), tell);
    fs.writeFileSync(process.env.JQ_RESULT_FILE, JSON.stringify((await handle(job)) ?? null));
  } catch (error) {
    // The last line of standard error is in the result's error.
    process.stderr.write(why(error) + "\n");
    process.exitCode = error instanceof Invalid ? 65 : 75;
  }
}

function why(error) {
  return error instanceof Invalid || error instanceof Retry ? error.message : String(error);
}

module.exports = { Invalid, Retry, serve };
