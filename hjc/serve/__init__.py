"""The service and the coder's desk: ``hjc serve`` (extra ``serve``)."""
