# NVIDIA card: docker run --gpus all -p 7860:7860 -v newbie:/data newbie_ui
# Without a card the same image runs the demo model on the CPU.
# The CUDA of the torch in requirements.txt, so that a driver too old for it is refused at the start.
FROM nvidia/cuda:13.0.1-runtime-ubuntu24.04

ENV DEBIAN_FRONTEND=noninteractive \
    PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True \
    HF_HOME=/data/models \
    NEWBIE_UI_HOST=0.0.0.0 \
    NEWBIE_UI_PORT=7860 \
    NEWBIE_UI_OUTPUT_DIR=/data/pictures

# gcc and the Python headers serve torch.compile, which builds its kernels' launchers at run time.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv python3-dev gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/* \
    && userdel --remove ubuntu \
    && useradd --create-home --uid 1000 newbie \
    && install -d -o newbie -g newbie /app /data

USER 1000
WORKDIR /app
RUN python3 -m venv /app/.venv
ENV PATH=/app/.venv/bin:$PATH
COPY --chown=newbie requirements.txt ./
RUN pip install -r requirements.txt
COPY --chown=newbie . .
# Else every new container compiles them at its start.
RUN python -m compileall -q app.py newbie_ui

VOLUME /data
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['NEWBIE_UI_PORT'] + '/health', timeout=4)"]
CMD ["python", "-u", "app.py"]
