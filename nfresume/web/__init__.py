"""The console and the API; they reach the other rooms through `service`."""
