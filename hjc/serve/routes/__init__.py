"""The routes of the service, by whom they are for."""
