<?php

// Queues a simulation, and shows a link to the page with its result.
//
//     composer require pda/pheanstalk:^4        (or, on Debian: apt-get install php-pda-pheanstalk)
//     php -S 127.0.0.1:8000                     then open http://127.0.0.1:8000/submit.php
//     php submit.php                            queues one, and prints the link

declare(strict_types=1);

use Pheanstalk\Pheanstalk;

$composer = __DIR__ . '/vendor/autoload.php';
require is_file($composer) ? $composer : 'Pheanstalk/autoload.php';

/** Queues a job, and returns its id: with that, the URL of its result is known at once. */
function submit(string $type, array $args): string
{
    $id = uuid();
    $job = [
        'id' => $id,
        'type' => $type,
        'args' => $args,
        'created_at' => gmdate(DATE_RFC3339),
        // Who asked will not look for the result after that, so it need not be computed.
        'expires_at' => gmdate(DATE_RFC3339, time() + 3600),
    ];
    [$host, $port] = explode(':', getenv('QUEUE') ?: '127.0.0.1:11300');
    Pheanstalk::create($host, (int) $port)
        ->useTube(getenv('TUBE') ?: 'simulations')
        // The last number, ttr: if the worker is not heard of for a minute, another one gets the job.
        ->put(json_encode($job, JSON_THROW_ON_ERROR), Pheanstalk::DEFAULT_PRIORITY, 0, 60);
    return $id;
}

/** A random one (version 4). */
function uuid(): string
{
    $bytes = random_bytes(16);
    $bytes[6] = chr(ord($bytes[6]) & 0x0f | 0x40);
    $bytes[8] = chr(ord($bytes[8]) & 0x3f | 0x80);
    return vsprintf('%s%s-%s-%s-%s-%s%s%s', str_split(bin2hex($bytes), 4));
}

function submitWalk(): string
{
    $walk = ['start' => [0, 0], 'wind' => [0.1, 0.05], 'seed' => 42, 'steps' => 400, 'pause' => 0.5];
    return 'result.html?id=' . submit('drunken_sailor', $walk);
}

if (PHP_SAPI === 'cli') {
    echo submitWalk(), "\n";
    exit;
}
// A page that is only looked at must not queue anything, so this takes a button.
$link = $_SERVER['REQUEST_METHOD'] === 'POST' ? submitWalk() : null;
?>
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Drunken sailor</title>
<h1>Drunken sailor</h1>
<?php if ($link === null) : ?>
<form method="post"><button>Have him walk</button></form>
<?php else : ?>
<p>He is on his way: <a href="<?= htmlspecialchars($link) ?>">see where he gets to</a>.</p>
<?php endif ?>
</html>
