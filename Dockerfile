# The images of AMPD, by target: `worker` has the engine worker, its sidecar and the loader of models, `operator` has the
# operator. `docker build --target worker .`, and the same with `buildah build`.

# What the programs run on. They are compiled against the glibc of Debian 12 (2.36) and need that one or a later one.
ARG RUNTIME=docker.io/library/debian:bookworm-slim
# What compiles them.
ARG RUST=docker.io/library/rust:1.95-bookworm

FROM ${RUST} AS build
# `cpu`; or `cuda`, which goes with RUNTIME=docker.io/nvidia/cuda:12.9.1-runtime-ubuntu24.04 and is refused as long as the
# engine has no CUDA backend.
ARG ACCELERATOR=cpu
# `compile`; or `prebuilt`, for a context that has the programs in prebuilt/worker and prebuilt/operator.
ARG BINARIES=compile
# What to compile: folders of packages.
ARG PACKAGES="worker operator"
# The file rust-toolchain.toml asks for tools that only development needs.
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /source
COPY . .
RUN set -eu; \
    if [ "$ACCELERATOR" != cpu ]; then \
        echo "ACCELERATOR=$ACCELERATOR: the engine computes on the CPU only, so far" >&2; exit 1; \
    fi; \
    mkdir -p /out/worker /out/operator; \
    for package in $PACKAGES; do \
        if [ "$BINARIES" = prebuilt ]; then \
            cp "prebuilt/$package"/* "/out/$package/"; \
        else \
            cargo install --locked --no-track --path "$package" --target-dir target --root "/out/$package"; \
            mv "/out/$package/bin"/* "/out/$package/"; rmdir "/out/$package/bin"; \
        fi; \
    done; \
    install -D --mode=644 -t /out/share/doc/ampd LICENSE Cargo.lock; \
    install -D --mode=644 -t /out/certs /etc/ssl/certs/ca-certificates.crt

FROM ${RUNTIME} AS worker
LABEL org.opencontainers.image.title="ampd-worker" \
    org.opencontainers.image.description="AMPD: engine worker, sidecar and model loader" \
    org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/certs/ /etc/ssl/certs/
# Cargo.lock lets scanners list the libraries inside of the programs.
COPY --from=build /out/share/ /usr/local/share/
COPY --from=build /out/worker/ /usr/local/bin/
USER 10001:10001
ENTRYPOINT ["ampd-worker"]

FROM ${RUNTIME} AS operator
LABEL org.opencontainers.image.title="ampd-operator" \
    org.opencontainers.image.description="AMPD: operator of AMPDService resources" \
    org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/certs/ /etc/ssl/certs/
COPY --from=build /out/share/ /usr/local/share/
COPY --from=build /out/operator/ /usr/local/bin/
USER 10001:10001
ENTRYPOINT ["ampd-operator"]
