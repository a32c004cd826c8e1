<?php

// What the PHP suite needs to run its checks, and a few words to write them with.

declare(strict_types=1);

/** Seconds that a condition may take to come true. Only a broken server lets this pass. */
const PATIENCE = 6;
const TEXT = "naïve ☃ \u{1f40d}";
/** Just under the default limit of 65,535, and more than any socket hands over at once. */
const LARGE = 65000;

/** Thrown by a check that does not apply; its text says why. */
final class Skip extends Exception
{
}

final class Suite
{
    public readonly string $host;
    public readonly int $port;
    private readonly string $prefix;
    /** @var array<string, callable(string): void> */
    private array $checks = [];

    public function __construct(private readonly string $name)
    {
        global $argv;
        [, $this->host, $port] = $argv;
        $this->port = (int) $port;
        // Several suites and several runs share a server, hence names that nobody else has.
        $this->prefix = sprintf('%s-%d-%s', $name, getmypid(), bin2hex(random_bytes(4)));
    }

    /** Registers a function of one argument: the name of a tube that is the check's own. */
    public function check(string $title, callable $body): void
    {
        $this->checks[$title] = $body;
    }

    /** Runs the checks and exits. `$listTubes` asks the server over a new connection. */
    public function run(callable $listTubes): never
    {
        $left = fn () => preg_grep('/^' . preg_quote($this->prefix, '/') . '/', $listTubes());
        $this->check(
            'every tube of this run is gone, so no job or watcher is left',
            fn () => until(fn () => $left() === []),
        );
        $passed = $failed = $number = 0;
        foreach ($this->checks as $title => $body) {
            $number++;
            try {
                $body("$this->prefix-$number");
                $passed++;
                echo "ok   $title\n";
            } catch (Skip $reason) {
                echo "skip $title: {$reason->getMessage()}\n";
            } catch (Throwable $error) {
                $failed++;
                printf("FAIL %s: %s: %s\n", $title, $error::class, strtok($error->getMessage(), "\n"));
                fwrite(STDERR, "$error\n");
            }
        }
        echo "$this->name: $passed passed, $failed failed\n";
        exit($failed ? 1 : 0);
    }
}

function equal(mixed $actual, mixed $expected): void
{
    if ($actual !== $expected) {
        $show = fn ($value) => substr(json_encode($value, JSON_INVALID_UTF8_SUBSTITUTE), 0, 200);
        throw new Exception("expected {$show($expected)}, got {$show($actual)}");
    }
}

function holds(bool $condition, string $what): void
{
    if (!$condition) {
        throw new Exception("not so: $what");
    }
}

/** Calls the function and returns the exception, of exactly that class, which it must throw. */
function throws(string $class, callable $function): Throwable
{
    try {
        $function();
    } catch (Throwable $error) {
        equal($error::class, $class);
        return $error;
    }
    throw new Exception("expected $class, got none");
}

/** What the environment says; without it, the check does not apply. */
function setting(string $name): string
{
    $value = getenv($name);
    return $value === false ? throw new Skip("$name is not set") : $value;
}

/** Polls until the condition holds. */
function until(callable $condition): void
{
    $deadline = microtime(true) + PATIENCE;
    while (!$condition()) {
        holds(microtime(true) < $deadline, sprintf('the condition, for %d s', PATIENCE));
        usleep(20_000);
    }
}

/** Checks that a stats reply has all of beanstalkd's keys, in beanstalkd's order. */
function hasKeys(iterable $reply, string $name): void
{
    $expected = file(__DIR__ . "/../expected/$name.txt", FILE_IGNORE_NEW_LINES);
    equal(array_values(array_intersect(array_keys(iterator_to_array($reply)), $expected)), $expected);
}

/** The values of those keys. */
function pick(ArrayAccess $reply, string ...$keys): array
{
    return array_map(fn ($key) => $reply[$key], $keys);
}

function binary(): string
{
    return implode('', array_map(chr(...), range(0, 255))) . "\r\n\0\r\nINSERTED 1\r\n";
}
