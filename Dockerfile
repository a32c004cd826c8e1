# syntax=docker/dockerfile:1
# docker build -t jq-server .
# docker run -p 11300:11300 jq-server
# docker run -p 11300:11300 -v jobs:/var/lib/jq-server jq-server -b /var/lib/jq-server

FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin jq-server \
 && strip --strip-debug target/release/jq-server

FROM debian:bookworm-slim
# `beanstalkd` is there for scripts and compose files that call it by its name.
COPY --from=build /src/target/release/jq-server /usr/local/bin/jq-server
RUN ln -s jq-server /usr/local/bin/beanstalkd \
 && useradd --system --user-group --no-create-home --home-dir /nonexistent \
            --shell /usr/sbin/nologin jq \
 && install -d -m 0700 -o jq -g jq /var/lib/jq-server
USER jq
EXPOSE 11300
STOPSIGNAL SIGTERM
# A whole round trip through the queue, not only an open port.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/11300 && printf 'list-tube-used\\r\\n' >&3 && read -r -t 2 -u 3 word _ && [ \"$word\" = USING ]"]
ENTRYPOINT ["jq-server"]
