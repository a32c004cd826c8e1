#!/usr/bin/env python3
"""Counts words. A handler that stays up (mode = "persistent"): a job a line in, an answer a line out.

Input, or "args.text" if there is no input: a text.
"args" may have {"pause": SECONDS} for each line of it, so that there is something to watch.
"""

import collections
import json
import re
import sys
import time


def say(line):
    # Each line has to leave at once: the worker waits for it.
    print(json.dumps(line), flush=True)


def count(job):
    args = job.get("args") or {}
    if "input_file" in job:
        with open(job["input_file"], encoding="utf-8") as file:
            text = file.read()
    else:
        text = args["text"]
    words = collections.Counter()
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        words.update(re.findall(r"\w+", line.lower()))
        time.sleep(float(args.get("pause", 0)))
        say({"progress": round(100 * number / len(lines))})
    return {"words": words.total(), "most_common": words.most_common(3)}


for line in sys.stdin:
    try:
        say({"output": count(json.loads(line))})
    except (KeyError, TypeError, ValueError) as error:
        # The job fails, and this process goes on to the next one.
        say({"error": {"message": f"not a text to count: {error!r}", "retry": False}})
