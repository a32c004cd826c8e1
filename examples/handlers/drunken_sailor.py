#!/usr/bin/env python3
"""A drunken sailor walks about on a pier. A handler that is started for each job.

Input, or "args" if there is no input:
    {"start": [x, y], "wind": [x, y], "seed": NUMBER, "steps": NUMBER}
"args" may have {"pause": SECONDS} for each of the five reports, so that there is something to watch.

Output: where the walk ended, and five places on the way. Artifact: walk.png, a picture of all of it.
"""

import json
import math
import os
import random
import struct
import sys
import time
import zlib

REPORTS = 5
WIDTH, HEIGHT, MARGIN = 480, 320, 20


def png(rows):
    """A picture of these rows of bytes, one for each pixel: 0 is white, 1 grey, 2 blue, 3 red."""

    def chunk(kind, data):
        whole = kind + data
        return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))

    head = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 3, 0, 0, 0)
    palette = bytes.fromhex("ffffff" "cccccc" "2060a0" "c02020")
    pixels = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    chunks = chunk(b"IHDR", head) + chunk(b"PLTE", palette) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def draw(path):
    """The pixels of a walk, which is as large as fits."""
    west, east = min(x for x, _ in path), max(x for x, _ in path)
    south, north = min(y for _, y in path), max(y for _, y in path)
    scale = min(
        (WIDTH - 2 * MARGIN) / max(east - west, 1e-9), (HEIGHT - 2 * MARGIN) / max(north - south, 1e-9)
    )
    rows = [bytearray(WIDTH) for _ in range(HEIGHT)]

    def at(x, y):
        return MARGIN + (x - west) * scale, HEIGHT - MARGIN - (y - south) * scale

    def dot(place, colour, size=0):
        column, row = (round(it) for it in place)
        for near in range(max(row - size, 0), min(row + size + 1, HEIGHT)):
            for there in range(max(column - size, 0), min(column + size + 1, WIDTH)):
                rows[near][there] = colour

    for before, after in zip(path, path[1:]):
        (column, row), (to_column, to_row) = at(*before), at(*after)
        points = max(1, round(max(abs(to_column - column), abs(to_row - row))))
        for point in range(points + 1):
            share = point / points
            dot((column + (to_column - column) * share, row + (to_row - row) * share), 2)
    dot(at(*path[0]), 1, size=4)
    dot(at(*path[-1]), 3, size=4)
    return rows


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

    path, series, every = [(x, y)], [], max(1, steps // REPORTS)
    for step in range(1, steps + 1):
        direction = chance.uniform(0, 2 * math.pi)
        x += math.cos(direction) + wind_x
        y += math.sin(direction) + wind_y
        path.append((x, y))
        if step % every == 0:
            series.append([step, round(x, 1), round(y, 1)])
            # What is written is kept in the result, and can be followed while the job runs.
            print(f"step {step} of {steps}: {x:.1f} east, {y:.1f} north", flush=True)
            time.sleep(pause)

    result = {
        "end": [round(x, 1), round(y, 1)],
        "distance": round(math.dist(path[0], (x, y)), 1),
        "series": series,
    }
    # Files that are left here are listed in the result, and served beside it.
    with open(os.path.join(os.environ["JQ_OUTPUT_DIR"], "walk.png"), "wb") as file:
        file.write(png(draw(path)))
    with open(os.environ["JQ_RESULT_FILE"], "w", encoding="utf-8") as file:
        json.dump(result, file)


main()
