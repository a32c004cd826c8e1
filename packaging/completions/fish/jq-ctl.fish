# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_jq_ctl_global_optspecs
    string join \n server= http= token-file= http-token-file= tls-ca= tls-cert= tls-key= p/profile= config= json color= y/yes timeout= v/version h/help
end

function __fish_jq_ctl_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_jq_ctl_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_jq_ctl_using_subcommand
    set -l cmd (__fish_jq_ctl_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -l server -d 'The queue server: HOST:PORT or unix:PATH, or beanstalks://HOST:PORT by TLS [default: 127.0.0.1:11300]' -r
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -l http -d 'jq-server\'s HTTP API, for what the protocol has no command for' -r
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -l token-file -d 'File with the token for the server: for the queue, if it is NAME.SECRET, and for the HTTP API. One in the URL of --server can be seen in ps' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -l http-token-file -d 'File with the token for the HTTP API, if that has another' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -l tls-ca -d 'By TLS: trust the authorities in this PEM file, instead of those that the system trusts' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -l tls-cert -d 'By TLS: show the server this certificate (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -l tls-key -d 'The private key to it (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -s p -l profile -d 'Use the server of this name in the configuration file' -r
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -l config -d 'Configuration file [default: ~/.config/jq/ctl.toml, if there is one]' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -l color -d 'When to use colours; auto: on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -l timeout -d 'Seconds to wait for the server\'s answer' -r
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -l json -d 'Print JSON, for programs'
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -s y -l yes -d 'Do not ask before something is destroyed'
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -s v -l version -d 'Print the version'
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -f -a "stats" -d 'Show what the server says about itself'
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -f -a "tubes" -d 'List the tubes'
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -f -a "tube" -d 'Show what the server says about a tube'
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -f -a "jobs" -d 'List the jobs of a tube (jq-server only)'
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -f -a "job" -d 'Show a job: what the server says about it, and its body'
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -f -a "peek" -d 'Print the body of the first job of a tube'
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -f -a "put" -d 'Put jobs into a tube, and print their numbers'
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -f -a "reserve" -d 'Reserve a job, print its body, and then do with it what --then says'
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -f -a "tail" -d 'Show what passes through the tubes, second by second, without taking anything (HTTP)'
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -f -a "kick" -d 'Make buried jobs of a tube ready, or delayed ones if none is buried'
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -f -a "bury" -d 'Bury jobs: set them aside until they are kicked'
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -f -a "delete" -d 'Delete jobs'
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -f -a "move" -d 'Move jobs to another tube (jq-server only)'
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -f -a "clear" -d 'Delete all jobs of a tube that are not reserved'
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -f -a "pause" -d 'Let no job of a tube be reserved for a while'
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -f -a "resume" -d 'End a tube\'s pause'
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -f -a "policy" -d 'Show or change the policy of a tube: its limits, and what becomes of failing jobs (HTTP)'
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -f -a "drain" -d 'Let the server accept no new jobs (HTTP)'
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -f -a "undrain" -d 'Let the server accept new jobs again (HTTP)'
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -f -a "connections" -d 'List the connections, or close some (HTTP)'
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -f -a "top" -d 'Watch the tubes live: what hurts most comes first'
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -f -a "export" -d 'Write the jobs of a tube to a file, one JSON object per line'
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -f -a "import" -d 'Put the jobs of such a file'
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -f -a "bench" -d 'Measure puts, reserves and deletes on this server'
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -f -a "wait" -d 'Wait until a tube has no jobs, for scripts'
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -f -a "completions" -d 'Print completions for a shell'
complete -c jq-ctl -n "__fish_jq_ctl_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand stats" -l server -d 'The queue server: HOST:PORT or unix:PATH, or beanstalks://HOST:PORT by TLS [default: 127.0.0.1:11300]' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand stats" -l http -d 'jq-server\'s HTTP API, for what the protocol has no command for' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand stats" -l token-file -d 'File with the token for the server: for the queue, if it is NAME.SECRET, and for the HTTP API. One in the URL of --server can be seen in ps' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand stats" -l http-token-file -d 'File with the token for the HTTP API, if that has another' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand stats" -l tls-ca -d 'By TLS: trust the authorities in this PEM file, instead of those that the system trusts' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand stats" -l tls-cert -d 'By TLS: show the server this certificate (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand stats" -l tls-key -d 'The private key to it (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand stats" -s p -l profile -d 'Use the server of this name in the configuration file' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand stats" -l config -d 'Configuration file [default: ~/.config/jq/ctl.toml, if there is one]' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand stats" -l color -d 'When to use colours; auto: on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand stats" -l timeout -d 'Seconds to wait for the server\'s answer' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand stats" -l json -d 'Print JSON, for programs'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand stats" -s y -l yes -d 'Do not ask before something is destroyed'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand stats" -s h -l help -d 'Print help'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tubes" -l sort -d 'Which come first: by name, or those with the most' -r -f -a "name\t''
ready\t''
reserved\t''
delayed\t''
buried\t''
waiting\t''
total\t''"
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tubes" -l limit -d 'At most this many' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tubes" -l server -d 'The queue server: HOST:PORT or unix:PATH, or beanstalks://HOST:PORT by TLS [default: 127.0.0.1:11300]' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tubes" -l http -d 'jq-server\'s HTTP API, for what the protocol has no command for' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tubes" -l token-file -d 'File with the token for the server: for the queue, if it is NAME.SECRET, and for the HTTP API. One in the URL of --server can be seen in ps' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tubes" -l http-token-file -d 'File with the token for the HTTP API, if that has another' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tubes" -l tls-ca -d 'By TLS: trust the authorities in this PEM file, instead of those that the system trusts' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tubes" -l tls-cert -d 'By TLS: show the server this certificate (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tubes" -l tls-key -d 'The private key to it (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tubes" -s p -l profile -d 'Use the server of this name in the configuration file' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tubes" -l config -d 'Configuration file [default: ~/.config/jq/ctl.toml, if there is one]' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tubes" -l color -d 'When to use colours; auto: on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tubes" -l timeout -d 'Seconds to wait for the server\'s answer' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tubes" -l json -d 'Print JSON, for programs'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tubes" -s y -l yes -d 'Do not ask before something is destroyed'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tubes" -s h -l help -d 'Print help'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tube" -l server -d 'The queue server: HOST:PORT or unix:PATH, or beanstalks://HOST:PORT by TLS [default: 127.0.0.1:11300]' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tube" -l http -d 'jq-server\'s HTTP API, for what the protocol has no command for' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tube" -l token-file -d 'File with the token for the server: for the queue, if it is NAME.SECRET, and for the HTTP API. One in the URL of --server can be seen in ps' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tube" -l http-token-file -d 'File with the token for the HTTP API, if that has another' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tube" -l tls-ca -d 'By TLS: trust the authorities in this PEM file, instead of those that the system trusts' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tube" -l tls-cert -d 'By TLS: show the server this certificate (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tube" -l tls-key -d 'The private key to it (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tube" -s p -l profile -d 'Use the server of this name in the configuration file' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tube" -l config -d 'Configuration file [default: ~/.config/jq/ctl.toml, if there is one]' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tube" -l color -d 'When to use colours; auto: on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tube" -l timeout -d 'Seconds to wait for the server\'s answer' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tube" -l json -d 'Print JSON, for programs'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tube" -s y -l yes -d 'Do not ask before something is destroyed'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tube" -s h -l help -d 'Print help'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand jobs" -l state -d 'Only jobs in this state' -r -f -a "ready\t''
reserved\t''
delayed\t''
buried\t''"
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand jobs" -l returned -d 'Only jobs that came back at least this often: timed out, were released, or were held by a connection that vanished' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand jobs" -l limit -d 'At most this many' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand jobs" -l cursor -d 'Go on where an earlier list ended' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand jobs" -l server -d 'The queue server: HOST:PORT or unix:PATH, or beanstalks://HOST:PORT by TLS [default: 127.0.0.1:11300]' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand jobs" -l http -d 'jq-server\'s HTTP API, for what the protocol has no command for' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand jobs" -l token-file -d 'File with the token for the server: for the queue, if it is NAME.SECRET, and for the HTTP API. One in the URL of --server can be seen in ps' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand jobs" -l http-token-file -d 'File with the token for the HTTP API, if that has another' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand jobs" -l tls-ca -d 'By TLS: trust the authorities in this PEM file, instead of those that the system trusts' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand jobs" -l tls-cert -d 'By TLS: show the server this certificate (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand jobs" -l tls-key -d 'The private key to it (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand jobs" -s p -l profile -d 'Use the server of this name in the configuration file' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand jobs" -l config -d 'Configuration file [default: ~/.config/jq/ctl.toml, if there is one]' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand jobs" -l color -d 'When to use colours; auto: on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand jobs" -l timeout -d 'Seconds to wait for the server\'s answer' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand jobs" -l json -d 'Print JSON, for programs'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand jobs" -s y -l yes -d 'Do not ask before something is destroyed'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand jobs" -s h -l help -d 'Print help'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand job" -l server -d 'The queue server: HOST:PORT or unix:PATH, or beanstalks://HOST:PORT by TLS [default: 127.0.0.1:11300]' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand job" -l http -d 'jq-server\'s HTTP API, for what the protocol has no command for' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand job" -l token-file -d 'File with the token for the server: for the queue, if it is NAME.SECRET, and for the HTTP API. One in the URL of --server can be seen in ps' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand job" -l http-token-file -d 'File with the token for the HTTP API, if that has another' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand job" -l tls-ca -d 'By TLS: trust the authorities in this PEM file, instead of those that the system trusts' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand job" -l tls-cert -d 'By TLS: show the server this certificate (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand job" -l tls-key -d 'The private key to it (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand job" -s p -l profile -d 'Use the server of this name in the configuration file' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand job" -l config -d 'Configuration file [default: ~/.config/jq/ctl.toml, if there is one]' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand job" -l color -d 'When to use colours; auto: on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand job" -l timeout -d 'Seconds to wait for the server\'s answer' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand job" -l json -d 'Print JSON, for programs'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand job" -s y -l yes -d 'Do not ask before something is destroyed'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand job" -s h -l help -d 'Print help'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand peek" -l state -d 'First among the jobs in this state' -r -f -a "ready\t''
delayed\t''
buried\t''"
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand peek" -l server -d 'The queue server: HOST:PORT or unix:PATH, or beanstalks://HOST:PORT by TLS [default: 127.0.0.1:11300]' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand peek" -l http -d 'jq-server\'s HTTP API, for what the protocol has no command for' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand peek" -l token-file -d 'File with the token for the server: for the queue, if it is NAME.SECRET, and for the HTTP API. One in the URL of --server can be seen in ps' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand peek" -l http-token-file -d 'File with the token for the HTTP API, if that has another' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand peek" -l tls-ca -d 'By TLS: trust the authorities in this PEM file, instead of those that the system trusts' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand peek" -l tls-cert -d 'By TLS: show the server this certificate (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand peek" -l tls-key -d 'The private key to it (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand peek" -s p -l profile -d 'Use the server of this name in the configuration file' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand peek" -l config -d 'Configuration file [default: ~/.config/jq/ctl.toml, if there is one]' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand peek" -l color -d 'When to use colours; auto: on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand peek" -l timeout -d 'Seconds to wait for the server\'s answer' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand peek" -l json -d 'Print JSON, for programs'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand peek" -s y -l yes -d 'Do not ask before something is destroyed'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand peek" -s h -l help -d 'Print help'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand put" -l file -d 'The contents of this file are the body' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand put" -l priority -d 'Priority; the lowest number is taken first' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand put" -l delay -d 'Seconds until the job can be taken' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand put" -l ttr -d 'Time to run: seconds that a worker may hold the job without a sign of life' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand put" -l server -d 'The queue server: HOST:PORT or unix:PATH, or beanstalks://HOST:PORT by TLS [default: 127.0.0.1:11300]' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand put" -l http -d 'jq-server\'s HTTP API, for what the protocol has no command for' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand put" -l token-file -d 'File with the token for the server: for the queue, if it is NAME.SECRET, and for the HTTP API. One in the URL of --server can be seen in ps' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand put" -l http-token-file -d 'File with the token for the HTTP API, if that has another' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand put" -l tls-ca -d 'By TLS: trust the authorities in this PEM file, instead of those that the system trusts' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand put" -l tls-cert -d 'By TLS: show the server this certificate (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand put" -l tls-key -d 'The private key to it (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand put" -s p -l profile -d 'Use the server of this name in the configuration file' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand put" -l config -d 'Configuration file [default: ~/.config/jq/ctl.toml, if there is one]' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand put" -l color -d 'When to use colours; auto: on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand put" -l timeout -d 'Seconds to wait for the server\'s answer' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand put" -l lines -d 'Each line of standard input is the body of a job'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand put" -l json -d 'Print JSON, for programs'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand put" -s y -l yes -d 'Do not ask before something is destroyed'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand put" -s h -l help -d 'Print help'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand reserve" -l within -d 'Seconds to wait for a job; without it, as long as necessary' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand reserve" -l then -d 'What to do with the job when its body is printed' -r -f -a "release\t'Give it back: it is ready again'
delete\t'Delete it'
bury\t'Bury it'"
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand reserve" -l count -d 'Reserve this many, one after the other' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand reserve" -l server -d 'The queue server: HOST:PORT or unix:PATH, or beanstalks://HOST:PORT by TLS [default: 127.0.0.1:11300]' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand reserve" -l http -d 'jq-server\'s HTTP API, for what the protocol has no command for' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand reserve" -l token-file -d 'File with the token for the server: for the queue, if it is NAME.SECRET, and for the HTTP API. One in the URL of --server can be seen in ps' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand reserve" -l http-token-file -d 'File with the token for the HTTP API, if that has another' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand reserve" -l tls-ca -d 'By TLS: trust the authorities in this PEM file, instead of those that the system trusts' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand reserve" -l tls-cert -d 'By TLS: show the server this certificate (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand reserve" -l tls-key -d 'The private key to it (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand reserve" -s p -l profile -d 'Use the server of this name in the configuration file' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand reserve" -l config -d 'Configuration file [default: ~/.config/jq/ctl.toml, if there is one]' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand reserve" -l color -d 'When to use colours; auto: on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand reserve" -l timeout -d 'Seconds to wait for the server\'s answer' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand reserve" -l json -d 'Print JSON, for programs'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand reserve" -s y -l yes -d 'Do not ask before something is destroyed'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand reserve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tail" -l server -d 'The queue server: HOST:PORT or unix:PATH, or beanstalks://HOST:PORT by TLS [default: 127.0.0.1:11300]' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tail" -l http -d 'jq-server\'s HTTP API, for what the protocol has no command for' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tail" -l token-file -d 'File with the token for the server: for the queue, if it is NAME.SECRET, and for the HTTP API. One in the URL of --server can be seen in ps' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tail" -l http-token-file -d 'File with the token for the HTTP API, if that has another' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tail" -l tls-ca -d 'By TLS: trust the authorities in this PEM file, instead of those that the system trusts' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tail" -l tls-cert -d 'By TLS: show the server this certificate (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tail" -l tls-key -d 'The private key to it (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tail" -s p -l profile -d 'Use the server of this name in the configuration file' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tail" -l config -d 'Configuration file [default: ~/.config/jq/ctl.toml, if there is one]' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tail" -l color -d 'When to use colours; auto: on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tail" -l timeout -d 'Seconds to wait for the server\'s answer' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tail" -l json -d 'Print JSON, for programs'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tail" -s y -l yes -d 'Do not ask before something is destroyed'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand tail" -s h -l help -d 'Print help'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand kick" -l count -d 'This many' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand kick" -l job -d 'This job; may be repeated' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand kick" -l server -d 'The queue server: HOST:PORT or unix:PATH, or beanstalks://HOST:PORT by TLS [default: 127.0.0.1:11300]' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand kick" -l http -d 'jq-server\'s HTTP API, for what the protocol has no command for' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand kick" -l token-file -d 'File with the token for the server: for the queue, if it is NAME.SECRET, and for the HTTP API. One in the URL of --server can be seen in ps' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand kick" -l http-token-file -d 'File with the token for the HTTP API, if that has another' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand kick" -l tls-ca -d 'By TLS: trust the authorities in this PEM file, instead of those that the system trusts' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand kick" -l tls-cert -d 'By TLS: show the server this certificate (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand kick" -l tls-key -d 'The private key to it (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand kick" -s p -l profile -d 'Use the server of this name in the configuration file' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand kick" -l config -d 'Configuration file [default: ~/.config/jq/ctl.toml, if there is one]' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand kick" -l color -d 'When to use colours; auto: on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand kick" -l timeout -d 'Seconds to wait for the server\'s answer' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand kick" -l all -d 'All that are buried or, if none is, all that are delayed'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand kick" -l json -d 'Print JSON, for programs'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand kick" -s y -l yes -d 'Do not ask before something is destroyed'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand kick" -s h -l help -d 'Print help'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand bury" -l server -d 'The queue server: HOST:PORT or unix:PATH, or beanstalks://HOST:PORT by TLS [default: 127.0.0.1:11300]' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand bury" -l http -d 'jq-server\'s HTTP API, for what the protocol has no command for' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand bury" -l token-file -d 'File with the token for the server: for the queue, if it is NAME.SECRET, and for the HTTP API. One in the URL of --server can be seen in ps' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand bury" -l http-token-file -d 'File with the token for the HTTP API, if that has another' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand bury" -l tls-ca -d 'By TLS: trust the authorities in this PEM file, instead of those that the system trusts' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand bury" -l tls-cert -d 'By TLS: show the server this certificate (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand bury" -l tls-key -d 'The private key to it (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand bury" -s p -l profile -d 'Use the server of this name in the configuration file' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand bury" -l config -d 'Configuration file [default: ~/.config/jq/ctl.toml, if there is one]' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand bury" -l color -d 'When to use colours; auto: on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand bury" -l timeout -d 'Seconds to wait for the server\'s answer' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand bury" -l json -d 'Print JSON, for programs'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand bury" -s y -l yes -d 'Do not ask before something is destroyed'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand bury" -s h -l help -d 'Print help'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand delete" -l server -d 'The queue server: HOST:PORT or unix:PATH, or beanstalks://HOST:PORT by TLS [default: 127.0.0.1:11300]' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand delete" -l http -d 'jq-server\'s HTTP API, for what the protocol has no command for' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand delete" -l token-file -d 'File with the token for the server: for the queue, if it is NAME.SECRET, and for the HTTP API. One in the URL of --server can be seen in ps' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand delete" -l http-token-file -d 'File with the token for the HTTP API, if that has another' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand delete" -l tls-ca -d 'By TLS: trust the authorities in this PEM file, instead of those that the system trusts' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand delete" -l tls-cert -d 'By TLS: show the server this certificate (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand delete" -l tls-key -d 'The private key to it (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand delete" -s p -l profile -d 'Use the server of this name in the configuration file' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand delete" -l config -d 'Configuration file [default: ~/.config/jq/ctl.toml, if there is one]' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand delete" -l color -d 'When to use colours; auto: on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand delete" -l timeout -d 'Seconds to wait for the server\'s answer' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand delete" -l json -d 'Print JSON, for programs'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand delete" -s y -l yes -d 'Do not ask before something is destroyed'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand delete" -s h -l help -d 'Print help'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand move" -l to -d 'The tube to move them to' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand move" -l from -d 'All jobs of this tube (HTTP)' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand move" -l state -d 'With --from: only jobs in this state' -r -f -a "ready\t''
reserved\t''
delayed\t''
buried\t''"
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand move" -l server -d 'The queue server: HOST:PORT or unix:PATH, or beanstalks://HOST:PORT by TLS [default: 127.0.0.1:11300]' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand move" -l http -d 'jq-server\'s HTTP API, for what the protocol has no command for' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand move" -l token-file -d 'File with the token for the server: for the queue, if it is NAME.SECRET, and for the HTTP API. One in the URL of --server can be seen in ps' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand move" -l http-token-file -d 'File with the token for the HTTP API, if that has another' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand move" -l tls-ca -d 'By TLS: trust the authorities in this PEM file, instead of those that the system trusts' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand move" -l tls-cert -d 'By TLS: show the server this certificate (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand move" -l tls-key -d 'The private key to it (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand move" -s p -l profile -d 'Use the server of this name in the configuration file' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand move" -l config -d 'Configuration file [default: ~/.config/jq/ctl.toml, if there is one]' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand move" -l color -d 'When to use colours; auto: on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand move" -l timeout -d 'Seconds to wait for the server\'s answer' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand move" -l json -d 'Print JSON, for programs'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand move" -s y -l yes -d 'Do not ask before something is destroyed'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand move" -s h -l help -d 'Print help'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand clear" -l server -d 'The queue server: HOST:PORT or unix:PATH, or beanstalks://HOST:PORT by TLS [default: 127.0.0.1:11300]' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand clear" -l http -d 'jq-server\'s HTTP API, for what the protocol has no command for' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand clear" -l token-file -d 'File with the token for the server: for the queue, if it is NAME.SECRET, and for the HTTP API. One in the URL of --server can be seen in ps' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand clear" -l http-token-file -d 'File with the token for the HTTP API, if that has another' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand clear" -l tls-ca -d 'By TLS: trust the authorities in this PEM file, instead of those that the system trusts' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand clear" -l tls-cert -d 'By TLS: show the server this certificate (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand clear" -l tls-key -d 'The private key to it (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand clear" -s p -l profile -d 'Use the server of this name in the configuration file' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand clear" -l config -d 'Configuration file [default: ~/.config/jq/ctl.toml, if there is one]' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand clear" -l color -d 'When to use colours; auto: on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand clear" -l timeout -d 'Seconds to wait for the server\'s answer' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand clear" -l json -d 'Print JSON, for programs'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand clear" -s y -l yes -d 'Do not ask before something is destroyed'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand clear" -s h -l help -d 'Print help'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand pause" -l server -d 'The queue server: HOST:PORT or unix:PATH, or beanstalks://HOST:PORT by TLS [default: 127.0.0.1:11300]' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand pause" -l http -d 'jq-server\'s HTTP API, for what the protocol has no command for' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand pause" -l token-file -d 'File with the token for the server: for the queue, if it is NAME.SECRET, and for the HTTP API. One in the URL of --server can be seen in ps' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand pause" -l http-token-file -d 'File with the token for the HTTP API, if that has another' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand pause" -l tls-ca -d 'By TLS: trust the authorities in this PEM file, instead of those that the system trusts' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand pause" -l tls-cert -d 'By TLS: show the server this certificate (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand pause" -l tls-key -d 'The private key to it (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand pause" -s p -l profile -d 'Use the server of this name in the configuration file' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand pause" -l config -d 'Configuration file [default: ~/.config/jq/ctl.toml, if there is one]' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand pause" -l color -d 'When to use colours; auto: on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand pause" -l timeout -d 'Seconds to wait for the server\'s answer' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand pause" -l json -d 'Print JSON, for programs'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand pause" -s y -l yes -d 'Do not ask before something is destroyed'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand pause" -s h -l help -d 'Print help'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand resume" -l server -d 'The queue server: HOST:PORT or unix:PATH, or beanstalks://HOST:PORT by TLS [default: 127.0.0.1:11300]' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand resume" -l http -d 'jq-server\'s HTTP API, for what the protocol has no command for' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand resume" -l token-file -d 'File with the token for the server: for the queue, if it is NAME.SECRET, and for the HTTP API. One in the URL of --server can be seen in ps' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand resume" -l http-token-file -d 'File with the token for the HTTP API, if that has another' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand resume" -l tls-ca -d 'By TLS: trust the authorities in this PEM file, instead of those that the system trusts' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand resume" -l tls-cert -d 'By TLS: show the server this certificate (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand resume" -l tls-key -d 'The private key to it (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand resume" -s p -l profile -d 'Use the server of this name in the configuration file' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand resume" -l config -d 'Configuration file [default: ~/.config/jq/ctl.toml, if there is one]' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand resume" -l color -d 'When to use colours; auto: on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand resume" -l timeout -d 'Seconds to wait for the server\'s answer' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand resume" -l json -d 'Print JSON, for programs'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand resume" -s y -l yes -d 'Do not ask before something is destroyed'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand resume" -s h -l help -d 'Print help'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand policy" -l server -d 'The queue server: HOST:PORT or unix:PATH, or beanstalks://HOST:PORT by TLS [default: 127.0.0.1:11300]' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand policy" -l http -d 'jq-server\'s HTTP API, for what the protocol has no command for' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand policy" -l token-file -d 'File with the token for the server: for the queue, if it is NAME.SECRET, and for the HTTP API. One in the URL of --server can be seen in ps' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand policy" -l http-token-file -d 'File with the token for the HTTP API, if that has another' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand policy" -l tls-ca -d 'By TLS: trust the authorities in this PEM file, instead of those that the system trusts' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand policy" -l tls-cert -d 'By TLS: show the server this certificate (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand policy" -l tls-key -d 'The private key to it (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand policy" -s p -l profile -d 'Use the server of this name in the configuration file' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand policy" -l config -d 'Configuration file [default: ~/.config/jq/ctl.toml, if there is one]' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand policy" -l color -d 'When to use colours; auto: on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand policy" -l timeout -d 'Seconds to wait for the server\'s answer' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand policy" -l remove -d 'Remove the whole policy'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand policy" -l json -d 'Print JSON, for programs'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand policy" -s y -l yes -d 'Do not ask before something is destroyed'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand policy" -s h -l help -d 'Print help'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand drain" -l server -d 'The queue server: HOST:PORT or unix:PATH, or beanstalks://HOST:PORT by TLS [default: 127.0.0.1:11300]' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand drain" -l http -d 'jq-server\'s HTTP API, for what the protocol has no command for' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand drain" -l token-file -d 'File with the token for the server: for the queue, if it is NAME.SECRET, and for the HTTP API. One in the URL of --server can be seen in ps' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand drain" -l http-token-file -d 'File with the token for the HTTP API, if that has another' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand drain" -l tls-ca -d 'By TLS: trust the authorities in this PEM file, instead of those that the system trusts' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand drain" -l tls-cert -d 'By TLS: show the server this certificate (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand drain" -l tls-key -d 'The private key to it (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand drain" -s p -l profile -d 'Use the server of this name in the configuration file' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand drain" -l config -d 'Configuration file [default: ~/.config/jq/ctl.toml, if there is one]' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand drain" -l color -d 'When to use colours; auto: on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand drain" -l timeout -d 'Seconds to wait for the server\'s answer' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand drain" -l json -d 'Print JSON, for programs'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand drain" -s y -l yes -d 'Do not ask before something is destroyed'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand drain" -s h -l help -d 'Print help'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand undrain" -l server -d 'The queue server: HOST:PORT or unix:PATH, or beanstalks://HOST:PORT by TLS [default: 127.0.0.1:11300]' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand undrain" -l http -d 'jq-server\'s HTTP API, for what the protocol has no command for' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand undrain" -l token-file -d 'File with the token for the server: for the queue, if it is NAME.SECRET, and for the HTTP API. One in the URL of --server can be seen in ps' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand undrain" -l http-token-file -d 'File with the token for the HTTP API, if that has another' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand undrain" -l tls-ca -d 'By TLS: trust the authorities in this PEM file, instead of those that the system trusts' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand undrain" -l tls-cert -d 'By TLS: show the server this certificate (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand undrain" -l tls-key -d 'The private key to it (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand undrain" -s p -l profile -d 'Use the server of this name in the configuration file' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand undrain" -l config -d 'Configuration file [default: ~/.config/jq/ctl.toml, if there is one]' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand undrain" -l color -d 'When to use colours; auto: on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand undrain" -l timeout -d 'Seconds to wait for the server\'s answer' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand undrain" -l json -d 'Print JSON, for programs'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand undrain" -s y -l yes -d 'Do not ask before something is destroyed'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand undrain" -s h -l help -d 'Print help'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand connections" -l from -d 'Only those of clients on this host: an IP address, or "unix"' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand connections" -l close -d 'Close this connection; may be repeated' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand connections" -l server -d 'The queue server: HOST:PORT or unix:PATH, or beanstalks://HOST:PORT by TLS [default: 127.0.0.1:11300]' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand connections" -l http -d 'jq-server\'s HTTP API, for what the protocol has no command for' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand connections" -l token-file -d 'File with the token for the server: for the queue, if it is NAME.SECRET, and for the HTTP API. One in the URL of --server can be seen in ps' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand connections" -l http-token-file -d 'File with the token for the HTTP API, if that has another' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand connections" -l tls-ca -d 'By TLS: trust the authorities in this PEM file, instead of those that the system trusts' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand connections" -l tls-cert -d 'By TLS: show the server this certificate (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand connections" -l tls-key -d 'The private key to it (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand connections" -s p -l profile -d 'Use the server of this name in the configuration file' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand connections" -l config -d 'Configuration file [default: ~/.config/jq/ctl.toml, if there is one]' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand connections" -l color -d 'When to use colours; auto: on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand connections" -l timeout -d 'Seconds to wait for the server\'s answer' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand connections" -l by-host -d 'Sum them up for each host, those with the most first'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand connections" -l close-all -d 'With --from: close all of them'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand connections" -l json -d 'Print JSON, for programs'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand connections" -s y -l yes -d 'Do not ask before something is destroyed'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand connections" -s h -l help -d 'Print help'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand top" -l interval -d 'Seconds between two looks' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand top" -l server -d 'The queue server: HOST:PORT or unix:PATH, or beanstalks://HOST:PORT by TLS [default: 127.0.0.1:11300]' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand top" -l http -d 'jq-server\'s HTTP API, for what the protocol has no command for' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand top" -l token-file -d 'File with the token for the server: for the queue, if it is NAME.SECRET, and for the HTTP API. One in the URL of --server can be seen in ps' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand top" -l http-token-file -d 'File with the token for the HTTP API, if that has another' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand top" -l tls-ca -d 'By TLS: trust the authorities in this PEM file, instead of those that the system trusts' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand top" -l tls-cert -d 'By TLS: show the server this certificate (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand top" -l tls-key -d 'The private key to it (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand top" -s p -l profile -d 'Use the server of this name in the configuration file' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand top" -l config -d 'Configuration file [default: ~/.config/jq/ctl.toml, if there is one]' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand top" -l color -d 'When to use colours; auto: on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand top" -l timeout -d 'Seconds to wait for the server\'s answer' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand top" -l json -d 'Print JSON, for programs'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand top" -s y -l yes -d 'Do not ask before something is destroyed'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand top" -s h -l help -d 'Print help'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand export" -l state -d 'Only jobs in this state' -r -f -a "ready\t''
reserved\t''
delayed\t''
buried\t''"
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand export" -l server -d 'The queue server: HOST:PORT or unix:PATH, or beanstalks://HOST:PORT by TLS [default: 127.0.0.1:11300]' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand export" -l http -d 'jq-server\'s HTTP API, for what the protocol has no command for' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand export" -l token-file -d 'File with the token for the server: for the queue, if it is NAME.SECRET, and for the HTTP API. One in the URL of --server can be seen in ps' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand export" -l http-token-file -d 'File with the token for the HTTP API, if that has another' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand export" -l tls-ca -d 'By TLS: trust the authorities in this PEM file, instead of those that the system trusts' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand export" -l tls-cert -d 'By TLS: show the server this certificate (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand export" -l tls-key -d 'The private key to it (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand export" -s p -l profile -d 'Use the server of this name in the configuration file' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand export" -l config -d 'Configuration file [default: ~/.config/jq/ctl.toml, if there is one]' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand export" -l color -d 'When to use colours; auto: on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand export" -l timeout -d 'Seconds to wait for the server\'s answer' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand export" -l base64 -d 'Bodies as base64 even if they are text'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand export" -l by-reserving -d 'For beanstalkd, which cannot list jobs: reserve all ready ones, and give them back at the end. Workers get none of them meanwhile, and the server counts the reserves'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand export" -l json -d 'Print JSON, for programs'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand export" -s y -l yes -d 'Do not ask before something is destroyed'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand export" -s h -l help -d 'Print help'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand import" -l tube -d 'Put all jobs into this tube, whatever the file says' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand import" -l from-line -d 'Go on at this line, as an import that failed said' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand import" -l server -d 'The queue server: HOST:PORT or unix:PATH, or beanstalks://HOST:PORT by TLS [default: 127.0.0.1:11300]' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand import" -l http -d 'jq-server\'s HTTP API, for what the protocol has no command for' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand import" -l token-file -d 'File with the token for the server: for the queue, if it is NAME.SECRET, and for the HTTP API. One in the URL of --server can be seen in ps' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand import" -l http-token-file -d 'File with the token for the HTTP API, if that has another' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand import" -l tls-ca -d 'By TLS: trust the authorities in this PEM file, instead of those that the system trusts' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand import" -l tls-cert -d 'By TLS: show the server this certificate (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand import" -l tls-key -d 'The private key to it (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand import" -s p -l profile -d 'Use the server of this name in the configuration file' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand import" -l config -d 'Configuration file [default: ~/.config/jq/ctl.toml, if there is one]' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand import" -l color -d 'When to use colours; auto: on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand import" -l timeout -d 'Seconds to wait for the server\'s answer' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand import" -l with-policy -d 'Also set the policies in the file, when all jobs are in (HTTP)'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand import" -l json -d 'Print JSON, for programs'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand import" -s y -l yes -d 'Do not ask before something is destroyed'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand import" -s h -l help -d 'Print help'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand bench" -l jobs -d 'Number of jobs' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand bench" -l size -d 'Size of each body in bytes' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand bench" -l in-flight -d 'Commands in flight; 1 waits for each reply' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand bench" -l tube -d 'The tube, which must be empty. It is so again afterwards, unless the command fails' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand bench" -l server -d 'The queue server: HOST:PORT or unix:PATH, or beanstalks://HOST:PORT by TLS [default: 127.0.0.1:11300]' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand bench" -l http -d 'jq-server\'s HTTP API, for what the protocol has no command for' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand bench" -l token-file -d 'File with the token for the server: for the queue, if it is NAME.SECRET, and for the HTTP API. One in the URL of --server can be seen in ps' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand bench" -l http-token-file -d 'File with the token for the HTTP API, if that has another' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand bench" -l tls-ca -d 'By TLS: trust the authorities in this PEM file, instead of those that the system trusts' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand bench" -l tls-cert -d 'By TLS: show the server this certificate (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand bench" -l tls-key -d 'The private key to it (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand bench" -s p -l profile -d 'Use the server of this name in the configuration file' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand bench" -l config -d 'Configuration file [default: ~/.config/jq/ctl.toml, if there is one]' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand bench" -l color -d 'When to use colours; auto: on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand bench" -l timeout -d 'Seconds to wait for the server\'s answer' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand bench" -l json -d 'Print JSON, for programs'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand bench" -s y -l yes -d 'Do not ask before something is destroyed'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand bench" -s h -l help -d 'Print help'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand wait" -l within -d 'Give up after this many seconds' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand wait" -l except -d 'Do not wait for jobs in this state; may be repeated' -r -f -a "ready\t''
reserved\t''
delayed\t''
buried\t''"
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand wait" -l server -d 'The queue server: HOST:PORT or unix:PATH, or beanstalks://HOST:PORT by TLS [default: 127.0.0.1:11300]' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand wait" -l http -d 'jq-server\'s HTTP API, for what the protocol has no command for' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand wait" -l token-file -d 'File with the token for the server: for the queue, if it is NAME.SECRET, and for the HTTP API. One in the URL of --server can be seen in ps' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand wait" -l http-token-file -d 'File with the token for the HTTP API, if that has another' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand wait" -l tls-ca -d 'By TLS: trust the authorities in this PEM file, instead of those that the system trusts' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand wait" -l tls-cert -d 'By TLS: show the server this certificate (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand wait" -l tls-key -d 'The private key to it (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand wait" -s p -l profile -d 'Use the server of this name in the configuration file' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand wait" -l config -d 'Configuration file [default: ~/.config/jq/ctl.toml, if there is one]' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand wait" -l color -d 'When to use colours; auto: on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand wait" -l timeout -d 'Seconds to wait for the server\'s answer' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand wait" -l json -d 'Print JSON, for programs'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand wait" -s y -l yes -d 'Do not ask before something is destroyed'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand wait" -s h -l help -d 'Print help'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand completions" -l server -d 'The queue server: HOST:PORT or unix:PATH, or beanstalks://HOST:PORT by TLS [default: 127.0.0.1:11300]' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand completions" -l http -d 'jq-server\'s HTTP API, for what the protocol has no command for' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand completions" -l token-file -d 'File with the token for the server: for the queue, if it is NAME.SECRET, and for the HTTP API. One in the URL of --server can be seen in ps' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand completions" -l http-token-file -d 'File with the token for the HTTP API, if that has another' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand completions" -l tls-ca -d 'By TLS: trust the authorities in this PEM file, instead of those that the system trusts' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand completions" -l tls-cert -d 'By TLS: show the server this certificate (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand completions" -l tls-key -d 'The private key to it (PEM)' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand completions" -s p -l profile -d 'Use the server of this name in the configuration file' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand completions" -l config -d 'Configuration file [default: ~/.config/jq/ctl.toml, if there is one]' -r -F
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand completions" -l color -d 'When to use colours; auto: on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand completions" -l timeout -d 'Seconds to wait for the server\'s answer' -r
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand completions" -l json -d 'Print JSON, for programs'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand completions" -s y -l yes -d 'Do not ask before something is destroyed'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand completions" -s h -l help -d 'Print help'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand help; and not __fish_seen_subcommand_from stats tubes tube jobs job peek put reserve tail kick bury delete move clear pause resume policy drain undrain connections top export import bench wait completions help" -f -a "stats" -d 'Show what the server says about itself'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand help; and not __fish_seen_subcommand_from stats tubes tube jobs job peek put reserve tail kick bury delete move clear pause resume policy drain undrain connections top export import bench wait completions help" -f -a "tubes" -d 'List the tubes'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand help; and not __fish_seen_subcommand_from stats tubes tube jobs job peek put reserve tail kick bury delete move clear pause resume policy drain undrain connections top export import bench wait completions help" -f -a "tube" -d 'Show what the server says about a tube'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand help; and not __fish_seen_subcommand_from stats tubes tube jobs job peek put reserve tail kick bury delete move clear pause resume policy drain undrain connections top export import bench wait completions help" -f -a "jobs" -d 'List the jobs of a tube (jq-server only)'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand help; and not __fish_seen_subcommand_from stats tubes tube jobs job peek put reserve tail kick bury delete move clear pause resume policy drain undrain connections top export import bench wait completions help" -f -a "job" -d 'Show a job: what the server says about it, and its body'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand help; and not __fish_seen_subcommand_from stats tubes tube jobs job peek put reserve tail kick bury delete move clear pause resume policy drain undrain connections top export import bench wait completions help" -f -a "peek" -d 'Print the body of the first job of a tube'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand help; and not __fish_seen_subcommand_from stats tubes tube jobs job peek put reserve tail kick bury delete move clear pause resume policy drain undrain connections top export import bench wait completions help" -f -a "put" -d 'Put jobs into a tube, and print their numbers'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand help; and not __fish_seen_subcommand_from stats tubes tube jobs job peek put reserve tail kick bury delete move clear pause resume policy drain undrain connections top export import bench wait completions help" -f -a "reserve" -d 'Reserve a job, print its body, and then do with it what --then says'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand help; and not __fish_seen_subcommand_from stats tubes tube jobs job peek put reserve tail kick bury delete move clear pause resume policy drain undrain connections top export import bench wait completions help" -f -a "tail" -d 'Show what passes through the tubes, second by second, without taking anything (HTTP)'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand help; and not __fish_seen_subcommand_from stats tubes tube jobs job peek put reserve tail kick bury delete move clear pause resume policy drain undrain connections top export import bench wait completions help" -f -a "kick" -d 'Make buried jobs of a tube ready, or delayed ones if none is buried'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand help; and not __fish_seen_subcommand_from stats tubes tube jobs job peek put reserve tail kick bury delete move clear pause resume policy drain undrain connections top export import bench wait completions help" -f -a "bury" -d 'Bury jobs: set them aside until they are kicked'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand help; and not __fish_seen_subcommand_from stats tubes tube jobs job peek put reserve tail kick bury delete move clear pause resume policy drain undrain connections top export import bench wait completions help" -f -a "delete" -d 'Delete jobs'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand help; and not __fish_seen_subcommand_from stats tubes tube jobs job peek put reserve tail kick bury delete move clear pause resume policy drain undrain connections top export import bench wait completions help" -f -a "move" -d 'Move jobs to another tube (jq-server only)'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand help; and not __fish_seen_subcommand_from stats tubes tube jobs job peek put reserve tail kick bury delete move clear pause resume policy drain undrain connections top export import bench wait completions help" -f -a "clear" -d 'Delete all jobs of a tube that are not reserved'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand help; and not __fish_seen_subcommand_from stats tubes tube jobs job peek put reserve tail kick bury delete move clear pause resume policy drain undrain connections top export import bench wait completions help" -f -a "pause" -d 'Let no job of a tube be reserved for a while'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand help; and not __fish_seen_subcommand_from stats tubes tube jobs job peek put reserve tail kick bury delete move clear pause resume policy drain undrain connections top export import bench wait completions help" -f -a "resume" -d 'End a tube\'s pause'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand help; and not __fish_seen_subcommand_from stats tubes tube jobs job peek put reserve tail kick bury delete move clear pause resume policy drain undrain connections top export import bench wait completions help" -f -a "policy" -d 'Show or change the policy of a tube: its limits, and what becomes of failing jobs (HTTP)'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand help; and not __fish_seen_subcommand_from stats tubes tube jobs job peek put reserve tail kick bury delete move clear pause resume policy drain undrain connections top export import bench wait completions help" -f -a "drain" -d 'Let the server accept no new jobs (HTTP)'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand help; and not __fish_seen_subcommand_from stats tubes tube jobs job peek put reserve tail kick bury delete move clear pause resume policy drain undrain connections top export import bench wait completions help" -f -a "undrain" -d 'Let the server accept new jobs again (HTTP)'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand help; and not __fish_seen_subcommand_from stats tubes tube jobs job peek put reserve tail kick bury delete move clear pause resume policy drain undrain connections top export import bench wait completions help" -f -a "connections" -d 'List the connections, or close some (HTTP)'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand help; and not __fish_seen_subcommand_from stats tubes tube jobs job peek put reserve tail kick bury delete move clear pause resume policy drain undrain connections top export import bench wait completions help" -f -a "top" -d 'Watch the tubes live: what hurts most comes first'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand help; and not __fish_seen_subcommand_from stats tubes tube jobs job peek put reserve tail kick bury delete move clear pause resume policy drain undrain connections top export import bench wait completions help" -f -a "export" -d 'Write the jobs of a tube to a file, one JSON object per line'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand help; and not __fish_seen_subcommand_from stats tubes tube jobs job peek put reserve tail kick bury delete move clear pause resume policy drain undrain connections top export import bench wait completions help" -f -a "import" -d 'Put the jobs of such a file'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand help; and not __fish_seen_subcommand_from stats tubes tube jobs job peek put reserve tail kick bury delete move clear pause resume policy drain undrain connections top export import bench wait completions help" -f -a "bench" -d 'Measure puts, reserves and deletes on this server'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand help; and not __fish_seen_subcommand_from stats tubes tube jobs job peek put reserve tail kick bury delete move clear pause resume policy drain undrain connections top export import bench wait completions help" -f -a "wait" -d 'Wait until a tube has no jobs, for scripts'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand help; and not __fish_seen_subcommand_from stats tubes tube jobs job peek put reserve tail kick bury delete move clear pause resume policy drain undrain connections top export import bench wait completions help" -f -a "completions" -d 'Print completions for a shell'
complete -c jq-ctl -n "__fish_jq_ctl_using_subcommand help; and not __fish_seen_subcommand_from stats tubes tube jobs job peek put reserve tail kick bury delete move clear pause resume policy drain undrain connections top export import bench wait completions help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
