# The service in a container, without a shell, a package manager or a PKCS#11 module; and one for development, with SoftHSM (M-27).
#
#   docker build -t pinbridge .                      production: README, "In a container"
#   docker build -t pinbridge:dev --target dev .     development: makes tokens and keys, never for a real PIN
#
# A registry of your own: --secret id=npmrc,src=$HOME/.npmrc, and its certificate authority: --secret id=ca,src=ca.pem. Neither
# stays in the image.

FROM debian:bookworm-slim AS build
ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get update -q && \
    apt-get install -y -q --no-install-recommends ca-certificates g++ libc6-dev make nodejs npm python3
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
# Debian's Node.js only runs npm. The one that runs pinbridge is a package of the lock file, with the headers that the native
# module is compiled against; no package's script runs but that module's. Debian's node-gyp links every module with Debian's own
# libnode, which would crash a Node.js of another version: it is given an empty one.
RUN --mount=type=secret,id=npmrc,target=/root/.npmrc --mount=type=secret,id=ca,target=/run/secrets/ca \
    if [ -s /run/secrets/ca ]; then export NODE_EXTRA_CA_CERTS=/run/secrets/ca; fi && \
    npm ci --ignore-scripts --include=dev --include=optional --engine-strict=false --no-audit --no-fund && \
    node=$(echo node_modules/node-linux-*) && \
    ln -sf "../${node#node_modules/}/bin/node" node_modules/.bin/node && \
    ar rc libnode.a && \
    LDFLAGS=-L$PWD npm_config_nodedir=$PWD/$node npm rebuild pkcs11js --ignore-scripts=false --engine-strict=false && \
    node_modules/.bin/node -e 'require("pkcs11js")'
COPY tsconfig.json LICENSE ./
COPY native-config native-config
COPY src src
RUN node_modules/.bin/node node_modules/typescript/bin/tsc -p src/tsconfig.json && \
    native-config/build-launcher dist/launcher && \
    cp node_modules/@fastify/swagger-ui/static/swagger-ui-bundle.js node_modules/@fastify/swagger-ui/static/swagger-ui.css \
      dist/gateway/viewer/
# What serves: the built code and the packages that it imports, without what is for building them.
RUN npm prune --ignore-scripts --omit=dev --include=optional --engine-strict=false --no-audit --no-fund && \
    node=$(echo node_modules/node-linux-*) && \
    mkdir -p node_modules/.bin && \
    find node_modules/.bin -mindepth 1 -delete && \
    ln -s "../${node#node_modules/}/bin/node" node_modules/.bin/node && \
    rm -r "$node/include" "$node/share" && \
    (cd node_modules/pkcs11js && \
     mv build/Release/pkcs11.node . && rm -r build src includes binding.gyp && \
     mkdir -p build/Release && mv pkcs11.node build/Release/) && \
    mkdir -p /out/opt/pinbridge && \
    cp -a dist node_modules package.json LICENSE /out/opt/pinbridge/ && \
    chown -R 0:0 /out && chmod -R go-w /out

# Of Debian, the libraries that node and PKCS#11 modules load, as their packages hold them, with their licences; the files under
# status.d tell scanners their versions.
FROM build AS production-root
RUN mkdir -p /packages /root-fs/var/lib/dpkg/status.d /root-fs/etc/pinbridge && cd /packages && \
    apt-get download -q libc6 libgcc-s1 gcc-12-base libstdc++6 && \
    for package in *.deb; do \
      dpkg-deb --extract "$package" /root-fs && \
      dpkg-deb --field "$package" >"/root-fs/var/lib/dpkg/status.d/${package%%_*}"; \
    done && \
    rm -r /root-fs/usr/share/gcc /root-fs/usr/share/gdb && \
    install -d /root-fs/dev /root-fs/proc /root-fs/sys && install -d -m 1777 /root-fs/tmp && \
    printf 'root:x:0:0::/:/sbin/nologin\npinbridge:x:65532:65532::/:/sbin/nologin\n' >/root-fs/etc/passwd && \
    printf 'root:x:0:\npinbridge:x:65532:\n' >/root-fs/etc/group && \
    printf 'hosts: files dns\n' >/root-fs/etc/nsswitch.conf && \
    cp -a /out/. /root-fs/ && cd /root-fs/opt/pinbridge && \
    # What makes development tokens, and the package that makes their certificates.
    rm -r dist/cli/development dist/client dist/hsm/pkcs11/init-token.js node_modules/node-forge && \
    find dist -name '*.d.ts' -delete && \
    # Who runs a program that he cannot read is not let at its memory by the kernel, not even in processes of his own.
    chmod 0711 node_modules/.bin/node

FROM debian:bookworm-slim AS dev
RUN apt-get update -q && \
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends libstdc++6 softhsm2 && \
    rm -rf /var/lib/apt/lists/*
COPY --from=build /out/ /
ENV PINBRIDGE_CONFIG=/etc/pinbridge/pinbridge.yaml
LABEL org.opencontainers.image.title="pinbridge, for development"
WORKDIR /opt/pinbridge
USER 65532:65532
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/pinbridge/node_modules/.bin/node", "/opt/pinbridge/dist/cli/main.js"]
CMD ["serve"]

FROM scratch AS production
COPY --from=production-root /root-fs/ /
ENV PINBRIDGE_CONFIG=/etc/pinbridge/pinbridge.yaml
LABEL org.opencontainers.image.title="pinbridge" \
      org.opencontainers.image.description="A hardened PIN crypto service with an HSM bridge" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
WORKDIR /opt/pinbridge
USER 65532:65532
STOPSIGNAL SIGTERM
EXPOSE 8443
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
  CMD ["/opt/pinbridge/node_modules/.bin/node", "/opt/pinbridge/dist/cli/main.js", "health"]
ENTRYPOINT ["/opt/pinbridge/node_modules/.bin/node", "/opt/pinbridge/dist/cli/main.js"]
CMD ["serve"]
