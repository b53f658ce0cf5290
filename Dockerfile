# A server from the wheel: python -m build --wheel && docker build -t sage-pl . && docker run -p 8000:8000 -v $PWD/served:/model:ro -v state:/state sage-pl
FROM python:3.11-slim

RUN useradd --create-home --uid 1000 serve && mkdir /state && chown serve /state
COPY requirements.txt /tmp/
COPY dist/sage_pl-*.whl /tmp/
# for torch without CUDA, which is much smaller: --build-arg TORCH_INDEX=ADDRESS of an index that has it
ARG TORCH_INDEX=""
RUN pip install --no-cache-dir torch ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} -c /tmp/requirements.txt \
    && wheel="$(ls /tmp/sage_pl-*.whl)" && pip install --no-cache-dir "$wheel[serve]" -c /tmp/requirements.txt \
    && rm /tmp/sage_pl-*.whl /tmp/requirements.txt

USER serve
ENV OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1
VOLUME /state
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health', timeout=2)"]
# A token: docker run -e SAGE_PL_TOKEN=... ; more options: append them to the command.
ENTRYPOINT ["sage-pl", "serve", "/model", "--host", "0.0.0.0", "--store", "/state/events.db"]
