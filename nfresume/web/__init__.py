"""The console and the API, over `service` alone."""
