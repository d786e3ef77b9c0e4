# Every program of ours: `python -m infra.images build app`. PIP_INDEX_URL and UV_INDEX_URL may be
# given as build arguments where the packages come from a mirror; put no password into them.
ARG BASE
FROM ${BASE}
ARG PIP_INDEX_URL
ARG UV_INDEX_URL
WORKDIR /opt/helix
COPY pyproject.toml requirements.lock ./
# The lock holds every tool of the project as constraints; what the programs run with is installed.
RUN python -m venv .venv \
 && .venv/bin/pip install --no-cache-dir "$(grep -o '^uv==[^ ]*' requirements.lock)" \
 && .venv/bin/uv pip install --no-cache --python .venv/bin/python \
      -r pyproject.toml --group load -c requirements.lock
ENV PATH=/opt/helix/.venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
ADD parts.tar /
ARG ACCOUNT
USER ${ACCOUNT}
# Last: another commit with the same code keeps the layers above.
ARG NAME
ARG VERSION
ARG COMMIT
LABEL org.opencontainers.image.title="helix/${NAME}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}"
