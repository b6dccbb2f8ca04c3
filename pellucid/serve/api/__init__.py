"""The routes of ``/api/v1``: work, history, documents, what there is."""
