# A small image with everything that a host needs: aria2 for the bytes, git for the registry. It runs without root.
FROM python:3.13-slim-trixie AS build
WORKDIR /source
COPY requirements/run.txt requirements/run.txt
RUN python -m venv /opt/imageworks \
 && /opt/imageworks/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements/run.txt
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY controller controller
COPY schemas schemas
RUN /opt/imageworks/bin/pip install --no-cache-dir --no-index --no-deps --no-build-isolation .

FROM python:3.13-slim-trixie
# hadolint ignore=DL3008 # security updates of the distribution are wanted, whatever their number
RUN apt-get update \
 && apt-get install --yes --no-install-recommends aria2 ca-certificates git openssh-client \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 1000 --create-home models \
 && install --directory --owner models --group models --mode 0755 /registry /models /state
COPY --from=build /opt/imageworks /opt/imageworks
ENV PATH=/opt/imageworks/bin:$PATH \
    HOME=/state \
    XDG_STATE_HOME=/state/state \
    XDG_CACHE_HOME=/state/cache \
    XDG_CONFIG_HOME=/state/config \
    IMAGEWORKS_REGISTRY_DIR=/registry \
    IMAGEWORKS_MODEL_ROOT=/models
USER 1000:1000
WORKDIR /registry
VOLUME ["/registry", "/models", "/state"]
ENTRYPOINT ["imageworks-models"]
CMD ["help"]
