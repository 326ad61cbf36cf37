"""From settings to the broker of distributed ingest. Secrets are read here and go to the client only.

Spec: auditlog/spec/api.md, "Several processes".
"""

from __future__ import annotations

import ssl

from auditlog.ingest.ports import Broker
from auditlog.service.settings import Settings, read_secret


def broker_of(settings: Settings) -> Broker:
    """The broker, not connected yet. Raises ConfigurationError."""
    # One process without a broker does not load its client.
    from auditlog.ingest.jetstream import JetStreamBroker
    from auditlog.ingest.streams import JetStreamSettings

    ingest = settings.ingest
    is_safe = any(url.startswith("tls://") for url in ingest.servers)
    ca_file = None if ingest.ca_file is None else str(ingest.ca_file)
    return JetStreamBroker(
        JetStreamSettings(
            servers=ingest.servers,
            monitors=ingest.monitors,
            prefix=ingest.prefix,
            replicas=ingest.replicas,
            max_stream_bytes=ingest.max_stream_bytes,
            max_batch_bytes=settings.service.max_batch_bytes,
            user=ingest.user,
            password=None if ingest.password_file is None else read_secret(ingest.password_file),
            tls=ssl.create_default_context(cafile=ca_file) if is_safe else None,
        )
    )
