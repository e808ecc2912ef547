"""The console and the API of `nfresume serve`."""
