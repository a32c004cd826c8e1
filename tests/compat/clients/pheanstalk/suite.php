<?php

// Pheanstalk 4: every function of its client, over each of its kinds of socket. It has no
// reserve-job and no quit.
//
// Pheanstalk 4 cuts stats replies into lines itself and leaves the quotes round a value on. From
// version 1.13, beanstalkd quotes the names in them (1.12 only quotes its own version). Then
// statsTube()['name'], statsJob()['tube'] and the hostname, os and platform of stats() come with
// quotes, and a tube name that was read there is refused as malformed when it is used. Nothing
// else of the library is touched by it. JQ_QUOTED_NAMES=1 says that the server quotes names.

declare(strict_types=1);

use Pheanstalk\Connection;
use Pheanstalk\Contract\JobIdInterface;
use Pheanstalk\Exception\ConnectionException;
use Pheanstalk\Exception\DeadlineSoonException;
use Pheanstalk\Exception\JobNotFoundException;
use Pheanstalk\Exception\JobTooBigException;
use Pheanstalk\Exception\ServerBadFormatException;
use Pheanstalk\Exception\ServerException;
use Pheanstalk\Exception\ServerInternalErrorException;
use Pheanstalk\Exception\ServerOutOfMemoryException;
use Pheanstalk\Exception\ServerUnknownCommandException;
use Pheanstalk\Exception\SocketException;
use Pheanstalk\Job;
use Pheanstalk\JobId;
use Pheanstalk\Pheanstalk;
use Pheanstalk\SocketFactory;

require '/usr/share/php/Pheanstalk/autoload.php';
require __DIR__ . '/harness.php';
require __DIR__ . '/raw_command.php';

$suite = new Suite('pheanstalk');

/** A client that uses and watches only that tube. */
function connect(string $tube): Pheanstalk
{
    global $suite;
    return Pheanstalk::create($suite->host, $suite->port)->useTube($tube)->watchOnly($tube);
}

/** A name as it stands in a stats reply. */
function stated(string $name): string
{
    return getenv('JQ_QUOTED_NAMES') === '1' ? "\"$name\"" : $name;
}

function state(Pheanstalk $client, JobIdInterface $job): string
{
    return $client->statsJob($job)->state;
}

/** Puts a job, reserves and deletes it, and checks that its body is unchanged. */
function roundTrip(Pheanstalk $client, string $body): void
{
    $id = $client->put($body)->getId();
    equal([$client->peekReady()->getId(), $client->peekReady()->getData()], [$id, $body]);
    $job = $client->reserveWithTimeout(5);
    equal([$job->getId(), $job->getData()], [$id, $body]);
    $client->delete($job);
}

$suite->check('connect, and a refused connection', function () use ($suite) {
    $client = Pheanstalk::create($suite->host, $suite->port, 5);
    equal($client->listTubeUsed(true), 'default');
    equal($client->listTubesWatched(true), ['default']);
    $listener = stream_socket_server('tcp://127.0.0.1:0');
    $port = (int) substr(strrchr(stream_socket_get_name($listener, false), ':'), 1);
    fclose($listener);
    throws(ConnectionException::class, fn () => Pheanstalk::create('127.0.0.1', $port)->stats());
});

$suite->check('put keeps priority, delay and ttr', function (string $tube) {
    $client = connect($tube);
    $job = $client->put('x', 2 ** 32 - 1, 60, 2 ** 32 - 1);
    $stats = $client->statsJob($job);
    equal(pick($stats, 'pri', 'delay', 'ttr'), ['4294967295', '60', '4294967295']);
    equal($stats->state, 'delayed');
    $client->delete($job);
    $job = $client->put('x');
    equal(pick($client->statsJob($job), 'pri', 'delay', 'ttr'), ['1024', '0', '60']);
    $client->delete($job);
    $job = $client->put('x', delay: 1);
    equal($client->reserveWithTimeout(5)->getId(), $job->getId());
    $client->delete($job);
});

