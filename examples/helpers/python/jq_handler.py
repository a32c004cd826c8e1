"""For handlers in Python: takes jobs from jq-worker and answers them. Copy this file.

    from jq_handler import Invalid, Retry, serve

    def average(job):
        numbers = job.args.get("numbers")
        if not numbers:
            raise Invalid("args.numbers must be a list of numbers")
        job.progress(50)
        return {"average": sum(numbers) / len(numbers)}

    serve(average)

The same handler is started for each job, or stays up (mode = "persistent").
"""

import json
import os
import sys


class Invalid(Exception):
    """The job is at fault: it fails, and is not tried again."""


class Retry(Exception):
    """It did not work this time: the job is tried again. So it is after any other exception."""


class Job:
    """What the worker says of a job."""

    def __init__(self, members, tell):
        self.id, self.type, self.attempt = members["id"], members["type"], members["attempt"]
        self.args = members.get("args") or {}
        self.custom = members.get("custom")
        # Files and a folder, or None: what was fetched, and where artifacts go.
        self.input_file = members.get("input_file") or os.environ.get("JQ_INPUT_FILE")
        self.output_dir = members.get("output_dir") or os.environ.get("JQ_OUTPUT_DIR")
        self.members = members
        self._tell = tell

    def progress(self, percent):
        """Says how far the job is: a number from 0 to 100."""
        self._tell({"progress": percent})


def serve(handle):
    """Answers jobs with what `handle` returns for them, which is JSON, until the worker has no more."""
    if "JQ_RESULT_FILE" in os.environ:
        sys.exit(_once(handle))
    # Answers are lines of standard output. Whatever else prints must not be taken for one.
    answers, sys.stdout = sys.stdout, sys.stderr

    def tell(line):
        print(json.dumps(line, allow_nan=False), file=answers, flush=True)

    for line in sys.stdin:
        try:
            answer = {"output": handle(Job(json.loads(line), tell))}
            json.dumps(answer, allow_nan=False)
        except Exception as error:
            answer = {"error": {"message": _why(error), "retry": not isinstance(error, Invalid)}}
        tell(answer)


def _once(handle):
    def tell(line):
        print(json.dumps(line), file=sys.stderr, flush=True)

    try:
        output = json.dumps(handle(Job(json.load(sys.stdin), tell)), allow_nan=False)
        with open(os.environ["JQ_RESULT_FILE"], "w", encoding="utf-8") as file:
            file.write(output)
    except Exception as error:
        # The last line of standard error is in the result's error.
        print(_why(error), file=sys.stderr)
        return 65 if isinstance(error, Invalid) else 75
    return 0


def _why(error):
    if isinstance(error, (Invalid, Retry)):
        return str(error)
    return f"{type(error).__name__}: {error}"
