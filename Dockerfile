# The images of Aegis, one target each: control-plane, executor, aegisctl.
#
#   docker build --target control-plane --tag aegis/control-plane:0.1.0 .
#
# All run as user 65532 without shell, package manager or anything else that could be used against them, and need no
# writable file system.

FROM docker.io/library/rust:1.95.0-slim-trixie AS build
WORKDIR /src
# The image has this toolchain already; rust-toolchain.toml would fetch components that only people need.
ENV RUSTUP_TOOLCHAIN=1.95.0
COPY . .
RUN cargo build --release --locked --package aegis-control-plane --package aegis-executor --package aegisctl

FROM gcr.io/distroless/cc-debian13:nonroot AS runtime
USER 65532:65532

FROM runtime AS control-plane
COPY --from=build /src/target/release/aegis-control-plane /usr/local/bin/aegis-control-plane
ENV LISTEN_ADDRESS=0.0.0.0:3000
EXPOSE 3000
ENTRYPOINT ["/usr/local/bin/aegis-control-plane"]
CMD ["serve"]

FROM runtime AS executor
COPY --from=build /src/target/release/aegis-executor /usr/local/bin/aegis-executor
ENV LISTEN_ADDRESS=0.0.0.0:4000
EXPOSE 4000
ENTRYPOINT ["/usr/local/bin/aegis-executor"]
CMD ["serve"]

FROM runtime AS aegisctl
COPY --from=build /src/target/release/aegisctl /usr/local/bin/aegisctl
ENTRYPOINT ["/usr/local/bin/aegisctl"]
