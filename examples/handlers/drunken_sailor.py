#!/usr/bin/env python3
"""A drunken sailor walks about on a pier. A handler that is started for each job.

Input, or "args" if there is no input:
    {"start": [x, y], "wind": [x, y], "seed": NUMBER, "steps": NUMBER}
"args" may have {"pause": SECONDS} for each of the five reports, so that there is something to watch.
"""

import json
import math
import os
import random
import sys
import time

REPORTS = 5


def main():
    # The job is on standard input, and what was fetched for it is in a file.
    job = json.load(sys.stdin)
    args = job.get("args") or {}
    path = os.environ.get("JQ_INPUT_FILE")
    try:
        if path:
            with open(path, encoding="utf-8") as file:
                given = json.load(file)
        else:
            given = args
        x, y = (float(number) for number in given["start"])
        wind_x, wind_y = (float(number) for number in given["wind"])
        steps, chance = int(given["steps"]), random.Random(int(given["seed"]))
        pause = float(args.get("pause", 0))
    except (KeyError, TypeError, ValueError) as error:
        # 65 is EX_DATAERR: the input is at fault, so trying again is of no use.
        print(f"the input is no walk: {error!r}", file=sys.stderr)
        sys.exit(65)

    start, series, every = (x, y), [], max(1, steps // REPORTS)
    for step in range(1, steps + 1):
        direction = chance.uniform(0, 2 * math.pi)
        x += math.cos(direction) + wind_x
        y += math.sin(direction) + wind_y
        if step % every == 0:
            series.append([step, round(x, 1), round(y, 1)])
            # What is written is kept in the result, and can be followed while the job runs.
            print(f"step {step} of {steps}: {x:.1f} east, {y:.1f} north", flush=True)
            time.sleep(pause)

    result = {
        "end": [round(x, 1), round(y, 1)],
        "distance": round(math.dist(start, (x, y)), 1),
        "series": series,
    }
    with open(os.environ["JQ_RESULT_FILE"], "w", encoding="utf-8") as file:
        json.dump(result, file)


main()
