# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_jq_server_global_optspecs
    string join \n b= f= F l= p= listen= tls-cert= tls-key= tls-client-ca= u= z= s= c n v/version V compat= threads= binlog-repair binlog-export-v7= binlog-backup= binlog-check= binlog-dump= http= http-token-file= http-cors= metrics-max-tubes= metrics-compat= max-jobs= max-memory= max-connections= tubes= auth= log-format= h/help
end

function __fish_jq_server_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_jq_server_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_jq_server_using_subcommand
    set -l cmd (__fish_jq_server_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c jq-server -n "__fish_jq_server_needs_command" -s b -d 'Keep jobs in write-ahead log files in this directory, and start with the jobs found there' -r -F
complete -c jq-server -n "__fish_jq_server_needs_command" -s f -d 'With -b: fsync within MS milliseconds; 0: before each answer' -r
complete -c jq-server -n "__fish_jq_server_needs_command" -s l -d 'Listen on this address: an IPv4 or IPv6 address, a host name, or unix:PATH' -r
complete -c jq-server -n "__fish_jq_server_needs_command" -s p -d 'Listen on this TCP port; 0 picks a free one and logs it' -r
complete -c jq-server -n "__fish_jq_server_needs_command" -l listen -d 'Also listen here, and may be given several times: tcp://ADDR:PORT, tls://ADDR:PORT or unix:PATH, with options behind a question mark. Without -l and -p, listen nowhere else' -r
complete -c jq-server -n "__fish_jq_server_needs_command" -l tls-cert -d 'The certificate that is shown on tls:// and https://, and those that lead from it to a known authority, in PEM; read again on SIGHUP and when the file changes. credential:NAME is a credential of the service manager' -r -F
complete -c jq-server -n "__fish_jq_server_needs_command" -l tls-key -d 'The private key to the certificate of --tls-cert, in PEM' -r -F
complete -c jq-server -n "__fish_jq_server_needs_command" -l tls-client-ca -d 'On tls://, let only those in who show a certificate of one of the authorities in this file, in PEM; with client-cert=optional, also those who show none' -r -F
complete -c jq-server -n "__fish_jq_server_needs_command" -s u -d 'Switch to this user and its groups once the port is open' -r
complete -c jq-server -n "__fish_jq_server_needs_command" -s z -d 'Maximum job size in bytes, at most 1073741824' -r
complete -c jq-server -n "__fish_jq_server_needs_command" -s s -d 'With -b: size of each write-ahead log file in bytes' -r
complete -c jq-server -n "__fish_jq_server_needs_command" -l compat -d 'Behave on the wire like this release of beanstalkd: 1.12 or 1.13' -r
complete -c jq-server -n "__fish_jq_server_needs_command" -l threads -d 'Threads that serve connections, 1 to 256; more than one helps only when one core is not enough' -r
complete -c jq-server -n "__fish_jq_server_needs_command" -l binlog-export-v7 -d 'Convert the jobs that -b has kept in this directory to beanstalkd\'s format, and exit; then `beanstalkd -b DIR` continues with them. -s sets the size of the files. Our own files are moved to DIR/jq-binlog.exported. Unless the exit status is 0, nothing has changed' -r -F
complete -c jq-server -n "__fish_jq_server_needs_command" -l binlog-backup -d 'Copy the jobs that -b keeps in DIR to DEST, which must be empty or missing, and exit. A server may be using DIR. Files are linked where that is possible' -r -F
complete -c jq-server -n "__fish_jq_server_needs_command" -l binlog-check -d 'Read everything that -b keeps in this directory, change nothing, and exit: with 0 if all is sound, with 11 if not. A server may be using it' -r -F
complete -c jq-server -n "__fish_jq_server_needs_command" -l binlog-dump -d 'Print the records that -b keeps in this directory, one JSON object per line, and exit' -r -F
complete -c jq-server -n "__fish_jq_server_needs_command" -l http -d 'Serve the HTTP API, metrics and health checks on this address: HOST:PORT, with an IPv6 address in brackets, or unix:PATH; port 0 picks a free one and logs it. Without --http-token-file, only a loopback address, and only for reading. https://HOST:PORT shows the certificate of --tls-cert' -r
complete -c jq-server -n "__fish_jq_server_needs_command" -l http-token-file -d 'With --http: read the tokens of those who may use it, and what each may do, from this TOML file, and again on SIGHUP' -r -F
complete -c jq-server -n "__fish_jq_server_needs_command" -l http-cors -d 'With --http: allow web pages of this origin, which is a scheme, a host and perhaps a port, to use it; * for any. May be given several times' -r
complete -c jq-server -n "__fish_jq_server_needs_command" -l metrics-max-tubes -d 'With --http: maximum number of tubes with metrics of their own; all others are summed' -r
complete -c jq-server -n "__fish_jq_server_needs_command" -l metrics-compat -d 'With --http: also serve the metrics under the names of these exporters, separated by commas: messagebird, davidtannock' -r
complete -c jq-server -n "__fish_jq_server_needs_command" -l max-jobs -d 'Maximum number of jobs, in all tubes and states; a put beyond that is refused' -r
complete -c jq-server -n "__fish_jq_server_needs_command" -l max-memory -d 'Maximum number of bytes that jobs take, bodies and all; a put beyond that is refused' -r
complete -c jq-server -n "__fish_jq_server_needs_command" -l max-connections -d 'Maximum number of connections, those of --http not counted; more are closed at once' -r
complete -c jq-server -n "__fish_jq_server_needs_command" -l tubes -d 'Read the policies of tubes from this TOML file, and again on SIGHUP' -r -F
complete -c jq-server -n "__fish_jq_server_needs_command" -l auth -d 'Serve only the principals of this TOML file, each according to its rights; read again on SIGHUP. credential:NAME is the systemd credential of that name' -r -F
complete -c jq-server -n "__fish_jq_server_needs_command" -l log-format -d 'Format of log lines' -r -f -a "text\t'Human-readable text'
json\t'One JSON object per line'"
complete -c jq-server -n "__fish_jq_server_needs_command" -s F -d 'With -b: never fsync'
complete -c jq-server -n "__fish_jq_server_needs_command" -s c -d 'Obsolete: does nothing'
complete -c jq-server -n "__fish_jq_server_needs_command" -s n -d 'Obsolete: does nothing'
complete -c jq-server -n "__fish_jq_server_needs_command" -s v -l version -d 'Print the version'
complete -c jq-server -n "__fish_jq_server_needs_command" -s V -d 'Log more: -V each connection, -VV also each batch of commands'
complete -c jq-server -n "__fish_jq_server_needs_command" -l binlog-repair -d 'With -b: if the files are damaged, serve the intact records and copy the rest aside'
complete -c jq-server -n "__fish_jq_server_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c jq-server -n "__fish_jq_server_needs_command" -f -a "hash-token" -d 'Make the lines for the file of --auth that a principal and its token need, and exit. Reads the token, or only its secret, from the terminal, which does not show it, or from standard input. Writes the lines to standard output'
complete -c jq-server -n "__fish_jq_server_using_subcommand hash-token" -l generate -d 'Make a token with 32 random bytes, and write it to standard error'
complete -c jq-server -n "__fish_jq_server_using_subcommand hash-token" -s h -l help -d 'Print help'