foreach (
    [
        'stream' => SocketFactory::STREAM,
        'sockets' => SocketFactory::SOCKET,
        'fsockopen' => SocketFactory::FSOCKOPEN,
    ] as $kind => $implementation
) {
    $suite->check(
        "bodies come back as they were: empty, UTF-8, binary, large ($kind)",
        function (string $tube) use ($suite, $implementation) {
            $factory = new SocketFactory($suite->host, $suite->port, 10, $implementation);
            equal($factory->getImplementation(), $implementation);
            $client = Pheanstalk::createWithFactory($factory)->useTube($tube)->watchOnly($tube);
            $large = str_repeat(binary(), intdiv(LARGE, strlen(binary())));
            foreach (['', '0', TEXT, binary(), $large, str_repeat("\xff", LARGE)] as $body) {
                roundTrip($client, $body);
            }
        },
    );
}

$suite->check('use, list-tube-used, withUsedTube', function (string $tube) use ($suite) {
    $client = Pheanstalk::create($suite->host, $suite->port);
    equal($client->useTube($tube)->listTubeUsed(), $tube);
    equal($client->listTubeUsed(true), $tube);
    $inside = $client->withUsedTube("$tube-b", fn (Pheanstalk $c) => $c->listTubeUsed(true));
    equal([$inside, $client->listTubeUsed(true)], ["$tube-b", $tube]);
    throws(ServerBadFormatException::class, fn () => $client->useTube('-dash'));
    equal($client->listTubeUsed(true), $tube);
});

$suite->check('watch, ignore, NOT_IGNORED, withWatchedTube', function (string $tube) use ($suite) {
    [$a, $b] = ["$tube-a", "$tube-b"];
    $client = Pheanstalk::create($suite->host, $suite->port);
    $client->watch($a)->watch($b)->watch($b);
    equal($client->listTubesWatched(true), ['default', $a, $b]);
    $client->ignore('default')->ignore($tube)->ignore($a);
    equal($client->listTubesWatched(true), [$b]);
    throws(ServerException::class, fn () => $client->ignore($b));
    equal($client->watchOnly($a)->listTubesWatched(true), [$a]);
    $inside = $client->withWatchedTube($b, fn (Pheanstalk $c) => $c->listTubesWatched(true));
    equal($inside, [$b]);
    holds(in_array($a, $client->listTubesWatched(true), true), 'the tube is watched again');
});

$suite->check('reserve takes the lowest (priority, id) of all watched tubes', function (string $tube) {
    $client = connect($tube)->watch("$tube-b");
    $last = $client->put('last', 9);
    $client->useTube("$tube-b");
    $jobs = [$client->put('first', 0), $client->put('second', 0), $last];
    foreach ($jobs as $job) {
        $reserved = $client->reserve();
        equal([$reserved->getId(), $reserved->getData()], [$job->getId(), $job->getData()]);
        equal(state($client, $job), Job::STATUS_RESERVED);
    }
    array_map($client->delete(...), $jobs);
});

$suite->check('reserve-with-timeout times out', function (string $tube) {
    $client = connect($tube);
    equal($client->reserveWithTimeout(0), null);
    equal($client->reserveWithTimeout(1), null);
});

$suite->check("delete: anyone's job, unless another connection has reserved it", function (string $tube) {
    [$client, $other] = [connect($tube), connect($tube)];
    $client->put('x');
    $job = $client->reserveWithTimeout(0);
    throws(JobNotFoundException::class, fn () => $other->delete($job));
    $client->release($job);
    $other->delete(new JobId($job->getId()));
    throws(JobNotFoundException::class, fn () => $client->delete($job));
});

$suite->check('release with priority and delay', function (string $tube) {
    $client = connect($tube);
    $client->put('x', 7);
    $job = $client->reserve();
    $client->release($job, 5, 60);
    equal(pick($client->statsJob($job), 'state', 'pri', 'delay', 'releases'), ['delayed', '5', '60', '1']);
    $client->kickJob($job);
    $client->release($client->reserve(), delay: 1);
    equal($client->reserveWithTimeout(5)->getId(), $job->getId());
    $client->release($job);
    throws(JobNotFoundException::class, fn () => $client->release($job));
    $client->delete($job);
});

