#!/usr/bin/env python3
"""Queues a simulation, and prints a link to the page that shows its result.

    pip install greenstalk
    python3 submit.py

What `submit` does is all that a website has to do, while it answers a request.
"""

import datetime
import json
import os
import uuid

import greenstalk

QUEUE = os.environ.get("QUEUE", "127.0.0.1:11300")
TUBE = os.environ.get("TUBE", "simulations")
PAGE = os.environ.get("PAGE", "http://127.0.0.1:8000/result.html")


def submit(job_type, args):
    """Queues a job, and returns its id: with that, the URL of its result is known at once."""
    job_id = str(uuid.uuid4())
    now = datetime.datetime.now(datetime.timezone.utc)
    job = {
        "id": job_id,
        "type": job_type,
        "args": args,
        "created_at": now.isoformat(),
        # Who asked will not look for the result after that, so it need not be computed.
        "expires_at": (now + datetime.timedelta(hours=1)).isoformat(),
    }
    host, port = QUEUE.rsplit(":", 1)
    with greenstalk.Client((host, int(port)), use=TUBE) as queue:
        # ttr: if the worker is not heard of for a minute, another one gets the job.
        queue.put(json.dumps(job), ttr=60)
    return job_id


if __name__ == "__main__":
    walk = {"start": [0, 0], "wind": [0.1, 0.05], "seed": 42, "steps": 400, "pause": 0.5}
    print(f"{PAGE}?id={submit('drunken_sailor', walk)}")
