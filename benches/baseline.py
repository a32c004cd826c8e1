#!/usr/bin/env python3
"""Compares the cost of operations with a recorded baseline.

    benches/baseline.py instructions    # counted by callgrind: fails on growth of more than 5%
    benches/baseline.py times           # measured by criterion: prints ratios, and never fails
    benches/baseline.py WHICH --write   # records a new baseline

Counts are nearly the same on every machine with the same compiler and C library; with others, they are
printed but not judged. Times are meaningful only on the machine of the baseline, while it is quiet.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import tomllib

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# The growth that is allowed. Between runs of one build, a count varies by less than a thousandth.
LIMIT = 0.05

# Those whose harness is criterion.
CRITERION = {"beanstalk-protocol": "decode", "jq-engine": "operations", "jq-server": "log"}


def output(*command, cwd=ROOT, **options):
    """The output of a command. Exits if the command fails."""
    result = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, text=True, **options)
    if result.returncode != 0:
        sys.exit(f"baseline.py: failed with status {result.returncode}: {' '.join(command)}")
    return result.stdout


def target_directory(cwd=ROOT):
    metadata = output("cargo", "metadata", "--format-version=1", "--no-deps", cwd=cwd)
    return json.loads(metadata)["target_directory"]


def compiler():
    said = output("rustc", "-vV")
    return {
        "rustc": re.search(r"^rustc (.*)$", said, re.M)[1],
        "target": re.search(r"^host: (.*)$", said, re.M)[1],
    }


def cpuinfo(field):
    """The value of this field for each processor."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return re.findall(rf"^{field}\s*: (.*)$", file.read(), re.M)


class Instructions:
    """Of 1024 runs of each operation, by the workspace in `benches/instructions`."""

    folder = os.path.join(ROOT, "benches/instructions")
    file = os.path.join(folder, "baseline.toml")
    unit = "instructions"
    limit = LIMIT

    @staticmethod
    def made_with():
        # Copying and searching choose their instructions by what the processor has; valgrind lets
        # them see nothing beyond AVX2.
        flags = " ".join(cpuinfo("flags")).split()
        vectors = "AVX2" if "avx2" in flags else "no AVX2"
        return compiler() | {"libc": " ".join(platform.libc_ver()), "processor": vectors}

    @classmethod
    def runner(cls):
        """The folder with gungraun's runner, of the version that the lock file names."""
        with open(os.path.join(cls.folder, "Cargo.lock"), "rb") as file:
            packages = tomllib.load(file)["package"]
        version = next(p["version"] for p in packages if p["name"] == "gungraun")
        tools = os.path.join(ROOT, "target/tools")
        runner = os.path.join(tools, "bin", "gungraun-runner")
        if not os.path.exists(runner) or version not in output(runner, "--version"):
            # Unoptimised: it does little, and builds in a third of the time.
            build = os.path.join(tools, "build")
            install = ["cargo", "install", "gungraun-runner", "--version", version, "--force"]
            where = ["--root", tools, "--target-dir", build]
            output(*install, "--locked", "--debug", "--quiet", *where)
            shutil.rmtree(build)
        return os.path.dirname(runner)

    @classmethod
    def measure(cls):
        if shutil.which("valgrind") is None:
            sys.exit("baseline.py: missing: valgrind (as root: apt-get install valgrind)")
        bench = ["cargo", "bench", "--locked", "--quiet", "--", "--output-format=json"]
        environment = os.environ | {"PATH": f"{cls.runner()}:{os.environ['PATH']}"}
        environment.setdefault("CARGO_TARGET_DIR", os.path.join(ROOT, "target/instructions"))
        lines = output(*bench, cwd=cls.folder, env=environment).splitlines()
        counted = {}
        for line in lines:
            summary = json.loads(line)
            metrics = summary["profiles"][0]["data"]["total"]["metrics"]
            counted[summary["function_name"]] = metrics["Ir"]["values"]["new"]
        return counted


