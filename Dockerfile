# docker build -t v2vkit .
# docker run --rm v2vkit                                          prints versions, devices and extras
# docker run --rm -v "$PWD/runs:/runs" v2vkit run toy.toml --work /runs/demo   the demo
# docs/cluster.md has the Ray cluster made of this image.
ARG BASE=python:3.12-slim
FROM ${BASE}

# libgl1 and libglib2.0-0 are for OpenCV, libgles2 and libegl1 for mediapipe.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libegl1 libgl1 libgles2 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /src
COPY . .
RUN pip install --no-cache-dir -c third_party/constraints.txt '.[all,ray,s3]' && rm -rf /src/*

RUN useradd --create-home v2v && mkdir /runs && chown v2v /runs
USER v2v
WORKDIR /runs
ENV RAY_USAGE_STATS_ENABLED=0
ENTRYPOINT ["v2v"]
CMD ["doctor"]
