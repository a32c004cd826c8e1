#!/usr/bin/env python3
"""Asks for the average of numbers, or of whatever else is given as JSON.

    python3 ask.py TYPE '{"numbers": [1, 2, 6]}'

Prints the output. If the job fails, prints why, and ends with 1.
"""

import json
import os
import sys

from jq_call import JobFailed, Queue

SERVER = os.environ.get("QUEUE", "127.0.0.1:11300")
TUBE = os.environ.get("TUBE", "simulations")
RESULTS = os.environ.get("RESULTS", "http://127.0.0.1:11380")

if __name__ == "__main__":
    job_type, args = sys.argv[1], json.loads(sys.argv[2])
    with Queue(SERVER, TUBE, RESULTS) as queue:
        try:
            print(json.dumps(queue.call(job_type, args, within=float(os.environ.get("WITHIN", 60)))))
        except JobFailed as failed:
            sys.exit(f"{failed.kind}: {failed}")
        except TimeoutError as error:
            sys.exit(f"too late: {error}")
