# The operator's image, from the same release build as `make image`; `--target shop` gives the sample application.
FROM rust:1.95.0-bookworm AS build
RUN apt-get update \
 && apt-get install --yes --no-install-recommends musl-tools \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN mkdir /out \
 && cp "$(e2e/image --binary gracekeeper)" /out/gracekeeper \
 && cp "$(e2e/image --binary shop)" /out/shop

FROM scratch AS shop
LABEL org.opencontainers.image.title="shop" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/gracekeeper/gracekeeper"
COPY --from=build /out/shop /shop
USER 65532:65532
ENTRYPOINT ["/shop"]
CMD ["serve"]
STOPSIGNAL SIGTERM

FROM scratch
LABEL org.opencontainers.image.title="gracekeeper" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/gracekeeper/gracekeeper"
COPY --from=build /out/gracekeeper /gracekeeper
USER 65532:65532
ENTRYPOINT ["/gracekeeper"]
STOPSIGNAL SIGTERM
