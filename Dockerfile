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
COPY --from=build /out/shop /shop
USER 65532:65532
ENTRYPOINT ["/shop"]
CMD ["serve"]

FROM scratch
COPY --from=build /out/gracekeeper /gracekeeper
USER 65532:65532
ENTRYPOINT ["/gracekeeper"]
