"""AWS HealthImaging: its criteria, its client, its wire protocol, and code samples for its SDKs."""
