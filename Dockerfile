# The service, the dashboard and their example worker, without CUDA where PyTorch's CPU index is given:
#
#   docker build --build-arg PIP_EXTRA_INDEX_URL=URL --tag autotune .
FROM python:3.12-slim

ARG PIP_EXTRA_INDEX_URL=
ENV PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1

COPY . /opt/autotune
RUN pip install --constraint /opt/autotune/constraints.txt \
      "/opt/autotune[service,client,dashboard,postgres,models]" \
    && useradd --create-home --uid 1000 autotune \
    && install --directory --owner autotune /work /tokens /states

USER 1000
WORKDIR /work
EXPOSE 8400 8501
ENTRYPOINT ["autotune"]
CMD ["serve", "--listen", "0.0.0.0:8400", "--plain-http"]
