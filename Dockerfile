# The commands of this checkout: `docker build -t scalenet_tf .`, docs/containers.md.
# Never built by the project: there was no Docker.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS wheel
WORKDIR /source
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY scalenet_tf scalenet_tf
COPY training training
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}-slim-bookworm
# Which extras of setup.cfg: for NVIDIA GPUs also `gpu`.
ARG EXTRAS=train,export
# What is installed is the wheel, and the versions are those of setup.cfg.
# hadolint ignore=DL3013
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    wheel="$(echo /wheels/*.whl)" && \
    python -m pip install --no-cache-dir "${wheel}[${EXTRAS}]"

# Who the commands run as; compose.yaml can name others, whom no file here knows.
ARG UID=1000
RUN useradd --uid "${UID}" --user-group --no-create-home --home-dir /tmp scalenet && \
    install --directory --owner=scalenet --group=scalenet /data /runs /savedmodels
ENV HOME=/tmp \
    USER=scalenet \
    PYTHONUNBUFFERED=1
# a number, which Kubernetes can tell from root
USER ${UID}

# Volumes; the working folder makes `runs/...` and `savedmodels` the same two folders.
VOLUME ["/data", "/runs", "/savedmodels"]
WORKDIR /
# Without a shell: SIGTERM reaches the command, which saves.
STOPSIGNAL SIGTERM
ENTRYPOINT ["scalenet"]
CMD ["--help"]