$suite->check('bury, kick (buried jobs first, then delayed ones) and kick-job', function (string $tube) {
    $client = connect($tube);
    $jobs = [$client->put('x'), $client->put('x')];
    foreach ($jobs as $_) {
        $client->bury($client->reserve(), 3);
    }
    equal(pick($client->statsJob($jobs[0]), 'state', 'pri', 'buries'), [Job::STATUS_BURIED, '3', '1']);
    $jobs[] = $client->put('x', delay: 60);
    equal(array_map($client->kick(...), [1, 9, 9, 9]), [1, 1, 1, 0]);
    foreach ($jobs as $job) {
        equal(state($client, $job), Job::STATUS_READY);
        throws(JobNotFoundException::class, fn () => $client->kickJob($job));
    }
    $job = $client->reserve();
    $client->bury($job);
    throws(JobNotFoundException::class, fn () => $client->bury($job));
    $client->kickJob($job);
    equal(state($client, $job), Job::STATUS_READY);
    array_map($client->delete(...), $jobs);
});

$suite->check('touch gives a reserved job its whole ttr again', function (string $tube) {
    [$client, $other] = [connect($tube), connect($tube)];
    $client->put('x', ttr: 60);
    $job = $client->reserve();
    $timeLeft = fn () => (int) $client->statsJob($job)->time_left;
    until(fn () => $timeLeft() < 59);
    $before = $timeLeft();
    until(function () use ($client, $job, $timeLeft, $before) {
        $client->touch($job);
        return $timeLeft() > $before;
    });
    throws(JobNotFoundException::class, fn () => $other->touch($job));
    $client->delete($job);
});

$suite->check('peek, peek-ready, peek-delayed, peek-buried', function (string $tube) {
    $client = connect($tube);
    equal([$client->peekReady(), $client->peekDelayed(), $client->peekBuried()], [null, null, null]);
    $buried = $client->put('buried');
    $client->bury($client->reserve());
    $ready = $client->put('ready');
    $delayed = $client->put('delayed', delay: 60);
    foreach (['peekReady' => $ready, 'peekDelayed' => $delayed, 'peekBuried' => $buried] as $peek => $job) {
        foreach ([$client->$peek(), $client->peek($job)] as $seen) {
            equal([$seen->getId(), $seen->getData()], [$job->getId(), $job->getData()]);
        }
        $client->delete($job);
        throws(JobNotFoundException::class, fn () => $client->peek($job));
    }
});

$suite->check('stats has every key and counts', function (string $tube) {
    $client = connect($tube);
    $before = $client->stats();
    hasKeys($before, 'stats');
    $client->delete($client->put('x'));
    $after = $client->stats();
    foreach (['cmd-put', 'cmd-delete', 'cmd-stats', 'total-jobs'] as $key) {
        holds((int) $after[$key] > (int) $before[$key], "$key moved");
    }
    foreach (['current_connections', 'current_producers', 'current_tubes', 'pid'] as $key) {
        holds((int) $after->$key > 0, "$key is above 0");
    }
    equal($after->draining, 'false');
    holds(isset($after->uptime) && !isset($after->no_such_key), 'properties stand for keys');
    // The version is quoted by every server, and so Pheanstalk gives it out with its quotes.
    equal(preg_match('/^".+"$/', $after->version), 1);
    foreach (['hostname', 'os', 'platform'] as $key) {
        equal($after->$key, stated(trim($after->$key, '"')));
    }
});

$suite->check('stats-job has every key and the right values', function (string $tube) {
    $client = connect($tube);
    $client->put('x', 4, 0, 100);
    $job = $client->reserve();
    $stats = $client->statsJob($job);
    hasKeys($stats, 'stats-job');
    holds($stats->time_left >= 97 && $stats->time_left <= 100, 'time-left');
    equal(
        pick($stats, 'id', 'tube', 'state', 'pri', 'delay', 'ttr', 'reserves', 'timeouts'),
        [(string) $job->getId(), stated($tube), 'reserved', '4', '0', '100', '1', '0'],
    );
    $client->delete($job);
    throws(ServerException::class, fn () => $client->statsJob($job));
});

