"""For programs in Python: has jq-worker do a job, and waits for what comes of it. Copy this file.

    pip install greenstalk

    from jq_call import JobFailed, Queue

    with Queue("127.0.0.1:11300", tube="simulations", results="http://127.0.0.1:11380") as queue:
        print(queue.call("average", {"numbers": [1, 2, 6]}))
"""

import json
import time
import urllib.error
import urllib.request
import uuid

import greenstalk


class JobFailed(Exception):
    """The job is over and was not successful. `kind` is that of the error; `result` is the whole document."""

    def __init__(self, result):
        error = result.get("error") or {"kind": result["status"], "message": result["status"]}
        super().__init__(error["message"])
        self.kind, self.result = error["kind"], result


class Queue:
    """Where jobs are queued, and where their results are: the worker's `public_url`."""

    def __init__(self, server, tube, results):
        host, port = server.rsplit(":", 1)
        self._queue = greenstalk.Client((host, int(port)), use=tube)
        self._results = results.rstrip("/")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._queue.close()

    def submit(self, job_type, args, **members):
        """Queues a job and returns its id. `members` are further ones of the job, such as timeout=60."""
        job_id = str(uuid.uuid4())
        job = {"id": job_id, "type": job_type, "args": args, **members}
        self._queue.put(json.dumps(job, allow_nan=False), ttr=60)
        return job_id

    def call(self, job_type, args, within=600, **members):
        """Has a job done, and returns its output. Raises JobFailed, or TimeoutError after `within` seconds."""
        return self.wait(self.submit(job_type, args, **members), within)["output"]

    def wait(self, job_id, within=600):
        """The result of a job, when it is there. Raises as `call` does; the job goes on all the same."""
        url, end = f"{self._results}/{job_id}", time.monotonic() + within
        pause = 0.05
        while True:
            # The worker has a minute to answer, however long we still wait.
            try:
                with urllib.request.urlopen(url, timeout=60) as answer:
                    if answer.status == 200:
                        result = json.load(answer)
                        break
            except urllib.error.HTTPError as error:
                # Not known yet, or the worker is not ready. Anything else will not change.
                if error.code not in (404, 429, 500, 502, 503, 504):
                    raise
            except OSError:
                pass  # It is being started again, perhaps.
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"there is no result at {url} after {within} s")
            time.sleep(min(pause, left))
            pause = min(2 * pause, 5)
        if result["status"] != "successful":
            raise JobFailed(result)
        return result
