"""config.yaml, its schema and settings: servers, hours, TLS, credentials. Holds no identifier."""
