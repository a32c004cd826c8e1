#!/usr/bin/env python3
"""The average of "args.numbers"."""

from jq_handler import Invalid, Retry, serve


def average(job):
    numbers = job.args.get("numbers")
    if not isinstance(numbers, list) or not numbers:
        raise Invalid("args.numbers must be a list of numbers")
    if job.attempt <= job.args.get("fails", 0):
        raise Retry(f"attempt {job.attempt} is one that fails")
    total = 0
    for number, value in enumerate(numbers, 1):
        total += value
        print(f"{value} makes {total}")
        job.progress(100 * number / len(numbers))
    return {"average": total / len(numbers)}


serve(average)
