"""OpenAI's form: ``/v1/models``, ``/v1/completions``, ``/v1/chat/completions``, so that its clients work unmodified."""
