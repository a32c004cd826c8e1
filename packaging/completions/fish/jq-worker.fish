# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_jq_worker_global_optspecs
    string join \n v/version config= server= token-file= tls-ca= tls-cert= tls-key= tube= handlers= listen= public-url= results= concurrency= id= allow-url= V log-format= h/help
end

function __fish_jq_worker_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_jq_worker_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_jq_worker_using_subcommand
    set -l cmd (__fish_jq_worker_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c jq-worker -n "__fish_jq_worker_needs_command" -l config -d 'Configuration file [default: jq-worker.toml, if it exists]' -r -F
complete -c jq-worker -n "__fish_jq_worker_needs_command" -l server -d 'Take jobs from this server; can be repeated. beanstalks://HOST:PORT: by TLS [default: 127.0.0.1:11300]' -r
complete -c jq-worker -n "__fish_jq_worker_needs_command" -l token-file -d 'Show the servers the token in this file. One in the URL of --server can be seen in ps' -r -F
complete -c jq-worker -n "__fish_jq_worker_needs_command" -l tls-ca -d 'With beanstalks://: trust the authorities in this PEM file, instead of those that the system trusts' -r -F
complete -c jq-worker -n "__fish_jq_worker_needs_command" -l tls-cert -d 'With beanstalks://: show the servers this certificate (PEM)' -r -F
complete -c jq-worker -n "__fish_jq_worker_needs_command" -l tls-key -d 'The private key to it (PEM)' -r -F
complete -c jq-worker -n "__fish_jq_worker_needs_command" -l tube -d 'Take jobs from this tube; can be repeated' -r
complete -c jq-worker -n "__fish_jq_worker_needs_command" -l handlers -d 'Every executable file in this directory is a handler for the job type that it is named after [default: handlers]' -r -F
complete -c jq-worker -n "__fish_jq_worker_needs_command" -l listen -d 'Serve results at this address; "none": do not serve them [default: 127.0.0.1:11380]' -r
complete -c jq-worker -n "__fish_jq_worker_needs_command" -l public-url -d 'URL at which others reach that address' -r
complete -c jq-worker -n "__fish_jq_worker_needs_command" -l results -d 'Keep results and state in this directory [default: results]' -r -F
complete -c jq-worker -n "__fish_jq_worker_needs_command" -l concurrency -d 'Maximum number of jobs at a time [default: one per processor]' -r
complete -c jq-worker -n "__fish_jq_worker_needs_command" -l id -d 'Name of this worker in results [default: the host name]' -r
complete -c jq-worker -n "__fish_jq_worker_needs_command" -l allow-url -d 'Allow only URLs in jobs that start with this one; can be repeated [default: any public address]' -r
complete -c jq-worker -n "__fish_jq_worker_needs_command" -l log-format -d 'Format of log lines' -r -f -a "text\t'Human-readable text'
json\t'One JSON object per line'"
complete -c jq-worker -n "__fish_jq_worker_needs_command" -s v -l version -d 'Print the version'
complete -c jq-worker -n "__fish_jq_worker_needs_command" -s V -d 'Log more: -V each job that succeeds, -VV everything'
complete -c jq-worker -n "__fish_jq_worker_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c jq-worker -n "__fish_jq_worker_needs_command" -a "check" -d 'Check the configuration: report what the worker would do, and what is wrong'
complete -c jq-worker -n "__fish_jq_worker_needs_command" -a "selftest" -d 'Run built-in jobs that succeed, fail, hang and misbehave, against a private queue'
complete -c jq-worker -n "__fish_jq_worker_needs_command" -a "run" -d 'Run one job from a file, without a queue, and print its result'
complete -c jq-worker -n "__fish_jq_worker_needs_command" -a "submit" -d 'Put a job from a file into the queue'
complete -c jq-worker -n "__fish_jq_worker_needs_command" -a "cancel" -d 'Have a worker end a job, wherever it is'
complete -c jq-worker -n "__fish_jq_worker_needs_command" -a "rerun" -d 'Have a worker queue a job anew that is over'
complete -c jq-worker -n "__fish_jq_worker_needs_command" -a "selftest-handler" -d 'What the self-test runs'
complete -c jq-worker -n "__fish_jq_worker_needs_command" -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c jq-worker -n "__fish_jq_worker_using_subcommand check" -l config -d 'Configuration file [default: jq-worker.toml, if it exists]' -r -F
complete -c jq-worker -n "__fish_jq_worker_using_subcommand check" -l server -d 'Take jobs from this server; can be repeated. beanstalks://HOST:PORT: by TLS [default: 127.0.0.1:11300]' -r
complete -c jq-worker -n "__fish_jq_worker_using_subcommand check" -l token-file -d 'Show the servers the token in this file. One in the URL of --server can be seen in ps' -r -F
complete -c jq-worker -n "__fish_jq_worker_using_subcommand check" -l tls-ca -d 'With beanstalks://: trust the authorities in this PEM file, instead of those that the system trusts' -r -F
complete -c jq-worker -n "__fish_jq_worker_using_subcommand check" -l tls-cert -d 'With beanstalks://: show the servers this certificate (PEM)' -r -F
complete -c jq-worker -n "__fish_jq_worker_using_subcommand check" -l tls-key -d 'The private key to it (PEM)' -r -F
complete -c jq-worker -n "__fish_jq_worker_using_subcommand check" -l tube -d 'Take jobs from this tube; can be repeated' -r
complete -c jq-worker -n "__fish_jq_worker_using_subcommand check" -l handlers -d 'Every executable file in this directory is a handler for the job type that it is named after [default: handlers]' -r -F
complete -c jq-worker -n "__fish_jq_worker_using_subcommand check" -l listen -d 'Serve results at this address; "none": do not serve them [default: 127.0.0.1:11380]' -r
complete -c jq-worker -n "__fish_jq_worker_using_subcommand check" -l public-url -d 'URL at which others reach that address' -r
complete -c jq-worker -n "__fish_jq_worker_using_subcommand check" -l results -d 'Keep results and state in this directory [default: results]' -r -F
complete -c jq-worker -n "__fish_jq_worker_using_subcommand check" -l concurrency -d 'Maximum number of jobs at a time [default: one per processor]' -r
complete -c jq-worker -n "__fish_jq_worker_using_subcommand check" -l id -d 'Name of this worker in results [default: the host name]' -r
complete -c jq-worker -n "__fish_jq_worker_using_subcommand check" -l allow-url -d 'Allow only URLs in jobs that start with this one; can be repeated [default: any public address]' -r
complete -c jq-worker -n "__fish_jq_worker_using_subcommand check" -l log-format -d 'Format of log lines' -r -f -a "text\t'Human-readable text'
json\t'One JSON object per line'"
complete -c jq-worker -n "__fish_jq_worker_using_subcommand check" -s V -d 'Log more: -V each job that succeeds, -VV everything'
complete -c jq-worker -n "__fish_jq_worker_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c jq-worker -n "__fish_jq_worker_using_subcommand selftest" -l config -d 'Configuration file [default: jq-worker.toml, if it exists]' -r -F
complete -c jq-worker -n "__fish_jq_worker_using_subcommand selftest" -l server -d 'Take jobs from this server; can be repeated. beanstalks://HOST:PORT: by TLS [default: 127.0.0.1:11300]' -r
complete -c jq-worker -n "__fish_jq_worker_using_subcommand selftest" -l token-file -d 'Show the servers the token in this file. One in the URL of --server can be seen in ps' -r -F
complete -c jq-worker -n "__fish_jq_worker_using_subcommand selftest" -l tls-ca -d 'With beanstalks://: trust the authorities in this PEM file, instead of those that the system trusts' -r -F
complete -c jq-worker -n "__fish_jq_worker_using_subcommand selftest" -l tls-cert -d 'With beanstalks://: show the servers this certificate (PEM)' -r -F
complete -c jq-worker -n "__fish_jq_worker_using_subcommand selftest" -l tls-key -d 'The private key to it (PEM)' -r -F
complete -c jq-worker -n "__fish_jq_worker_using_subcommand selftest" -l tube -d 'Take jobs from this tube; can be repeated' -r
complete -c jq-worker -n "__fish_jq_worker_using_subcommand selftest" -l handlers -d 'Every executable file in this directory is a handler for the job type that it is named after [default: handlers]' -r -F
complete -c jq-worker -n "__fish_jq_worker_using_subcommand selftest" -l listen -d 'Serve results at this address; "none": do not serve them [default: 127.0.0.1:11380]' -r
complete -c jq-worker -n "__fish_jq_worker_using_subcommand selftest" -l public-url -d 'URL at which others reach that address' -r
complete -c jq-worker -n "__fish_jq_worker_using_subcommand selftest" -l results -d 'Keep results and state in this directory [default: results]' -r -F
complete -c jq-worker -n "__fish_jq_worker_using_subcommand selftest" -l concurrency -d 'Maximum number of jobs at a time [default: one per processor]' -r
complete -c jq-worker -n "__fish_jq_worker_using_subcommand selftest" -l id -d 'Name of this worker in results [default: the host name]' -r
complete -c jq-worker -n "__fish_jq_worker_using_subcommand selftest" -l allow-url -d 'Allow only URLs in jobs that start with this one; can be repeated [default: any public address]' -r
complete -c jq-worker -n "__fish_jq_worker_using_subcommand selftest" -l log-format -d 'Format of log lines' -r -f -a "text\t'Human-readable text'
json\t'One JSON object per line'"
complete -c jq-worker -n "__fish_jq_worker_using_subcommand selftest" -s V -d 'Log more: -V each job that succeeds, -VV everything'
complete -c jq-worker -n "__fish_jq_worker_using_subcommand selftest" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c jq-worker -n "__fish_jq_worker_using_subcommand run" -l artifacts -d 'Directory in which the process leaves its artifacts. It is made if it is missing, and its files stay there [default: one that is removed afterwards]' -r -F
complete -c jq-worker -n "__fish_jq_worker_using_subcommand run" -l config -d 'Configuration file [default: jq-worker.toml, if it exists]' -r -F
complete -c jq-worker -n "__fish_jq_worker_using_subcommand run" -l server -d 'Take jobs from this server; can be repeated. beanstalks://HOST:PORT: by TLS [default: 127.0.0.1:11300]' -r
complete -c jq-worker -n "__fish_jq_worker_using_subcommand run" -l token-file -d 'Show the servers the token in this file. One in the URL of --server can be seen in ps' -r -F
complete -c jq-worker -n "__fish_jq_worker_using_subcommand run" -l tls-ca -d 'With beanstalks://: trust the authorities in this PEM file, instead of those that the system trusts' -r -F
complete -c jq-worker -n "__fish_jq_worker_using_subcommand run" -l tls-cert -d 'With beanstalks://: show the servers this certificate (PEM)' -r -F
complete -c jq-worker -n "__fish_jq_worker_using_subcommand run" -l tls-key -d 'The private key to it (PEM)' -r -F
complete -c jq-worker -n "__fish_jq_worker_using_subcommand run" -l tube -d 'Take jobs from this tube; can be repeated' -r
complete -c jq-worker -n "__fish_jq_worker_using_subcommand run" -l handlers -d 'Every executable file in this directory is a handler for the job type that it is named after [default: handlers]' -r -F
complete -c jq-worker -n "__fish_jq_worker_using_subcommand run" -l listen -d 'Serve results at this address; "none": do not serve them [default: 127.0.0.1:11380]' -r
complete -c jq-worker -n "__fish_jq_worker_using_subcommand run" -l public-url -d 'URL at which others reach that address' -r
complete -c jq-worker -n "__fish_jq_worker_using_subcommand run" -l results -d 'Keep results and state in this directory [default: results]' -r -F
complete -c jq-worker -n "__fish_jq_worker_using_subcommand run" -l concurrency -d 'Maximum number of jobs at a time [default: one per processor]' -r
complete -c jq-worker -n "__fish_jq_worker_using_subcommand run" -l id -d 'Name of this worker in results [default: the host name]' -r
complete -c jq-worker -n "__fish_jq_worker_using_subcommand run" -l allow-url -d 'Allow only URLs in jobs that start with this one; can be repeated [default: any public address]' -r
complete -c jq-worker -n "__fish_jq_worker_using_subcommand run" -l log-format -d 'Format of log lines' -r -f -a "text\t'Human-readable text'
json\t'One JSON object per line'"
complete -c jq-worker -n "__fish_jq_worker_using_subcommand run" -s V -d 'Log more: -V each job that succeeds, -VV everything'
complete -c jq-worker -n "__fish_jq_worker_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c jq-worker -n "__fish_jq_worker_using_subcommand submit" -l server -d 'Server to queue it on; beanstalks://HOST:PORT: by TLS' -r
complete -c jq-worker -n "__fish_jq_worker_using_subcommand submit" -l token-file -d 'Show the servers the token in this file. One in the URL of --server can be seen in ps' -r -F
complete -c jq-worker -n "__fish_jq_worker_using_subcommand submit" -l tls-ca -d 'With beanstalks://: trust the authorities in this PEM file, instead of those that the system trusts' -r -F
complete -c jq-worker -n "__fish_jq_worker_using_subcommand submit" -l tls-cert -d 'With beanstalks://: show the servers this certificate (PEM)' -r -F
complete -c jq-worker -n "__fish_jq_worker_using_subcommand submit" -l tls-key -d 'The private key to it (PEM)' -r -F
complete -c jq-worker -n "__fish_jq_worker_using_subcommand submit" -l tube -d 'Tube to put it in' -r
complete -c jq-worker -n "__fish_jq_worker_using_subcommand submit" -l priority -d 'Priority; the lowest number is taken first' -r
complete -c jq-worker -n "__fish_jq_worker_using_subcommand submit" -l delay -d 'Delay in seconds before it can be taken' -r
complete -c jq-worker -n "__fish_jq_worker_using_subcommand submit" -l ttr -d 'Time to run: seconds that a worker may be silent before another gets the job' -r
complete -c jq-worker -n "__fish_jq_worker_using_subcommand submit" -l results -d 'Where the worker serves its results [default: http://127.0.0.1:11380]' -r
complete -c jq-worker -n "__fish_jq_worker_using_subcommand submit" -l log-format -d 'Format of log lines' -r -f -a "text\t'Human-readable text'
json\t'One JSON object per line'"
complete -c jq-worker -n "__fish_jq_worker_using_subcommand submit" -l wait -d 'Wait for the job, show its progress, and print the result'
complete -c jq-worker -n "__fish_jq_worker_using_subcommand submit" -s V -d 'Log more: -V each job that succeeds, -VV everything'
complete -c jq-worker -n "__fish_jq_worker_using_subcommand submit" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c jq-worker -n "__fish_jq_worker_using_subcommand cancel" -l results -d 'Where the worker serves its results [default: http://127.0.0.1:11380]' -r
complete -c jq-worker -n "__fish_jq_worker_using_subcommand cancel" -l token-file -d 'File with the token of the worker\'s control.token_file' -r -F
complete -c jq-worker -n "__fish_jq_worker_using_subcommand cancel" -l tls-ca -d 'PEM file with authorities that are trusted besides the system\'s' -r -F
complete -c jq-worker -n "__fish_jq_worker_using_subcommand cancel" -l log-format -d 'Format of log lines' -r -f -a "text\t'Human-readable text'
json\t'One JSON object per line'"
complete -c jq-worker -n "__fish_jq_worker_using_subcommand cancel" -s V -d 'Log more: -V each job that succeeds, -VV everything'
complete -c jq-worker -n "__fish_jq_worker_using_subcommand cancel" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c jq-worker -n "__fish_jq_worker_using_subcommand rerun" -l results -d 'Where the worker serves its results [default: http://127.0.0.1:11380]' -r
complete -c jq-worker -n "__fish_jq_worker_using_subcommand rerun" -l token-file -d 'File with the token of the worker\'s control.token_file' -r -F
complete -c jq-worker -n "__fish_jq_worker_using_subcommand rerun" -l tls-ca -d 'PEM file with authorities that are trusted besides the system\'s' -r -F
complete -c jq-worker -n "__fish_jq_worker_using_subcommand rerun" -l log-format -d 'Format of log lines' -r -f -a "text\t'Human-readable text'
json\t'One JSON object per line'"
complete -c jq-worker -n "__fish_jq_worker_using_subcommand rerun" -s V -d 'Log more: -V each job that succeeds, -VV everything'
complete -c jq-worker -n "__fish_jq_worker_using_subcommand rerun" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c jq-worker -n "__fish_jq_worker_using_subcommand selftest-handler" -l log-format -d 'Format of log lines' -r -f -a "text\t'Human-readable text'
json\t'One JSON object per line'"
complete -c jq-worker -n "__fish_jq_worker_using_subcommand selftest-handler" -s V -d 'Log more: -V each job that succeeds, -VV everything'
complete -c jq-worker -n "__fish_jq_worker_using_subcommand selftest-handler" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c jq-worker -n "__fish_jq_worker_using_subcommand help; and not __fish_seen_subcommand_from check selftest run submit cancel rerun selftest-handler help" -f -a "check" -d 'Check the configuration: report what the worker would do, and what is wrong'
complete -c jq-worker -n "__fish_jq_worker_using_subcommand help; and not __fish_seen_subcommand_from check selftest run submit cancel rerun selftest-handler help" -f -a "selftest" -d 'Run built-in jobs that succeed, fail, hang and misbehave, against a private queue'
complete -c jq-worker -n "__fish_jq_worker_using_subcommand help; and not __fish_seen_subcommand_from check selftest run submit cancel rerun selftest-handler help" -f -a "run" -d 'Run one job from a file, without a queue, and print its result'
complete -c jq-worker -n "__fish_jq_worker_using_subcommand help; and not __fish_seen_subcommand_from check selftest run submit cancel rerun selftest-handler help" -f -a "submit" -d 'Put a job from a file into the queue'
complete -c jq-worker -n "__fish_jq_worker_using_subcommand help; and not __fish_seen_subcommand_from check selftest run submit cancel rerun selftest-handler help" -f -a "cancel" -d 'Have a worker end a job, wherever it is'
complete -c jq-worker -n "__fish_jq_worker_using_subcommand help; and not __fish_seen_subcommand_from check selftest run submit cancel rerun selftest-handler help" -f -a "rerun" -d 'Have a worker queue a job anew that is over'
complete -c jq-worker -n "__fish_jq_worker_using_subcommand help; and not __fish_seen_subcommand_from check selftest run submit cancel rerun selftest-handler help" -f -a "selftest-handler" -d 'What the self-test runs'
complete -c jq-worker -n "__fish_jq_worker_using_subcommand help; and not __fish_seen_subcommand_from check selftest run submit cancel rerun selftest-handler help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
