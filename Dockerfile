# The agent in an image of its own; the identities' directories come as volumes.
FROM python:3.11-slim AS build
WORKDIR /src
RUN python -m venv /opt/cert-agent
COPY requirements/kafka.txt requirements/build.txt requirements/
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements/build.txt \
 && /opt/cert-agent/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements/kafka.txt
COPY pyproject.toml README.md LICENSE ./
COPY agent agent
RUN /opt/build/bin/hatchling build --target wheel --directory /dist \
 && /opt/cert-agent/bin/pip install --no-cache-dir --no-index --no-deps /dist/*.whl \
 && /opt/cert-agent/bin/pip uninstall --yes pip setuptools

FROM python:3.11-slim
# The user that the official images of Kafka run as: its stores may stay readable to it alone.
ARG UID=1000
ARG GID=1000
RUN groupadd --gid "$GID" cert-agent \
 && useradd --uid "$UID" --gid "$GID" --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin cert-agent \
 && install -d -o "$UID" -g "$GID" -m 0700 /var/lib/cert-agent \
 && install -d -o "$UID" -g "$GID" -m 0755 /run/cert-agent
COPY --from=build /opt/cert-agent /opt/cert-agent
ENV PATH=/opt/cert-agent/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER $UID:$GID
EXPOSE 9847
# The port is bound to loopback by default, so a probe from inside is the one that always gets there.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9847/livez', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["cert-agent"]
CMD ["run"]
