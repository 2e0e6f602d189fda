"""JSON log lines on standard output, for every process of ours."""

from __future__ import annotations

import logging
import sys

import structlog


def configure(level: str, component: str) -> None:
    """Send everything that is logged, by structlog or logging, to standard output as JSON lines."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.format_exc_info,
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _named(component),
            structlog.processors.JSONRenderer(),
        ],
    )
    structlog.configure(
        processors=[*shared[:1], *shared[2:], structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # Their chatter at info is a line per request.
    for name in ("httpx", "httpcore", "prefect", "mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _named(component: str) -> structlog.typing.Processor:
    def add(logger: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return {"component": component, **event}

    return add