$suite->check('stats-tube has every key and the right values', function (string $tube) {
    $client = connect($tube);
    throws(ServerException::class, fn () => $client->statsTube("$tube-unknown"));
    $jobs = [$client->put('x', 1023), $client->put('x', 1024), $client->put('x', delay: 60)];
    $stats = $client->statsTube($tube);
    hasKeys($stats, 'stats-tube');
    equal(
        pick($stats, 'name', 'total-jobs', 'current-using', 'current-watching', 'current-waiting'),
        [stated($tube), '3', '1', '1', '0'],
    );
    $states = ['urgent', 'ready', 'reserved', 'delayed', 'buried'];
    equal(array_map(fn ($state) => $stats["current-jobs-$state"], $states), ['1', '2', '0', '1', '0']);
    array_map($client->delete(...), $jobs);
    equal($client->statsTube($tube)->cmd_delete, '3');
});

$suite->check('a tube name from stats can be used, unless names are quoted', function (string $tube) {
    $client = connect($tube);
    $job = $client->put('x');
    $name = $client->statsJob($job)->tube;
    equal([$name, $client->statsTube($tube)->name], [stated($tube), stated($tube)]);
    $other = connect("$tube-b");
    $uses = [
        fn () => $other->useTube($name),
        fn () => $other->watch($name),
        fn () => $other->statsTube($name),
        fn () => $other->pauseTube($name, 0),
    ];
    foreach ($uses as $use) {
        if ($name === $tube) {
            $use();
        } else {
            throws(ServerBadFormatException::class, $use);
        }
    }
    equal($other->listTubeUsed(true), $name === $tube ? $tube : "$tube-b");
    // Names in lists are never quoted.
    holds(in_array($tube, $client->listTubes(), true), 'the tube is listed');
    equal($client->listTubesWatched(true), [$tube]);
    $client->delete($job);
});

$suite->check('list-tubes', function (string $tube) use ($suite) {
    $client = Pheanstalk::create($suite->host, $suite->port);
    holds(!in_array($tube, $client->listTubes(), true), 'not there before it is used');
    $client->useTube($tube);
    equal(array_diff(['default', $tube], $client->listTubes()), []);
});

$suite->check('pause-tube holds jobs back, ends by itself, and resumeTube resumes', function (string $tube) {
    $client = connect($tube);
    throws(ServerException::class, fn () => $client->pauseTube("$tube-unknown", 1));
    $job = $client->put('x');
    $client->pauseTube($tube, 60);
    equal($client->reserveWithTimeout(0), null);
    $stats = $client->statsTube($tube);
    equal(pick($stats, 'pause', 'cmd-pause-tube'), ['60', '1']);
    holds($stats->pause_time_left >= 57 && $stats->pause_time_left <= 60, 'pause-time-left');
    $client->resumeTube($tube);
    $client->release($client->reserve());
    $client->pauseTube($tube, 1);
    equal($client->reserveWithTimeout(5)->getId(), $job->getId());
    $client->delete($job);
});

$suite->check('DEADLINE_SOON ends a waiting reserve', function (string $tube) {
    $client = connect($tube);
    $client->put('x', ttr: 2);
    $job = $client->reserve();
    throws(DeadlineSoonException::class, fn () => $client->reserveWithTimeout(5));
    $client->touch($job);
    throws(DeadlineSoonException::class, fn () => $client->reserve());
    $client->delete($job);
});

$suite->check('a job whose ttr has passed goes to another worker', function (string $tube) {
    [$slow, $other] = [connect($tube), connect($tube)];
    $slow->put('x', ttr: 1);
    $job = $slow->reserve();
    // The slow worker keeps asking, since beanstalkd 1.12 loses timers of silent connections.
    until(fn () => $slow->statsJob($job)->timeouts === '1');
    equal($other->reserveWithTimeout(5)->getId(), $job->getId());
    throws(JobNotFoundException::class, fn () => $slow->release($job));
    $other->delete($job);
});