class Times:
    """Medians of criterion, in nanoseconds of an iteration."""

    file = os.path.join(ROOT, "benches/times.toml")
    unit = "nanoseconds"
    limit = None

    @staticmethod
    def made_with():
        names = cpuinfo("model name")
        machine = f"{len(names)} x {names[0]}" if names else platform.machine()
        return compiler() | {"machine": machine}

    @staticmethod
    def measure():
        start = time.time()
        for package, bench in CRITERION.items():
            short = ["--warm-up-time", "1", "--measurement-time", "2", "--quiet"]
            which = ["--package", package, "--bench", bench]
            output("cargo", "bench", "--locked", "--quiet", *which, "--", *short)
        measured = {}
        for folder, _, files in os.walk(os.path.join(target_directory(), "criterion")):
            estimates = os.path.join(folder, "estimates.json")
            # What is older is of benchmarks that were renamed.
            if os.path.basename(folder) != "new" or os.path.getmtime(estimates) < start:
                continue
            with open(os.path.join(folder, "benchmark.json"), encoding="utf-8") as file:
                name = json.load(file)["full_id"]
            with open(estimates, encoding="utf-8") as file:
                measured[name] = round(json.load(file)["median"]["point_estimate"], 1)
        return dict(sorted(measured.items()))


def quoted(text):
    return json.dumps(text, ensure_ascii=False)


def write(which, measured):
    command = f"benches/baseline.py {which.__name__.lower()} --write"
    lines = [f"# Written by `{command}`.", "", "[made_with]"]
    lines += [f"{key} = {quoted(value)}" for key, value in which.made_with().items()]
    lines += ["", f"[{which.unit}]"]
    lines += [f"{quoted(name)} = {value}" for name, value in measured.items()]
    with open(which.file, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def compare(which, measured):
    """Prints what has changed. Returns what is wrong, as lines."""
    with open(which.file, "rb") as file:
        baseline = tomllib.load(file)
    then, wrong, better = baseline[which.unit], [], []
    width = max(map(len, measured))
    print(f"{'':{width}} {'baseline':>14} {'now':>14} {'ratio':>7}   ({which.unit})")
    for name, now in measured.items():
        before = then.get(name)
        if before is None:
            print(f"{name:{width}} {'':>14} {now:>14,}")
            wrong.append(f"{name} is not in the baseline")
            continue
        ratio = now / before
        print(f"{name:{width}} {before:>14,} {now:>14,} {ratio:>7.3f}")
        if which.limit and ratio > 1 + which.limit:
            wrong.append(f"{name} takes {ratio - 1:.1%} more {which.unit} than the baseline says")
        elif which.limit and ratio < 1 - which.limit:
            better.append(f"{name} takes {1 - ratio:.1%} fewer {which.unit}")
    wrong += [f"{name} was not measured" for name in then if name not in measured]
    anew = f"benches/baseline.py {which.__name__.lower()} --write"
    for line in better:
        print(f"better: {line}; so that this stays: {anew}")
    differing = [
        f"{key} is {now!r} and was {baseline['made_with'].get(key)!r}"
        for key, now in which.made_with().items()
        if baseline["made_with"].get(key) != now
    ]
    if differing:
        print(f"NOT JUDGED, since the baseline was made with something else: {'; '.join(differing)}.")
        print(f"For one that counts here: {anew}")
        return []
    return wrong


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("which", choices=["instructions", "times"])
    parser.add_argument("--write", action="store_true", help="write the baseline anew")
    args = parser.parse_args()
    which = {"instructions": Instructions, "times": Times}[args.which]
    measured = which.measure()
    if not measured:
        sys.exit("baseline.py: nothing was measured")
    if args.write:
        write(which, measured)
        return
    wrong = compare(which, measured)
    for line in wrong:
        print(f"baseline.py: {line}", file=sys.stderr)
    if wrong and which.limit:
        sys.exit(1)


if __name__ == "__main__":
    main()
