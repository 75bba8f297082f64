# syntax=docker/dockerfile:1.7
# A server of OpenAI's speech API; compose.yaml has volumes, keys and limits.
#   docker build -t t5gemma-tts .                                on the CPU
#   docker build -t t5gemma-tts:cuda --build-arg DEVICE=cuda .   on NVIDIA GPUs, with the host's driver
ARG PYTHON_VERSION=3.11.14

FROM python:${PYTHON_VERSION}-slim-bookworm AS build
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    PIP_DISABLE_PIP_VERSION_CHECK=1

# torch alone: the largest layer, and the one in which the two images differ
WORKDIR /needs
COPY constraints.txt ./
ARG DEVICE=cpu
RUN --mount=type=cache,target=/root/.cache/pip \
    case "$DEVICE" in \
        cpu) pip install --constraint constraints.txt --extra-index-url https://download.pytorch.org/whl/cpu torch ;; \
        cuda) pip install --constraint constraints.txt torch ;; \
        *) echo "DEVICE must be cpu or cuda, got '$DEVICE'" >&2; exit 1 ;; \
    esac

# what the project needs, before its source, which changes more often: an empty package stands for it
COPY setup.py pyproject.toml ./
ARG EXTRAS=serve,text
RUN --mount=type=cache,target=/root/.cache/pip \
    mkdir t5gemma_tts \
    && echo '__version__ = "0"' > t5gemma_tts/__init__.py \
    && touch README.md LICENSE \
    && pip install --constraint constraints.txt ".[${EXTRAS}]"

# another folder: the empty package has left a build behind in that one
WORKDIR /source
COPY setup.py pyproject.toml README.md LICENSE ./
COPY t5gemma_tts t5gemma_tts
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --no-deps . \
    && pip check

FROM python:${PYTHON_VERSION}-slim-bookworm
LABEL org.opencontainers.image.title="t5gemma-tts" \
      org.opencontainers.image.description="Text to speech over OpenAI's API" \
      org.opencontainers.image.licenses="MIT"
# volumes take over the owner of the folders that they are mounted on
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin speaker \
    && install --directory --owner=speaker --group=speaker /models /voices
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    HF_HOME=/models \
    # weights on huge pages are read faster
    GLIBC_TUNABLES=glibc.malloc.hugetlb=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /home/speaker
VOLUME ["/models", "/voices"]
EXPOSE 8000
# the first start may have to download a model
HEALTHCHECK --interval=30s --timeout=5s --start-period=15m --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["t5gemma-tts"]
CMD ["serve", "--host", "0.0.0.0", "--voices-dir", "/voices"]
