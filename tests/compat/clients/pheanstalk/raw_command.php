<?php

declare(strict_types=1);

use Pheanstalk\Command\AbstractCommand;
use Pheanstalk\Contract\ResponseParserInterface;
use Pheanstalk\Response\ArrayResponse;

/** A command that Pheanstalk does not know, sent as it is; the answer's name is its whole line. */
final class RawCommand extends AbstractCommand implements ResponseParserInterface
{
    public function __construct(private readonly string $line)
    {
    }

    public function getCommandLine(): string
    {
        return $this->line;
    }

    public function parseResponse(string $responseLine, ?string $responseData): ArrayResponse
    {
        return $this->createResponse($responseLine);
    }
}
