# The image of the web process: health, triggers, interactions, dashboard. It can run jobs as well.
# Deploy: fly deploy

# supercronic ticks in the Compose set-up (deploy/compose.yaml). Built from its source: Go checks the
# module with its public checksum database, and we check that it is the one we looked at.
FROM golang:1.26-bookworm AS supercronic
ARG SUPERCRONIC=github.com/aptible/supercronic@v0.2.48
ARG SUPERCRONIC_SUM=h1:G9oEVWB8lYDXhmsmF6u1XGWg+roVuWn4oEUk1pn9N7s=
RUN go mod download -json "$SUPERCRONIC" | grep -F "\"Sum\": \"$SUPERCRONIC_SUM\"" \
 && CGO_ENABLED=0 go install -trimpath "$SUPERCRONIC"

FROM python:3.12-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src

RUN python -m venv --without-pip /app && python -m venv /tools
COPY requirements requirements
# requirements/web.txt holds the extra [web], all of it, as soon as that exists.
RUN lock=requirements/runtime.txt; if [ -f requirements/web.txt ]; then lock=requirements/web.txt; fi \
 && /tools/bin/pip --python /app/bin/python install --require-hashes -r "$lock" \
 && /tools/bin/pip install --require-hashes -r requirements/build.txt

COPY pyproject.toml README.md ./
COPY cli cli
COPY jobs jobs
COPY speakerbot speakerbot
COPY deploy deploy
RUN /tools/bin/pip wheel --no-build-isolation --no-deps --wheel-dir dist . \
 && /tools/bin/pip --python /app/bin/python install --no-deps dist/*.whl
RUN /app/bin/python -m compileall -q -f --invalidation-mode unchecked-hash /app/lib

FROM python:3.12-slim-bookworm
# /data: a volume takes its owner from the image.
RUN useradd --system --create-home --uid 10001 speakerbot && install -d -o speakerbot /data
COPY --from=build /app /app
COPY --from=supercronic /go/bin/supercronic /usr/local/bin/supercronic
WORKDIR /home/speakerbot
COPY deploy/schedules.json deploy/schedules.json
ENV PATH=/app/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
EXPOSE 3000
USER 10001
# The same entry point as Dockerfile.cron: a machine's command is `run …` in both.
ENTRYPOINT ["speakerbot"]
CMD ["serve"]