$suite->check('a full tube refuses a put, and a server with too many connections closes', function (string $tube) use ($suite) {
    $client = connect($tube);
    throws(ServerOutOfMemoryException::class, fn () => $client->useTube(setting('JQ_FULL_TUBE'))->put('x'));
    $client->useTube($tube);
    roundTrip($client, 'x');
    $crowded = Pheanstalk::create($suite->host, (int) setting('JQ_CROWDED_PORT'), 5);
    throws(ServerOutOfMemoryException::class, fn () => $crowded->stats());
});

$suite->check('what is not allowed is an error, and a put does not break the connection', function () use ($suite) {
    $denied = Pheanstalk::create($suite->host, (int) setting('JQ_DENIED_PORT'), 5);
    throws(ServerInternalErrorException::class, fn () => $denied->put('quit'));
    throws(ServerInternalErrorException::class, fn () => $denied->reserveWithTimeout(0));
    throws(ServerInternalErrorException::class, fn () => $denied->put('quit'));
});

$suite->check('errors leave the connection usable: JOB_TOO_BIG, BAD_FORMAT', function (string $tube) {
    $client = connect($tube);
    $limit = (int) $client->stats()->max_job_size;
    throws(JobTooBigException::class, fn () => $client->put(str_repeat('x', $limit + 1)));
    roundTrip($client, str_repeat('x', $limit));
    throws(ServerBadFormatException::class, fn () => $client->watch('two words'));
    equal($client->listTubeUsed(true), $tube);
});

$suite->check('UNKNOWN_COMMAND, and quit closes without an answer', function () use ($suite) {
    $connection = new Connection(new SocketFactory($suite->host, $suite->port, 10, SocketFactory::STREAM));
    $send = fn (string $line) => $connection->dispatchCommand(new RawCommand($line));
    throws(ServerUnknownCommandException::class, fn () => $send('no-such-command'));
    throws(SocketException::class, fn () => $send('quit'));
    $connection->disconnect();
    equal($send('list-tube-used')->getResponseName(), 'USING default');
});

$suite->check('a lost connection is made again with its tubes', function (string $tube) use ($suite) {
    $connection = new Connection(new SocketFactory($suite->host, $suite->port, 10, SocketFactory::STREAM));
    $client = (new Pheanstalk($connection))->useTube($tube)->watchOnly($tube);
    throws(SocketException::class, fn () => $connection->dispatchCommand(new RawCommand('quit')));
    equal($client->listTubeUsed(true), $tube);
    roundTrip($client, 'x');
});

$suite->check('closing the connection gives its reserved jobs back', function (string $tube) use ($suite) {
    $connection = new Connection(new SocketFactory($suite->host, $suite->port));
    $client = (new Pheanstalk($connection))->useTube($tube)->watchOnly($tube);
    $other = connect($tube);
    $client->put('x', ttr: 600);
    $job = $client->reserve();
    $connection->disconnect();
    equal($other->reserveWithTimeout(5)->getId(), $job->getId());
    $other->delete($job);
});

$suite->check('a blocked reserve is satisfied by another connection', function (string $tube) {
    // PHP has no threads here, so another process does the waiting.
    $child = pcntl_fork();
    if ($child === 0) {
        try {
            $worker = connect($tube);
            $worker->delete($worker->reserve());
        } finally {
            // Not `exit`, and nothing thrown: this must not go on as a second suite.
            posix_kill(getmypid(), SIGKILL);
        }
    }
    try {
        $producer = connect($tube);
        until(fn () => $producer->statsTube($tube)->current_waiting === '1');
        $job = $producer->put('x');
        until(fn () => $producer->statsTube($tube)->cmd_delete === '1');
        throws(JobNotFoundException::class, fn () => $producer->peek($job));
    } finally {
        posix_kill($child, SIGKILL);
        pcntl_waitpid($child, $status);
    }
});

$suite->check('unix socket', function (string $tube) {
    $path = getenv('JQ_UNIX_SOCKET') ?: throw new Skip('JQ_UNIX_SOCKET is not set');
    $factory = new SocketFactory("unix://$path", -1, 10, SocketFactory::FSOCKOPEN);
    roundTrip(Pheanstalk::createWithFactory($factory)->useTube($tube)->watchOnly($tube), TEXT);
});

$suite->run(fn () => Pheanstalk::create($suite->host, $suite->port)->listTubes());
