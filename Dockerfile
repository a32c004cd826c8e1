# syntax=docker/dockerfile:1
# docker build -t jq-server .
# docker run -p 11300:11300 jq-server
# docker run -p 11300:11300 -v jobs:/var/lib/jq-server jq-server -b /var/lib/jq-server
#
# docker build -t jq-worker --target worker .
# docker run -p 11380:11380 -v results:/var/lib/jq-worker -v ./handlers:/handlers:ro jq-worker \
#     --server queue.example:11300 --tube simulations --listen 0.0.0.0:11380
# Handlers need their interpreters: build your own image with FROM jq-worker.

FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
# With cargo-auditable, the programs say which crates they are made of: `cargo audit bin jq-server`.
RUN cargo install cargo-auditable --version 0.7.7 --locked --debug \
 && cargo auditable build --release --locked -p jq-server -p jq-worker -p jq-ctl --bins \
 && strip --strip-debug target/release/jq-server target/release/jq-worker target/release/jq-ctl

FROM debian:bookworm-slim AS worker
# CA certificates, for https URLs in jobs.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/target/release/jq-worker /usr/local/bin/jq-worker
COPY packaging/man/jq-worker.1 /usr/local/share/man/man1/
COPY packaging/completions/bash/jq-worker /usr/share/bash-completion/completions/
COPY packaging/completions/zsh/_jq-worker /usr/local/share/zsh/site-functions/
COPY packaging/completions/fish/jq-worker.fish /usr/share/fish/vendor_completions.d/
RUN useradd --system --user-group --no-create-home --home-dir /nonexistent \
            --shell /usr/sbin/nologin jq \
 && install -d -m 0700 -o jq -g jq /var/lib/jq-worker \
 && install -d /handlers
USER jq
EXPOSE 11380
# The worker finishes its jobs first: give it time with `docker stop --time`.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/11380 && printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3 && read -r -t 2 -u 3 _ status _ && [ \"$status\" = 200 ]"]
ENTRYPOINT ["jq-worker", "--results", "/var/lib/jq-worker", "--handlers", "/handlers"]

FROM debian:bookworm-slim AS server
# The link is for scripts and compose files that run `beanstalkd`.
COPY --from=build /src/target/release/jq-server /src/target/release/jq-ctl /usr/local/bin/
COPY packaging/man/jq-server.1 packaging/man/jq-ctl.1 /usr/local/share/man/man1/
COPY packaging/completions/bash/jq-server packaging/completions/bash/jq-ctl \
     /usr/share/bash-completion/completions/
COPY packaging/completions/zsh/_jq-server packaging/completions/zsh/_jq-ctl \
     /usr/local/share/zsh/site-functions/
COPY packaging/completions/fish/jq-server.fish packaging/completions/fish/jq-ctl.fish \
     /usr/share/fish/vendor_completions.d/
RUN ln -s jq-server /usr/local/bin/beanstalkd \
 && useradd --system --user-group --no-create-home --home-dir /nonexistent \
            --shell /usr/sbin/nologin jq \
 && install -d -m 0700 -o jq -g jq /var/lib/jq-server
USER jq
EXPOSE 11300
STOPSIGNAL SIGTERM
# Checks a round trip through the queue, not only an open port.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/11300 && printf 'list-tube-used\\r\\n' >&3 && read -r -t 2 -u 3 word _ && [ \"$word\" = USING ]"]
ENTRYPOINT ["jq-server"]
