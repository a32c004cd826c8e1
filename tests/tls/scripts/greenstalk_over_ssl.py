"""greenstalk over Python's ssl: greenstalk_over_ssl.py PORT CA_FILE. Without greenstalk, exits with 77."""

import socket
import ssl
import sys

try:
    import greenstalk
except ImportError:
    print("greenstalk is not installed: run tests/compat/clients/install")
    sys.exit(77)


def connect(port, ca_file, version):
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["beanstalk"])
    plain = socket.create_connection(("127.0.0.1", port), timeout=20)
    secure = context.wrap_socket(plain, server_hostname="localhost")
    assert secure.selected_alpn_protocol() == "beanstalk"
    return greenstalk.Client(secure, encoding=None)


def main():
    port, ca_file = int(sys.argv[1]), sys.argv[2]
    for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
        with connect(port, ca_file, version) as producer, connect(port, ca_file, version) as worker:
            producer.use("mail")
            worker.watch("mail")
            for size in 0, 1, 5000, 65535:
                body = bytes(number % 251 for number in range(size))
                put = producer.put(body)
                job = worker.reserve(timeout=20)
                assert (job.id, job.body) == (put, body), size
                worker.release(job, priority=7)
                assert producer.stats_job(put)["pri"] == 7
                worker.delete(worker.reserve(timeout=20))
            # One that waits gets what comes later.
            try:
                worker.reserve(timeout=0)
            except greenstalk.TimedOutError:
                pass
            else:
                raise AssertionError("there is no job")


main()
