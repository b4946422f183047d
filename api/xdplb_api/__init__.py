"""The REST API: a FastAPI application over the control plane. Only here FastAPI is used."""
